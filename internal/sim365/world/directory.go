package world

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// NewID returns a random GUID.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return guid(b)
}

func guid(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ServicePrincipalID is the object id of an app's enterprise application in a
// tenant: what New-ServicePrincipal -ObjectId wants, and the oid of app-only tokens.
func ServicePrincipalID(clientID, tenantID string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(clientID + "@" + tenantID)))
	return guid([16]byte(sum[:16]))
}

// AddTenant adds an organisation, with a random id when it has none.
func (w *World) AddTenant(t Tenant) Tenant {
	if t.ID == "" {
		t.ID = NewID()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tenants = append(w.tenants, new(cloneTenant(t)))
	return t
}

// AddUser adds somebody who can sign in, with a random object id when they have
// none, and the tenant of their address when they name none.
func (w *World) AddUser(u User) User {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.ObjectID == "" {
		u.ObjectID = NewID()
	}
	if u.TenantID == "" {
		if t := w.tenantOf(u.UPN); t != nil {
			u.TenantID = t.ID
		}
	}
	if u.DisplayName == "" {
		u.DisplayName, _, _ = strings.Cut(u.UPN, "@")
	}
	w.remember(u.Password, u.AppPassword)
	w.users = append(w.users, new(u))
	return u
}

// AddApp adds an app registration, with random ids where it has none.
func (w *World) AddApp(a App) App {
	if a.ClientID == "" {
		a.ClientID = NewID()
	}
	if a.SecretID == "" {
		a.SecretID = NewID()
	}
	a = cloneApp(a)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remember(a.Secret)
	w.apps = append(w.apps, new(a))
	return cloneApp(a)
}

// Tenant finds an organisation by id or by any of its domains.
func (w *World) Tenant(idOrDomain string) (Tenant, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tenant(idOrDomain); t != nil {
		return cloneTenant(*t), true
	}
	return Tenant{}, false
}

// TenantOf finds the organisation that owns an address's domain.
func (w *World) TenantOf(address string) (Tenant, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tenantOf(address); t != nil {
		return cloneTenant(*t), true
	}
	return Tenant{}, false
}

// User finds somebody by sign-in name or object id.
func (w *World) User(upnOrObjectID string) (User, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.user(upnOrObjectID); u != nil {
		return *u, true
	}
	return User{}, false
}

// App finds an app registration by client id.
func (w *World) App(clientID string) (App, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.app(clientID); a != nil {
		return cloneApp(*a), true
	}
	return App{}, false
}

// Tenants lists all organisations.
func (w *World) Tenants() []Tenant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return copied(w.tenants, cloneTenant)
}

// Users lists everybody.
func (w *World) Users() []User {
	w.mu.Lock()
	defer w.mu.Unlock()
	return copied(w.users, func(u User) User { return u })
}

// Apps lists all app registrations.
func (w *World) Apps() []App {
	w.mu.Lock()
	defer w.mu.Unlock()
	return copied(w.apps, cloneApp)
}

// UpdateTenant changes an organisation in place; it reports whether there is one.
// f runs under the world's lock and must not call the world.
func (w *World) UpdateTenant(idOrDomain string, f func(*Tenant)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tenant(idOrDomain)
	if t == nil {
		return false
	}
	f(t)
	return true
}

// UpdateUser is UpdateTenant for users.
func (w *World) UpdateUser(upn string, f func(*User)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.user(upn)
	if u == nil {
		return false
	}
	f(u)
	w.remember(u.Password, u.AppPassword)
	return true
}

// UpdateApp is UpdateTenant for app registrations. Maps that were nil are made first.
func (w *World) UpdateApp(clientID string, f func(*App)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.app(clientID)
	if a == nil {
		return false
	}
	f(a)
	*a = cloneApp(*a)
	w.remember(a.Secret)
	return true
}

// Policy returns a mailbox's switches; one never touched has Microsoft's limits.
func (w *World) Policy(mailbox string) MailboxPolicy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy(mailbox)
}

// MaySendAs reports whether a mailbox may name an address as its sender.
func (w *World) MaySendAs(mailbox, address string) bool {
	return strings.EqualFold(address, mailbox) ||
		slices.ContainsFunc(w.Policy(mailbox).SendAs, func(a string) bool { return strings.EqualFold(a, address) })
}

// SetPolicy changes a mailbox's switches.
func (w *World) SetPolicy(mailbox string, f func(*MailboxPolicy)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.policy(mailbox)
	f(&p)
	w.policies[strings.ToLower(mailbox)] = p
}

// RevokeSessions is the administrator's "revoke sessions": refresh tokens issued
// to this user before now are dead (AADSTS50173). Access tokens live on.
func (w *World) RevokeSessions(upn string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.user(upn)
	if u == nil {
		return false
	}
	w.sessions[u.ObjectID]++
	return true
}

// SessionEpoch counts a user's revocations; a grant from an older epoch is dead.
func (w *World) SessionEpoch(objectID string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sessions[objectID]
}

func (w *World) policy(mailbox string) MailboxPolicy {
	if p, ok := w.policies[strings.ToLower(mailbox)]; ok {
		return p
	}
	return MailboxPolicy{Limits: MicrosoftLimits()}
}

func (w *World) tenant(idOrDomain string) *Tenant {
	for _, t := range w.tenants {
		if strings.EqualFold(t.ID, idOrDomain) || slices.ContainsFunc(t.Domains, sameFold(idOrDomain)) {
			return t
		}
	}
	return nil
}

func (w *World) tenantOf(address string) *Tenant {
	_, domain, ok := strings.Cut(address, "@")
	if !ok || domain == "" {
		return nil
	}
	return w.tenant(domain)
}

func (w *World) user(upnOrObjectID string) *User {
	for _, u := range w.users {
		if strings.EqualFold(u.UPN, upnOrObjectID) || strings.EqualFold(u.ObjectID, upnOrObjectID) {
			return u
		}
	}
	return nil
}

func (w *World) app(clientID string) *App {
	for _, a := range w.apps {
		if strings.EqualFold(a.ClientID, clientID) {
			return a
		}
	}
	return nil
}

func sameFold(want string) func(string) bool {
	return func(s string) bool { return strings.EqualFold(s, want) }
}

// The clones keep readers apart from later updates.

func cloneTenant(t Tenant) Tenant {
	t.Domains = slices.Clone(t.Domains)
	return t
}

func cloneApp(a App) App {
	a.RedirectURIs, a.Permissions = slices.Clone(a.RedirectURIs), slices.Clone(a.Permissions)
	a.AdminConsent, a.Registered = cloneMap(a.AdminConsent), cloneMap(a.Registered)
	a.FullAccess, a.UserConsent = cloneMap(a.FullAccess), cloneMap(a.UserConsent)
	return a
}

// cloneMap never returns nil, so that updates can write into what they find.
func cloneMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

func copied[T any](in []*T, clone func(T) T) []T {
	out := make([]T, 0, len(in))
	for _, v := range in {
		out = append(out, clone(*v))
	}
	return out
}
