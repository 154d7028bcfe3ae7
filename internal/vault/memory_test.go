package vault_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/fault"
	"postern/internal/vault"
)

// memory is a vault.Store that keeps nothing, with a switch to fail commits.
type memory struct {
	mu          sync.Mutex
	apps        map[string]vault.App
	accounts    map[string]vault.Account
	grants      map[string]vault.Grant
	claims      map[string]claim
	signIns     map[string]vault.SignIn
	links       map[string]vault.Link
	settings    map[string][]byte
	failCommits int // how many commits still fail
	states      int // how often SetState changed something
	beforeState func(vault.State)
}

type claim struct {
	holder string
	until  time.Time
}

func newMemory() *memory {
	return &memory{
		apps: map[string]vault.App{}, accounts: map[string]vault.Account{}, grants: map[string]vault.Grant{},
		claims: map[string]claim{}, signIns: map[string]vault.SignIn{}, links: map[string]vault.Link{}, settings: map[string][]byte{},
	}
}

var errDisk = errors.New("the disk is full")

func (m *memory) lock() func() { m.mu.Lock(); return m.mu.Unlock }

func get[V any](m map[string]V, kind, name string) (V, error) {
	v, ok := m[name]
	if !ok {
		return v, fault.New(fault.NotFound, "look up "+kind, "there is no %s %q", kind, name)
	}
	return v, nil
}

func sorted[V any](m map[string]V) []V {
	var all []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[k])
	}
	return all
}

func (m *memory) Apps(context.Context) ([]vault.App, error) {
	defer m.lock()()
	return sorted(m.apps), nil
}

func (m *memory) App(_ context.Context, name string) (vault.App, error) {
	defer m.lock()()
	return get(m.apps, "app", name)
}

func (m *memory) PutApp(_ context.Context, a vault.App) error {
	defer m.lock()()
	m.apps[a.Name] = a
	return nil
}

func (m *memory) DeleteApp(_ context.Context, name string) error {
	defer m.lock()()
	delete(m.apps, name)
	return nil
}

func (m *memory) Accounts(context.Context) ([]vault.Account, error) {
	defer m.lock()()
	return sorted(m.accounts), nil
}

func (m *memory) Account(_ context.Context, name string) (vault.Account, error) {
	defer m.lock()()
	return get(m.accounts, "account", name)
}

func (m *memory) PutAccount(_ context.Context, a vault.Account) error {
	defer m.lock()()
	if old, ok := m.accounts[a.Name]; ok {
		a.Held, a.State, a.By, a.Reason, a.Since, a.ProbeAt = old.Held, old.State, old.By, old.Reason, old.Since, old.ProbeAt
	}
	m.accounts[a.Name] = a
	return nil
}

func (m *memory) DeleteAccount(_ context.Context, name string) error {
	defer m.lock()()
	delete(m.accounts, name)
	delete(m.grants, name)
	return nil
}

func (m *memory) HoldAccount(_ context.Context, name string, held bool) (bool, error) {
	defer m.lock()()
	a, err := get(m.accounts, "account", name)
	changed := a.Held != held
	if a.Held = held; err == nil {
		m.accounts[name] = a
	}
	return changed, err
}

func (m *memory) RenameAccount(_ context.Context, name string, next vault.Account, g vault.Grant, holder string) error {
	defer m.lock()()
	if m.claims[name].holder != holder {
		return fault.New(fault.Conflict, "rename account", "the claim is lost")
	}
	delete(m.accounts, name)
	delete(m.grants, name)
	delete(m.claims, name)
	m.accounts[next.Name] = next
	if g.Generation > 0 {
		m.grants[next.Name] = g
	}
	return nil
}

func (m *memory) LastRotated(context.Context) (map[string]time.Time, error) {
	defer m.lock()()
	at := map[string]time.Time{}
	for _, g := range m.grants {
		if len(g.Refresh) > 0 {
			at[g.Account] = g.RotatedAt
		}
	}
	return at, nil
}

func (m *memory) SetState(ctx context.Context, name string, t vault.Transition) (bool, error) {
	if m.beforeState != nil {
		m.beforeState(t.To)
	}
	defer m.lock()()
	a, err := get(m.accounts, "account", name)
	if err != nil || ctx.Err() != nil {
		return false, errors.Join(err, ctx.Err())
	}
	if t.To == vault.Active && t.By == vault.Provider && a.By == vault.Server {
		return false, nil
	}
	changed := a.State != t.To
	if changed {
		a.Since = t.At
		m.states++
	}
	a.State, a.By, a.Reason, a.ProbeAt = t.To, t.By, t.Reason, t.ProbeAt
	m.accounts[name] = a
	return changed, nil
}

func (m *memory) Grant(_ context.Context, account string) (vault.Grant, error) {
	defer m.lock()()
	g, err := get(m.grants, "grant", account)
	g.Access = slices.Clone(g.Access)
	return g, err
}

func (m *memory) ClaimRefresh(_ context.Context, account, holder string, now, until time.Time) (vault.Grant, error) {
	defer m.lock()()
	if c, ok := m.claims[account]; ok && c.holder != holder && now.Before(c.until) {
		return vault.Grant{}, fault.New(fault.Conflict, "claim", "held by %s", c.holder)
	}
	m.claims[account] = claim{holder, until}
	g := m.grants[account]
	g.Account, g.Access = account, slices.Clone(g.Access)
	return g, nil
}

func (m *memory) CommitGrant(ctx context.Context, g vault.Grant, holder string) error {
	defer m.lock()()
	if m.failCommits > 0 {
		m.failCommits--
		return errDisk
	}
	if holder != "" && m.claims[g.Account].holder != holder {
		return fault.New(fault.Conflict, "commit", "the claim is lost")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	g.Generation = m.grants[g.Account].Generation + 1
	m.grants[g.Account] = g
	delete(m.claims, g.Account)
	return nil
}

func (m *memory) DropClaim(_ context.Context, account, holder string) error {
	defer m.lock()()
	if m.claims[account].holder == holder {
		delete(m.claims, account)
	}
	return nil
}

func (m *memory) PutSignIn(_ context.Context, s vault.SignIn) error {
	defer m.lock()()
	m.signIns[s.StateHash] = s
	return nil
}

func (m *memory) TakeSignIn(_ context.Context, stateHash string) (vault.SignIn, error) {
	defer m.lock()()
	s, err := get(m.signIns, "sign-in", stateHash)
	delete(m.signIns, stateHash)
	return s, err
}

func (m *memory) PutLink(_ context.Context, l vault.Link) error {
	defer m.lock()()
	m.links[l.TokenHash] = l
	return nil
}

func (m *memory) Link(_ context.Context, hash string) (vault.Link, error) {
	defer m.lock()()
	return get(m.links, "link", hash)
}

func (m *memory) TakeLink(_ context.Context, tokenHash string) (vault.Link, error) {
	defer m.lock()()
	l, err := get(m.links, "link", tokenHash)
	delete(m.links, tokenHash)
	return l, err
}

func (m *memory) ForgetExpired(_ context.Context, now time.Time) error {
	defer m.lock()()
	maps.DeleteFunc(m.signIns, func(_ string, s vault.SignIn) bool { return s.Expires.Before(now) })
	maps.DeleteFunc(m.links, func(_ string, l vault.Link) bool { return l.Expires.Before(now) })
	return nil
}

func (m *memory) Setting(_ context.Context, key string) ([]byte, error) {
	defer m.lock()()
	return get(m.settings, "setting", key)
}

func (m *memory) PutSettingOnce(_ context.Context, key string, value []byte) ([]byte, error) {
	defer m.lock()()
	if _, ok := m.settings[key]; !ok {
		m.settings[key] = value
	}
	return m.settings[key], nil
}

// dump is everything kept, as a thief of the database would read it.
func (m *memory) dump() string {
	defer m.lock()()
	var b strings.Builder
	add := func(p []byte) { b.Write(p); b.WriteByte('\n') }
	for _, a := range m.apps {
		add(a.Secret)
	}
	for _, g := range m.grants {
		add(g.Refresh)
		for _, a := range g.Access {
			add(a.Token)
		}
	}
	for _, s := range m.signIns {
		add(s.Verifier)
		add([]byte(s.StateHash + s.Browser))
	}
	for _, l := range m.links {
		add([]byte(l.TokenHash))
	}
	return b.String()
}

func (m *memory) ResealApp(_ context.Context, old, next vault.App) error {
	defer m.lock()()
	have := m.apps[old.Name]
	if !bytes.Equal(have.Secret, old.Secret) || !bytes.Equal(have.Key, old.Key) {
		return fault.New(fault.Conflict, "reseal", "it changed")
	}
	have.Secret, have.Key = next.Secret, next.Key
	m.apps[old.Name] = have
	return nil
}

func (m *memory) ResealAccount(_ context.Context, old, next vault.Account) error {
	defer m.lock()()
	have := m.accounts[old.Name]
	if !bytes.Equal(have.Password, old.Password) {
		return fault.New(fault.Conflict, "reseal", "it changed")
	}
	have.Password = next.Password
	m.accounts[old.Name] = have
	return nil
}

func (m *memory) ResealGrant(_ context.Context, old, next vault.Grant) error {
	defer m.lock()()
	have := m.grants[old.Account]
	if have.Generation != old.Generation {
		return fault.New(fault.Conflict, "reseal", "it changed")
	}
	have.Refresh, have.Access = next.Refresh, next.Access
	m.grants[old.Account] = have
	return nil
}

func (m *memory) SwapSetting(_ context.Context, key string, old, value []byte) error {
	defer m.lock()()
	if !bytes.Equal(m.settings[key], old) {
		return fault.New(fault.Conflict, "swap", "it changed")
	}
	m.settings[key] = value
	return nil
}

func (m *memory) SettingKeys(_ context.Context, prefix string) ([]string, error) {
	defer m.lock()()
	var keys []string
	for key := range m.settings {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
