package certificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"postern/internal/fault"
	"postern/internal/secret"
)

const opIssue = "get a certificate by ACME"

// renew gets a certificate and keeps it.
func (i *Issuer) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, issueFor-keepFor)
	defer cancel()
	client, err := i.client(ctx)
	if err != nil {
		return err
	}
	account := &acme.Account{}
	if i.cfg.Email != "" {
		account.Contact = []string{"mailto:" + i.cfg.Email}
	}
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return i.explain(err)
	}
	order, err := i.prove(ctx, client)
	if err != nil {
		return i.explain(err)
	}
	text, err := i.finalize(ctx, client, order)
	if err != nil {
		return i.explain(err)
	}
	if err := i.cfg.Keep.KeepSecret(ctx, keptCertificate, text); err != nil {
		return err
	}
	i.cfg.Log.InfoContext(ctx, "got a certificate by ACME", "hosts", strings.Join(i.cfg.Hosts, ","), "directory", i.cfg.Directory)
	return i.Read(ctx)
}

// client acts for the account, whose key is made when there is none.
func (i *Issuer) client(ctx context.Context) (*acme.Client, error) {
	text, err := i.cfg.Keep.KeptSecret(ctx, keptAccount)
	if err != nil {
		return nil, err
	}
	if text.Empty() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fault.Wrap(fault.Unknown, opIssue, err)
		}
		if text, err = keyText(key); err == nil {
			err = i.cfg.Keep.KeepSecret(ctx, keptAccount, text)
		}
		if err != nil {
			return nil, err
		}
	}
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return nil, fault.New(fault.Unknown, opIssue, "the account's key that is kept is no PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Unknown, opIssue, "the account's key that is kept cannot be read")
	}
	return &acme.Client{Key: key, DirectoryURL: i.cfg.Directory, HTTPClient: i.cfg.Client, UserAgent: "postern", RetryBackoff: onlyNonces}, nil
}

// noncesMost is how often a request goes again because its nonce was good no more.
const noncesMost = 5

// onlyNonces lets the library repeat a request whose nonce was refused, which passes at
// once. By itself it would go on for as long as a try may last with an authority that is
// down or wants to be left alone: then the next try comes, later and later.
func onlyNonces(n int, _ *http.Request, resp *http.Response) time.Duration {
	if resp.StatusCode != http.StatusBadRequest || n > noncesMost {
		return 0
	}
	return time.Duration(n) * 100 * time.Millisecond
}

func keyText(key *ecdsa.PrivateKey) (secret.Text, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))), err
}

// prove shows the authority that the hostnames are ours.
func (i *Issuer) prove(ctx context.Context, client *acme.Client) (*acme.Order, error) {
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(i.cfg.Hosts...))
	if err != nil {
		return nil, err
	}
	var open []challenge
	var asked []*acme.Challenge
	var waiting []string
	for _, address := range order.AuthzURLs {
		z, err := client.GetAuthorization(ctx, address)
		if err != nil {
			return nil, err
		}
		if z.Status != acme.StatusPending {
			continue
		}
		c, err := i.choose(z)
		if err != nil {
			return nil, err
		}
		answer, err := client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return nil, err
		}
		open = append(open, challenge{Host: z.Identifier.Value, Token: c.Token, Answer: answer})
		asked, waiting = append(asked, c), append(waiting, z.URI)
	}
	if err := i.publish(ctx, open); err != nil {
		return nil, err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
		defer cancel()
		_ = i.publish(late, nil) // an answer to a question that nobody asks any more hurts nobody
	}()
	for _, c := range asked {
		if _, err := client.Accept(ctx, c); err != nil {
			return nil, err
		}
	}
	for _, address := range waiting {
		if _, err := client.WaitAuthorization(ctx, address); err != nil {
			return nil, err
		}
	}
	ready, err := client.WaitOrder(ctx, order.URI)
	if err == nil {
		ready.URI = order.URI // which an authority need not repeat
	}
	return ready, err
}

// choose takes the kind of question that is answered here.
func (i *Issuer) choose(z *acme.Authorization) (*acme.Challenge, error) {
	kind := "tls-alpn-01"
	if i.cfg.ByHTTP {
		kind = "http-01"
	}
	n := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if n < 0 {
		return nil, fault.New(fault.Invalid, opIssue, "the authority does not offer %s for %s", kind, z.Identifier.Value)
	}
	return z.Challenges[n], nil
}

// publish lets every node answer.
func (i *Issuer) publish(ctx context.Context, open []challenge) error {
	if len(open) == 0 {
		return i.cfg.Keep.PutSetting(ctx, setChallenges, nil)
	}
	text, err := json.Marshal(open)
	if err != nil {
		return err
	}
	return i.cfg.Keep.PutSetting(ctx, setChallenges, text)
}

// finalize gets the certificate for a key of its own, and returns both as PEM.
func (i *Issuer) finalize(ctx context.Context, client *acme.Client, order *acme.Order) (secret.Text, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return secret.Text{}, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: i.cfg.Hosts}, key)
	if err != nil {
		return secret.Text{}, err
	}
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil { // the library asks for the order where the answer says it is, and the answer need not
		done, werr := client.WaitOrder(ctx, order.URI)
		if werr != nil || done.CertURL == "" {
			return secret.Text{}, err
		}
		chain, err = client.FetchCert(ctx, done.CertURL, true)
	}
	if err != nil {
		return secret.Text{}, err
	}
	text, err := keyText(key)
	if err != nil {
		return secret.Text{}, err
	}
	var b strings.Builder
	for _, der := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Builder takes everything
	}
	return secret.New(b.String() + text.Reveal()), nil
}

// explain says what the authority found, and what to do about it.
func (i *Issuer) explain(err error) error {
	hint := "see that acme_directory can be reached from here: a proxy and an authority of your own go into proxy and ca_file"
	var denied *acme.AuthorizationError
	var answer *acme.Error
	e := &fault.Error{Kind: fault.Temporary, Op: opIssue, Err: err}
	switch {
	case errors.As(err, &denied):
		port := "port 443 of every one of acme_hosts must reach https_listen"
		if i.cfg.ByHTTP {
			port = "port 80 of every one of acme_hosts must reach acme_listen"
		}
		hint = port + ", from the internet, and their names must lead here"
		e.Err = fmt.Errorf("the authority could not see that %s is ours: %w", denied.Identifier, errors.Join(denied.Errors...))
	case errors.As(err, &answer):
		hint = "the authority refused; its words say why"
		if wait, ok := acme.RateLimit(err); ok {
			e.Kind, e.RetryAfter = fault.Throttled, wait
		}
		if answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusBadRequest {
			e.Kind = fault.NeedsAdmin
		}
	}
	return e.WithHint("%s", hint)
}
