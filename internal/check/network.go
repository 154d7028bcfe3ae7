package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"postern/internal/mail"
	"postern/internal/sasl"
)

// How long a name server and a server may stay silent.
const (
	lookupPatience  = 10 * time.Second
	connectPatience = 20 * time.Second
)

func (c *checking) resolve(ctx context.Context) Stage {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	peer := c.peer()
	addresses, err := c.LookupHost(ctx, peer.Host)
	if err != nil {
		st := c.failure(err, peer.Host+" has no address, as far as this machine can find out.")
		st.Next = "Check the host name, and the name server of this machine."
		return st
	}
	return Stage{
		Status: OK, Summary: fmt.Sprintf("%s has %s.", peer.Host, count(len(addresses), "address", "addresses")),
		Details: []Detail{{"addresses", strings.Join(addresses, ", ")}},
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (c *checking) connect(ctx context.Context) Stage {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	peer := c.peer()
	conn, err := c.Dial(ctx, "tcp", peer.Address())
	if err != nil {
		st := c.failure(err, fmt.Sprintf("%s does not take a connection.", peer.Address()))
		st.Next = fmt.Sprintf("Let the firewall on this side allow outgoing connections to %s; Microsoft's servers rarely refuse any.", peer.Address())
		if c.web.proxy != nil {
			st.Next = fmt.Sprintf("Check that the proxy %s runs, and that this is its address (proxy, or HTTPS_PROXY).", c.through())
		}
		return st
	}
	c.dialled = conn
	return Stage{
		Status: OK, Summary: peer.Address() + " takes connections.",
		Details: []Detail{{"connected to", conn.RemoteAddr().String()}},
	}
}

// take hands out the connection of the tcp stage once, and new ones after that.
func (c *checking) take(ctx context.Context, network, address string) (net.Conn, error) {
	if conn := c.dialled; conn != nil {
		c.dialled = nil
		return conn, nil
	}
	return c.Dial(ctx, network, address)
}

// encrypt tries TLS on a connection of its own, so that what is wrong with a
// certificate can be told apart from what is wrong with the mail server.
func (c *checking) encrypt(ctx context.Context) Stage {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	raw, err := c.take(ctx, "tcp", c.Server.Address())
	if err != nil {
		return c.failure(err, c.Server.Address()+" does not take a second connection.")
	}
	defer func() { _ = raw.Close() }()
	conn := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Server.Host, RootCAs: c.RootCAs})
	if err := conn.HandshakeContext(ctx); err != nil {
		return c.unencrypted(err)
	}
	return c.describe(conn.ConnectionState())
}

// encrypted looks at the TLS that STARTTLS began.
func (c *checking) encrypted(context.Context) Stage {
	if c.handshake != nil {
		return c.unencrypted(c.handshake)
	}
	state, ok := c.session.tls()
	if !ok {
		return Stage{Status: Fail, Summary: "The connection is not encrypted.", Next: "Set TLS to starttls or implicit."}
	}
	return c.describe(state)
}

// soon is when the end of a certificate is worth a word.
const soon = 7 * 24 * time.Hour

func (c *checking) describe(state tls.ConnectionState) Stage {
	leaf := state.PeerCertificates[0]
	st := Stage{
		Status: OK,
		Summary: fmt.Sprintf("%s with a certificate for %s by %s, valid until %s.",
			tls.VersionName(state.Version), c.Server.Host, issuer(leaf), leaf.NotAfter.UTC().Format(time.DateOnly)),
		Details: append([]Detail{{"version", tls.VersionName(state.Version)}, {"cipher", tls.CipherSuiteName(state.CipherSuite)}}, about(leaf)...),
	}
	switch left := leaf.NotAfter.Sub(c.Now()); {
	case c.strange(leaf):
		st.Status = Warn
		st.Summary = fmt.Sprintf("The certificate for %s is by %s, which issues none for Microsoft: a proxy on the way looks into TLS.", c.Server.Host, issuer(leaf))
		st.Next = fmt.Sprintf("It is trusted, so Postern works; should sign-ins or mail break off, have whoever runs that proxy exempt %s.", c.Server.Host)
	case left < soon:
		st.Status = Warn
		st.Next = fmt.Sprintf("The certificate ends in %s: whoever runs %s must renew it.", left.Round(time.Hour), c.Server.Host)
	}
	return st
}

// strange reports whether a certificate is none of those who issue for the host.
func (c *checking) strange(leaf *x509.Certificate) bool {
	if c.issuers == nil {
		return false
	}
	by := strings.ToLower(leaf.Issuer.String())
	return !slices.ContainsFunc(c.issuers, func(known string) bool { return strings.Contains(by, known) })
}

func about(leaf *x509.Certificate) []Detail {
	return []Detail{
		{"names", strings.Join(leaf.DNSNames, ", ")}, {"subject", leaf.Subject.String()}, {"issuer", leaf.Issuer.String()},
		{"expires", leaf.NotAfter.UTC().Format(time.RFC3339)},
	}
}

func issuer(leaf *x509.Certificate) string {
	for _, name := range append([]string{leaf.Issuer.CommonName}, leaf.Issuer.Organization...) {
		if name != "" {
			return name
		}
	}
	return "an issuer without a name"
}

// unencrypted says why TLS did not come about.
func (c *checking) unencrypted(err error) Stage {
	st := c.failure(err, "TLS could not be agreed with "+c.Server.Address()+".")
	if _, clear := errors.AsType[tls.RecordHeaderError](err); clear {
		st.Summary = fmt.Sprintf("%s does not begin with TLS on port %d.", c.Server.Host, c.Server.Port)
		st.Next = "Set TLS to starttls, or enter the port for implicit TLS" + named(c.properServer()) + "."
		return st
	}
	bad, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(bad.UnverifiedCertificates) == 0 {
		st.Next = "Check that nothing between here and the server inspects or blocks TLS, and that both sides know TLS 1.2."
		return st
	}
	leaf := bad.UnverifiedCertificates[0]
	st.Summary, st.Next = c.distrust(bad, leaf)
	st.Details = append(st.Details, about(leaf)...)
	return st
}

func (c *checking) distrust(bad *tls.CertificateVerificationError, leaf *x509.Certificate) (what, next string) {
	if _, other := errors.AsType[x509.HostnameError](bad); other {
		return fmt.Sprintf("The certificate is not for %s, but for %s.", c.Server.Host, strings.Join(leaf.DNSNames, ", ")),
			"Enter the name that stands in the certificate, or find out who answers in the server's place."
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](bad); ok && invalid.Reason == x509.Expired {
		return fmt.Sprintf("The certificate is valid from %s to %s, and not now.", leaf.NotBefore.UTC().Format(time.DateOnly), leaf.NotAfter.UTC().Format(time.DateOnly)),
			"Check this machine's clock; if it is right, whoever runs the server must renew its certificate."
	}
	if c.strange(leaf) {
		return fmt.Sprintf("A proxy on the way looks into TLS: it answers for %s with a certificate of its own, by %s, which is not trusted here.", c.Server.Host, issuer(leaf)),
			fmt.Sprintf("Put the certificate authority of that proxy into a file and name it with ca_file, or have whoever runs the proxy exempt %s.", c.Server.Host)
	}
	return fmt.Sprintf("The certificate was issued by %s, which is not trusted here.", issuer(leaf)),
		"If a proxy on your network inspects TLS, add its certificate authority to the CA bundle; otherwise somebody answers in the server's place."
}

// isTLS reports whether a session failed in its TLS handshake.
func isTLS(err error) bool {
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return record || certificate || alert
}

// greet opens the session: the greeting, what the server can do, and with
// STARTTLS the encryption too.
func (c *checking) greet(ctx context.Context) Stage {
	s, err := c.open(ctx)
	if err != nil && c.Server.TLS == mail.STARTTLS && isTLS(err) {
		c.handshake = err
		return Stage{Status: OK, Summary: c.Server.Host + " answers and begins TLS."}
	}
	if err != nil {
		return c.failure(err, fmt.Sprintf("%s does not answer as a server for %s does.", c.Server.Address(), c.Purpose))
	}
	c.session = s
	offers, err := s.capabilities(ctx)
	if err != nil {
		return c.failure(err, c.Server.Host+" does not say what it can do.")
	}
	c.offers = s.mechanisms(offers)
	st := c.takes()
	st.Summary = fmt.Sprintf("%s answers%s", c.Server.Host, st.Summary)
	st.Details = []Detail{{"offers", strings.Join(offers, ", ")}}
	if len(offers) == 0 {
		st.Status, st.Summary, st.Next = Warn, c.Server.Host+" answers, but does not say how it lets anybody sign in.", ""
	}
	return st
}

// takes says whether the server lets sign in by what there will be.
func (c *checking) takes() Stage {
	what, good := "tokens (XOAUTH2)", slices.Contains(c.offers, sasl.XOAUTH2)
	if c.Method == AppPassword {
		what, good = "passwords (PLAIN or LOGIN)", slices.Contains(c.offers, mechanismPlain) || slices.Contains(c.offers, sasl.LOGIN)
	}
	if good {
		return Stage{Status: OK, Summary: " and takes " + what + "."}
	}
	return Stage{
		Status: Fail, Summary: ", but does not take " + what + ".",
		Next: "Check host and port" + named(c.properServer()) + "; something on the way that inspects mail can also hide it.",
	}
}
