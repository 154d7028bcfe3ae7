package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/alert"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/store"
	"postern/internal/vault"
)

func TestApps(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		failed(t, second(s.App(ctx, "contoso")), fault.NotFound, `"contoso"`)
		failed(t, s.DeleteApp(ctx, "contoso"), fault.NotFound)
		got(t, []vault.App(nil))(s.Apps(ctx))

		ok(t, s.PutApp(ctx, contoso()))
		got(t, contoso())(s.App(ctx, "contoso"))
		public := vault.App{Name: "another", Tenant: "common", ClientID: "x"}
		ok(t, s.PutApp(ctx, public))
		got(t, []vault.App{public, contoso()})(s.Apps(ctx))

		changed := contoso()
		changed.Tenant, changed.Secret, changed.SecretExpires, changed.Cloud.CA = "organizations", nil, time.Time{}, "PEM"
		ok(t, s.PutApp(ctx, changed))
		got(t, changed)(s.App(ctx, "contoso"))

		ok(t, s.PutAccount(ctx, scanAccount()))
		failed(t, s.DeleteApp(ctx, "contoso"), fault.Conflict, `account "scan"`)
		ok(t, s.DeleteApp(ctx, "another"))
		ok(t, s.DeleteAccount(ctx, "scan"))
		ok(t, s.DeleteApp(ctx, "contoso"))
		got(t, []vault.App(nil))(s.Apps(ctx))
	})
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		failed(t, s.PutAccount(ctx, scanAccount()), fault.Invalid, `"contoso"`)
		ok(t, s.PutApp(ctx, contoso()))
		ok(t, s.PutAccount(ctx, scanAccount()))
		got(t, scanAccount())(s.Account(ctx, "scan"))
		failed(t, second(s.Account(ctx, "nobody")), fault.NotFound, `"nobody"`)

		changed, err := s.SetState(ctx, "scan", vault.Transition{To: vault.NeedsAdmin, By: vault.Server, Reason: "switch\x00 \xff", At: after(1), ProbeAt: after(2 * time.Hour)})
		if !changed || err != nil {
			t.Fatal(changed, err)
		}
		again := scanAccount()
		again.Method, again.Shared, again.Purposes = vault.Application, true, []vault.Purpose{vault.Graph}
		again.State, again.Reason = vault.Active, "from a file"
		ok(t, s.PutAccount(ctx, again))
		want := again
		want.State, want.By, want.Reason, want.Since, want.ProbeAt = vault.NeedsAdmin, vault.Server, "switch\uFFFD \uFFFD", t0, after(2*time.Hour)
		got(t, want)(s.Account(ctx, "scan"))

		fresh := vault.Account{Name: "a", App: "contoso", Mailbox: address("a@b"), Method: vault.Delegated}
		ok(t, s.PutAccount(ctx, fresh))
		fresh.State = vault.New
		got(t, []vault.Account{fresh, want})(s.Accounts(ctx))
		again.App = "gone"
		failed(t, s.PutAccount(ctx, again), fault.Invalid, `"gone"`)
	})
}

func TestSetState(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		failed(t, second(s.SetState(ctx, "nobody", vault.Transition{To: vault.Active, At: t0})), fault.NotFound)
		got(t, true)(s.SetState(ctx, "scan", vault.Transition{To: vault.NeedsSignIn, By: vault.Provider, Reason: "first", At: after(time.Hour)}))
		got(t, false)(s.SetState(ctx, "scan", vault.Transition{To: vault.NeedsSignIn, By: vault.Provider, Reason: "second", At: after(2 * time.Hour), ProbeAt: after(3 * time.Hour)}))
		want := scanAccount()
		want.State, want.By, want.Reason, want.Since, want.ProbeAt = vault.NeedsSignIn, vault.Provider, "second", after(time.Hour), after(3*time.Hour)
		got(t, want)(s.Account(ctx, "scan"))

		if n := winners(20, func(int) bool {
			changed, err := s.SetState(ctx, "scan", vault.Transition{To: vault.Active, By: vault.Provider, At: t0})
			return changed && err == nil
		}); n != 1 {
			t.Errorf("%d callers were told that they changed the state", n)
		}
	})
}

func TestTokenLiftsNoPauseOfAServer(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		got(t, true)(s.SetState(ctx, "scan", vault.Transition{To: vault.NeedsAdmin, By: vault.Server, Reason: "535 5.7.139", At: t0, ProbeAt: after(time.Minute)}))
		got(t, false)(s.SetState(ctx, "scan", vault.Transition{To: vault.Active, By: vault.Provider, At: after(1)}))
		have, err := s.Account(ctx, "scan")
		ok(t, err)
		if have.State != vault.NeedsAdmin || have.Reason != "535 5.7.139" {
			t.Errorf("a token lifted what a server paused: %+v", have)
		}
		for _, by := range []vault.Party{vault.Server, vault.Person} {
			got(t, true)(s.SetState(ctx, "scan", vault.Transition{To: vault.Active, By: by, At: after(2)}))
			got(t, true)(s.SetState(ctx, "scan", vault.Transition{To: vault.NeedsAdmin, By: vault.Server, At: after(3)}))
		}
	})
}

func TestResealsReplaceOnlyWhatIsStillSo(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		app, err := s.App(ctx, "contoso")
		ok(t, err)
		app.Certificate, app.Key = []byte("der"), vault.Sealed("key")
		ok(t, s.PutApp(ctx, app))
		next := app
		next.Secret, next.Key = vault.Sealed("new secret"), vault.Sealed("new key")
		ok(t, s.ResealApp(ctx, app, next))
		got(t, next)(s.App(ctx, "contoso"))
		failed(t, s.ResealApp(ctx, app, next), fault.Conflict, `"contoso"`)

		account, err := s.Account(ctx, "scan")
		ok(t, err)
		account.Password, account.PasswordSet, account.GiveTokens = vault.Sealed("old"), after(time.Hour), true
		ok(t, s.PutAccount(ctx, account))
		got(t, account)(s.Account(ctx, "scan"))
		resealed := account
		resealed.Password = vault.Sealed("new")
		ok(t, s.ResealAccount(ctx, account, resealed))
		got(t, resealed)(s.Account(ctx, "scan"))
		failed(t, s.ResealAccount(ctx, account, resealed), fault.Conflict, `"scan"`)

		ok(t, s.CommitGrant(ctx, vault.Grant{Account: "scan", Refresh: vault.Sealed("r1"), SignedInAs: "scan@contoso.com"}, ""))
		grant, err := s.Grant(ctx, "scan")
		ok(t, err)
		fresh := grant
		fresh.Refresh, fresh.SignedInAs = vault.Sealed("r2"), "nobody reads this"
		ok(t, s.ResealGrant(ctx, grant, fresh))
		fresh.SignedInAs = grant.SignedInAs
		got(t, fresh)(s.Grant(ctx, "scan"))
		ok(t, s.CommitGrant(ctx, fresh, ""))
		failed(t, s.ResealGrant(ctx, grant, fresh), fault.Conflict, `"scan"`)

		ok(t, s.PutSetting(ctx, "k", []byte("one")))
		ok(t, s.SwapSetting(ctx, "k", []byte("one"), []byte("two")))
		failed(t, s.SwapSetting(ctx, "k", []byte("one"), []byte("three")), fault.Conflict, `"k"`)
		got(t, []byte("two"))(s.Setting(ctx, "k"))
	})
}

// winners runs f n times at once and counts those that return true.
func winners(n int, f func(i int) bool) int {
	var won atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if f(i) {
				won.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(won.Load())
}

func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		failed(t, s.DeleteAccount(ctx, "nobody"), fault.NotFound)
		err := s.DeleteAccount(ctx, "scan")
		failed(t, err, fault.Conflict, `device "printer"`, `task "invoices"`)
		if fault.HintOf(err) == "" {
			t.Error("no hint")
		}
		ok(t, s.DeleteDevice(ctx, "printer"))
		failed(t, s.DeleteAccount(ctx, "scan"), fault.Conflict, `used by task "invoices"`)
		ok(t, s.DeleteTask(ctx, "invoices"))
		ok(t, s.PutAlertRoute(ctx, alert.Route{Name: "ops", Account: "scan", To: []mail.Address{address("ops@contoso.com")}}))
		failed(t, s.DeleteAccount(ctx, "scan"), fault.Conflict, `used by alert route "ops"`)
		ok(t, s.DeleteAlertRoute(ctx, "ops"))
		m := put(t, s, message(1, "scan"))
		failed(t, s.DeleteAccount(ctx, "scan"), fault.Conflict, "still waits")
		ok(t, s.DeleteMessage(ctx, m.ID))
		ok(t, s.CommitGrant(ctx, grant(), ""))
		ok(t, s.PutSignIn(ctx, signIn("h")))
		ok(t, s.PutLink(ctx, vault.Link{TokenHash: "l", Account: "scan", Expires: t0}))
		ok(t, s.DeleteAccount(ctx, "scan"))
		failed(t, second(s.Grant(ctx, "scan")), fault.NotFound)
		failed(t, second(s.TakeSignIn(ctx, "h")), fault.NotFound)
		failed(t, second(s.TakeLink(ctx, "l")), fault.NotFound)
		failed(t, s.DeleteAccount(ctx, "scan"), fault.NotFound)
	})
}

func grant() vault.Grant {
	return vault.Grant{
		Account: "scan", Refresh: vault.Sealed("sealed\x00"), SignedInAs: "scan@contoso.com", ObjectID: "oid", TenantID: "tid",
		Access:     []vault.Access{{Resource: "https://outlook.office.com", Token: vault.Sealed{0xff, 0}, Issued: t0, Expires: after(time.Hour)}},
		Scopes:     []string{"offline_access", "SMTP.Send"},
		SignedInAt: after(-time.Hour), RotatedAt: t0,
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		failed(t, second(s.Grant(ctx, "scan")), fault.NotFound)
		got(t, map[string]time.Time{})(s.LastRotated(ctx))
		stranger := grant()
		stranger.Account = "nobody"
		failed(t, s.CommitGrant(ctx, stranger, ""), fault.NotFound)
		failed(t, s.CommitGrant(ctx, grant(), "me"), fault.Conflict)
		failed(t, second(s.ClaimRefresh(ctx, "nobody", "me", t0, after(1))), fault.NotFound)

		ok(t, s.CommitGrant(ctx, grant(), ""))
		want := grant()
		want.Generation = 1
		got(t, want)(s.Grant(ctx, "scan"))
		got(t, want)(s.ClaimRefresh(ctx, "scan", "me", t0, after(time.Minute)))
		got(t, want)(s.ClaimRefresh(ctx, "scan", "me", t0, after(time.Minute)))
		failed(t, second(s.ClaimRefresh(ctx, "scan", "you", t0, after(time.Minute))), fault.Conflict, `"scan"`)
		failed(t, s.CommitGrant(ctx, grant(), "you"), fault.Conflict)

		rotated := grant()
		rotated.Refresh, rotated.Access, rotated.RotatedAt = vault.Sealed("second"), nil, after(time.Minute)
		ok(t, s.CommitGrant(ctx, rotated, "me"))
		rotated.Generation = 2
		got(t, rotated)(s.Grant(ctx, "scan"))
		got(t, map[string]time.Time{"scan": rotated.RotatedAt})(s.LastRotated(ctx))
		failed(t, s.CommitGrant(ctx, rotated, "me"), fault.Conflict) // the first commit dropped the claim
		got(t, rotated)(s.ClaimRefresh(ctx, "scan", "you", t0, after(time.Minute)))

		// One that ended is taken over; who had it finds out at the commit.
		got(t, rotated)(s.ClaimRefresh(ctx, "scan", "me", after(time.Minute), after(time.Hour)))
		failed(t, s.CommitGrant(ctx, rotated, "you"), fault.Conflict)
		ok(t, s.DropClaim(ctx, "scan", "you"))
		failed(t, second(s.ClaimRefresh(ctx, "scan", "you", t0, after(time.Minute))), fault.Conflict)
		ok(t, s.DropClaim(ctx, "scan", "me"))
		got(t, rotated)(s.ClaimRefresh(ctx, "scan", "you", t0, after(time.Minute)))

		// A fresh sign-in voids any claim.
		ok(t, s.CommitGrant(ctx, grant(), ""))
		failed(t, s.CommitGrant(ctx, rotated, "you"), fault.Conflict)
		want.Generation = 3
		got(t, want)(s.Grant(ctx, "scan"))
	})
}

// An application account has no grant before its first token, and still only one
// process may ask for it.
func TestClaimBeforeTheFirstGrant(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		got(t, vault.Grant{Account: "scan"})(s.ClaimRefresh(ctx, "scan", "me", t0, after(time.Minute)))
		failed(t, second(s.Grant(ctx, "scan")), fault.NotFound)
		failed(t, second(s.ClaimRefresh(ctx, "scan", "you", t0, after(time.Minute))), fault.Conflict)
		ok(t, s.CommitGrant(ctx, grant(), "me"))
		want := grant()
		want.Generation = 1
		got(t, want)(s.Grant(ctx, "scan"))
	})
}

func TestOneClaimWins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		one, two := furnished(t, opened(t, d)), opened(t, d)
		ctx := t.Context()
		ok(t, one.CommitGrant(ctx, grant(), ""))
		if n := winners(50, func(i int) bool {
			s := []*store.Store{one, two}[i%2]
			_, err := s.ClaimRefresh(ctx, "scan", fmt.Sprint("holder", i), t0, after(time.Minute))
			if err != nil && !errors.Is(err, fault.Conflict) {
				t.Error(err)
			}
			return err == nil
		}); n != 1 {
			t.Errorf("%d claims won", n)
		}
	})
}

func signIn(hash string) vault.SignIn {
	return vault.SignIn{
		StateHash: hash, Account: "scan", Browser: "cookie", Verifier: vault.Sealed("v\x00"), Nonce: "n",
		Redirect: "https://gate.example/register_microsoft_graph_api/", Expires: after(time.Minute),
	}
}

func TestSignInsAndLinks(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		link := vault.Link{TokenHash: "l", Account: "scan", Expires: after(time.Minute)}
		stranger, lost := signIn("x"), link
		stranger.Account, lost.Account = "nobody", "nobody"
		failed(t, s.PutSignIn(ctx, stranger), fault.NotFound)
		failed(t, s.PutLink(ctx, lost), fault.NotFound)

		ok(t, s.PutSignIn(ctx, signIn("h")))
		failed(t, s.PutSignIn(ctx, signIn("h")), fault.Conflict)
		got(t, signIn("h"))(s.TakeSignIn(ctx, "h"))
		failed(t, second(s.TakeSignIn(ctx, "h")), fault.NotFound)
		ok(t, s.PutLink(ctx, link))
		failed(t, s.PutLink(ctx, link), fault.Conflict)
		got(t, link)(s.TakeLink(ctx, "l"))
		failed(t, second(s.TakeLink(ctx, "l")), fault.NotFound)

		ok(t, s.PutSignIn(ctx, signIn("h")))
		ok(t, s.PutLink(ctx, link))
		ok(t, s.ForgetExpired(ctx, after(time.Minute))) // ends now, has not ended before now
		got(t, signIn("h"))(s.TakeSignIn(ctx, "h"))
		ok(t, s.PutSignIn(ctx, signIn("h")))
		ok(t, s.ForgetExpired(ctx, after(time.Minute+time.Millisecond)))
		failed(t, second(s.TakeSignIn(ctx, "h")), fault.NotFound)
		failed(t, second(s.TakeLink(ctx, "l")), fault.NotFound)
	})
}

func TestTakenOnce(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		ok(t, s.PutSignIn(ctx, signIn("h")))
		ok(t, s.PutLink(ctx, vault.Link{TokenHash: "l", Account: "scan", Expires: t0}))
		if n := winners(20, func(int) bool { return second(s.TakeSignIn(ctx, "h")) == nil }); n != 1 {
			t.Errorf("%d took the sign-in", n)
		}
		if n := winners(20, func(int) bool { return second(s.TakeLink(ctx, "l")) == nil }); n != 1 {
			t.Errorf("%d took the link", n)
		}
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		failed(t, second(s.Setting(ctx, "k")), fault.NotFound)
		got(t, []byte{0, 0xff})(s.PutSettingOnce(ctx, "k", []byte{0, 0xff}))
		got(t, []byte{0, 0xff})(s.PutSettingOnce(ctx, "k", []byte("late")))
		ok(t, s.PutSetting(ctx, "k", []byte("new")))
		got(t, []byte("new"))(s.Setting(ctx, "k"))
		ok(t, s.PutSetting(ctx, "empty", nil))
		got(t, []byte(nil))(s.Setting(ctx, "empty"))
		ok(t, s.PutSetting(ctx, "a_b.c", nil))
		ok(t, s.PutSetting(ctx, "aXb.c", nil))
		got(t, []string{"a_b.c"})(s.SettingKeys(ctx, "a_b."))

		var first sync.Map
		winners(20, func(i int) bool {
			v, err := s.PutSettingOnce(ctx, "race", fmt.Append(nil, i))
			if err != nil {
				t.Error(err)
			}
			first.Store(string(v), true)
			return true
		})
		n := 0
		first.Range(func(_, _ any) bool { n++; return true })
		if n != 1 {
			t.Errorf("PutSettingOnce returned %d different values", n)
		}
	})
}

// What strangers type must not look like a sick database.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		for _, name := range []string{"", "\x00", "a\xffb", "' OR 1=1 --", "\u2028"} {
			failed(t, second(s.Device(t.Context(), name)), fault.NotFound)
			failed(t, second(s.TakeLink(t.Context(), name)), fault.NotFound)
			failed(t, second(s.Message(t.Context(), name)), fault.NotFound)
		}
	})
}

func TestEndOfContextIsNoFault(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range []error{s.PutApp(ctx, contoso()), second(s.Apps(ctx)), s.Ping(ctx)} {
			if !errors.Is(err, context.Canceled) || fault.As(err) != nil {
				t.Errorf("have %v", err)
			}
		}
		got(t, []vault.App(nil))(s.Apps(t.Context()))
	})
}
