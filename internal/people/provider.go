package people

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"

	"postern/internal/entra"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/secret"
)

// OpenID is what is needed of the client that speaks OpenID Connect.
type OpenID interface {
	AuthorizeURL(ctx context.Context, r entra.Registration, a entra.AuthRequest) (string, error)
	Redeem(ctx context.Context, r entra.Registration, d entra.Redemption) (entra.Tokens, error)
}

// Provider is where people may sign in instead of with a password: Entra, or any other.
type Provider struct {
	OpenID   OpenID
	App      entra.Registration // of one organisation
	Redirect string
	Rules    []Rule
}

// Rule lets everybody in whom it fits, in a role. Of several the highest role counts.
type Rule struct {
	Kind  string // role, group, domain, user
	Value string
	Role  Role
}

// ParseRules reads rules as the configuration has them:
// "role:Postern.Admin=admin, group:GUID=operator, domain:contoso.com=viewer, user:jane@contoso.com=admin".
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		what, role, _ := cutLast(part, "=")
		kind, value, _ := strings.Cut(what, ":")
		r := Rule{Kind: strings.TrimSpace(kind), Value: strings.TrimSpace(value), Role: Role(strings.TrimSpace(role))}
		if !slices.Contains([]string{"role", "group", "domain", "user"}, r.Kind) || r.Value == "" || !r.Role.Known() {
			return nil, fault.New(fault.Invalid, "oidc_allow", "%q is no rule; allowed: role:, group:, domain: or user: with what it is, = and viewer, operator or admin, such as group:Postern-Admins=admin", part)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// fits reports whether a rule is about somebody.
func (r Rule) fits(id entra.Identity, address string) bool {
	_, domain, _ := cutLast(address, "@")
	switch r.Kind {
	case "role":
		return slices.Contains(id.Roles, r.Value)
	case "group":
		return slices.Contains(id.Groups, r.Value)
	case "domain":
		return address != "" && domain == fold(r.Value)
	case "user":
		return address != "" && address == fold(r.Value)
	}
	return false
}

// role is the highest that the rules give somebody; "" when none fits.
func (p *Provider) role(id entra.Identity, address string) Role {
	var best Role
	for _, r := range p.Rules {
		if r.fits(id, address) && r.Role.rank() > best.rank() {
			best = r.Role
		}
	}
	return best
}

// address is whom a provider's word may be taken for; "" is nobody's. Entra's user
// names are unique in their tenant and its administrators give them, but for guests,
// whose names others gave; its mail addresses anybody may choose. Other providers say
// whether they verified one.
func address(id entra.Identity) string {
	switch {
	case id.Guest:
		return ""
	case id.TenantID != "" && id.ObjectID != "":
		return fold(id.Username)
	case id.EmailVerified:
		return fold(id.Email)
	}
	return ""
}

// name is what somebody who comes by a rule goes by. A name that nobody vouches for
// is marked, so that it is never mistaken for an address.
func name(id entra.Identity, address string) string {
	if address != "" {
		return address
	}
	return fold(cmp.Or(id.Username, id.Email, id.Subject)) + "#guest"
}

// subject names somebody at the provider for good; user names change.
func subject(id entra.Identity) string {
	if id.TenantID != "" && id.ObjectID != "" {
		return "entra " + id.TenantID + " " + id.ObjectID
	}
	return id.Issuer + " " + id.Subject
}

// BeginExternal says where to send a browser. binding is for a cookie of that browser:
// state, nonce and PKCE verifier follow from it, so that nothing of a sign-in under way
// is kept here, and no other browser can end it.
func (r *Registry) BeginExternal(ctx context.Context) (binding secret.Text, at string, err error) {
	if r.Provider == nil {
		return secret.Text{}, "", fault.New(fault.NotFound, "sign in elsewhere", "Postern is not told of any provider to sign in with")
	}
	binding = newKey()
	at, err = r.Provider.OpenID.AuthorizeURL(ctx, r.Provider.App, entra.AuthRequest{
		Redirect: r.Provider.Redirect, State: derive(binding, "state"), Nonce: derive(binding, "nonce"), Verifier: derive(binding, "verifier"), PersonOnly: true,
	})
	return binding, at, err
}

func derive(binding secret.Text, what string) string {
	mac := hmac.New(sha256.New, []byte(binding.Reveal()))
	_, _ = mac.Write([]byte(what)) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// FinishExternal lets in whom the provider sends back, if they may come in.
func (r *Registry) FinishExternal(ctx context.Context, binding secret.Text, answer url.Values, from From) (Entry, error) {
	const op = "sign in elsewhere"
	if r.Provider == nil {
		return Entry{}, fault.New(fault.NotFound, op, "Postern is not told of any provider to sign in with")
	}
	if binding.Empty() || !hmac.Equal([]byte(answer.Get("state")), []byte(derive(binding, "state"))) {
		return Entry{}, fault.New(fault.Denied, op, "another browser began this sign-in, or it took too long").WithHint("begin again from the login page")
	}
	if err := entra.Refused(answer); err != nil {
		return Entry{}, err
	}
	tokens, err := r.Provider.OpenID.Redeem(ctx, r.Provider.App, entra.Redemption{
		Code: answer.Get("code"), Verifier: derive(binding, "verifier"), Redirect: r.Provider.Redirect, Nonce: derive(binding, "nonce"), PersonOnly: true,
	})
	if err != nil {
		return Entry{}, err
	}
	u, err := r.external(ctx, tokens.Identity)
	if err != nil {
		return Entry{}, err
	}
	return r.admit(ctx, u, false, from)
}

// external finds or makes the user that somebody is, by rules first, then by what an
// administrator entered.
func (r *Registry) external(ctx context.Context, id entra.Identity) (User, error) {
	at, who := address(id), subject(id)
	role := r.Provider.role(id, at)
	u, err := r.Store.ExternalUser(ctx, who)
	switch {
	case err == nil:
		return r.again(ctx, u, role, id)
	case !errors.Is(err, fault.NotFound):
		return User{}, err
	}
	if at != "" {
		switch known, err := r.Store.FindUser(ctx, at); {
		case err == nil:
			return r.claim(ctx, known, who, id)
		case !errors.Is(err, fault.NotFound):
			return User{}, err
		}
	}
	if role == "" {
		return User{}, r.stranger(ctx, id)
	}
	u = User{ID: mail.NewID(r.Now()), Name: name(id, at), Mail: at, Role: role, External: who, ByRule: true, Created: r.Now()}
	if err := r.Store.AddUser(ctx, u, false); err != nil {
		return User{}, err
	}
	return u, r.Audit(ctx, Deed{Who: u.Who(), What: "add a user", Subject: u.Name, Detail: "by a rule of oidc_allow", After: u})
}

// again is somebody who was here before. Who came by a rule has what the rules say now.
func (r *Registry) again(ctx context.Context, u User, role Role, id entra.Identity) (User, error) {
	if !u.ByRule || u.Role == role {
		return u, nil
	}
	if role == "" {
		_, err := r.Store.EndLogins(ctx, u.ID, "")
		return User{}, errors.Join(r.stranger(ctx, id), err)
	}
	err := r.changed(ctx, u.Who(), "change a role", u.ID, func(u *User, _ []User) error {
		u.Role = role
		return nil
	})
	u.Role = role
	return u, err
}

// claim binds a user that an administrator entered to whoever the provider says has
// that address. Somebody with a password here is not taken over.
func (r *Registry) claim(ctx context.Context, u User, who string, id entra.Identity) (User, error) {
	if u.Hash != "" || u.External != "" || u.Invite != "" {
		r.Log.WarnContext(ctx, "a sign-in was refused: the address is another user's", "user", u.Name)
		return User{}, fault.New(fault.Denied, "sign in elsewhere", "somebody else is known here as %s", address(id)).
			WithHint("log in with your password, or ask an administrator of Postern: %s", r.administrators(ctx))
	}
	err := r.changed(ctx, u.Who(), "sign in for the first time", u.ID, func(u *User, _ []User) error {
		u.External = who
		return nil
	})
	return u, err
}

// stranger says who may let somebody in.
func (r *Registry) stranger(ctx context.Context, id entra.Identity) error {
	name := cmp.Or(id.Username, id.Email, id.Subject)
	r.Log.WarnContext(ctx, "somebody unknown signed in and was refused", "username", name)
	why := "nobody has let %s in to Postern yet"
	if id.Overage {
		why += "; the provider did not say all groups (there are too many), so that rules by group cannot fit"
	}
	return fault.New(fault.Denied, "sign in elsewhere", why, name).
		WithHint("ask an administrator of Postern: %s", r.administrators(ctx))
}

func (r *Registry) administrators(ctx context.Context) string {
	all, err := r.Store.Users(ctx)
	if err != nil {
		return "whoever runs it"
	}
	var names []string
	for _, u := range all {
		if u.Role == Admin && !u.Disabled {
			names = append(names, u.Name)
		}
	}
	if len(names) == 0 {
		return "whoever runs it"
	}
	return strings.Join(names, ", ")
}
