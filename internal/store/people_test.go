package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/store"
)

func jane() people.User {
	return people.User{
		ID: "u1", Name: "jane", Mail: "jane@contoso.com", Role: people.Operator, TOTP: true, External: "entra t o", ByRule: true, Created: t0, LastLogin: after(time.Hour),
		Hash: "$argon2id$x", Step: 58_000_000, Recovery: []string{"r1", "r2"}, Invite: "i", InviteUntil: after(2 * time.Hour),
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		bob := people.User{ID: "u2", Name: "bob", Role: people.Viewer, Created: t0}
		ok(t, s.AddUser(ctx, jane(), true))
		ok(t, s.AddUser(ctx, bob, false))
		got(t, []people.User{bob, jane()})(s.Users(ctx))
		got(t, jane())(s.User(ctx, "u1"))
		for _, login := range []string{"jane", "jane@contoso.com"} {
			got(t, jane())(s.FindUser(ctx, login))
		}
		got(t, jane())(s.ExternalUser(ctx, "entra t o"))
		for _, nobody := range []string{"", "Jane", "j%", "bob@contoso.com"} {
			failed(t, second(s.FindUser(ctx, nobody)), fault.NotFound)
			failed(t, second(s.ExternalUser(ctx, nobody)), fault.NotFound)
		}
		for name, taken := range map[string]people.User{
			"name": {ID: "u3", Name: "jane"}, "mail": {ID: "u3", Name: "j", Mail: "jane@contoso.com"},
			"external": {ID: "u3", Name: "j", External: "entra t o"}, "id": {ID: "u1", Name: "j"},
		} {
			if err := s.AddUser(ctx, taken, false); !errors.Is(err, fault.Conflict) {
				t.Errorf("%s is taken: %v", name, err)
			}
		}
		failed(t, s.AddUser(ctx, people.User{ID: "u4", Name: "late"}, true), fault.Conflict)

		was, is, err := s.ChangeUser(ctx, "u2", func(u *people.User, all []people.User) error {
			if len(all) != 2 {
				t.Errorf("told of %d users", len(all))
			}
			u.Role, u.Mail, u.Recovery = people.Admin, "bob@contoso.com", []string{"x"}
			return nil
		})
		ok(t, err)
		want := bob
		want.Role, want.Mail, want.Recovery = people.Admin, "bob@contoso.com", []string{"x"}
		got(t, bob)(was, nil)
		got(t, want)(is, nil)
		got(t, want)(s.User(ctx, "u2"))
		_, _, err = s.ChangeUser(ctx, "u2", func(u *people.User, _ []people.User) error {
			u.Disabled = true
			return fault.New(fault.Denied, "test", "no")
		})
		failed(t, err, fault.Denied)
		got(t, want)(s.User(ctx, "u2"))
		_, _, err = s.ChangeUser(ctx, "u2", func(u *people.User, _ []people.User) error { u.Mail = "jane@contoso.com"; return nil })
		failed(t, err, fault.Conflict)
		_, _, err = s.ChangeUser(ctx, "nobody", func(*people.User, []people.User) error { return nil })
		failed(t, err, fault.NotFound)
	})
}

// Two who look at each other before they change themselves do not pass each other by.
func TestUsersAreChangedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		const many = 8
		for i := range many {
			ok(t, s.AddUser(ctx, people.User{ID: fmt.Sprint(i), Name: fmt.Sprint("user", i), Role: people.Admin}, false))
		}
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				_, _, err := s.ChangeUser(ctx, fmt.Sprint(i), func(u *people.User, all []people.User) error {
					admins := 0
					for _, o := range all {
						if o.Role == people.Admin {
							admins++
						}
					}
					if admins == 1 {
						return fault.New(fault.Conflict, "test", "the last one")
					}
					u.Role = people.Viewer
					return nil
				})
				if err != nil && !errors.Is(err, fault.Conflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		users, err := s.Users(ctx)
		ok(t, err)
		admins := 0
		for _, u := range users {
			if u.Role == people.Admin {
				admins++
			}
		}
		if admins != 1 {
			t.Errorf("%d administrators are left", admins)
		}
	})
}

func TestOfManyFirstUsersOneComesIn(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		var all sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			all.Go(func() {
				errs[i] = s.AddUser(t.Context(), people.User{ID: fmt.Sprint(i), Name: fmt.Sprint("user", i)}, true)
			})
		}
		all.Wait()
		in := 0
		for _, err := range errs {
			if err == nil {
				in++
			} else if !errors.Is(err, fault.Conflict) {
				t.Error(err)
			}
		}
		if in != 1 {
			t.Errorf("%d came in", in)
		}
	})
}

func TestLogins(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		ok(t, s.AddUser(ctx, jane(), false))
		whole := people.Session{ID: "s1", User: "u1", Created: t0, Seen: after(time.Minute), Address: "192.0.2.1", Browser: "a \x00\xff browser"}
		half := people.Session{ID: "s2", User: "u1", Half: true, Created: t0, Seen: t0, Address: "2001:db8::1"}
		ok(t, s.AddLogin(ctx, whole))
		ok(t, s.AddLogin(ctx, half))
		failed(t, s.AddLogin(ctx, people.Session{ID: "s3", User: "nobody"}), fault.Conflict)
		whole.Browser = "a \uFFFD\uFFFD browser"
		got(t, whole)(s.Login(ctx, "s1"))
		got(t, []people.Session{whole, half})(s.Logins(ctx, "u1"))
		got(t, []people.Session{whole, half})(s.Logins(ctx, ""))
		got(t, []people.Session{})(s.Logins(ctx, "nobody"))

		ok(t, s.SeeLogin(ctx, "s1", after(time.Hour)))
		ok(t, s.SeeLogin(ctx, "s1", after(time.Second))) // another node's clock
		whole.Seen = after(time.Hour)
		got(t, whole)(s.Login(ctx, "s1"))
		got(t, 1)(s.TryLogin(ctx, "s2"))
		got(t, 2)(s.TryLogin(ctx, "s2"))
		failed(t, second(s.TryLogin(ctx, "s1")), fault.NotFound)

		ok(t, s.EndLogin(ctx, "s2"))
		failed(t, s.EndLogin(ctx, "s2"), fault.NotFound)
		ok(t, s.AddLogin(ctx, people.Session{ID: "s4", User: "u1", Created: after(time.Minute), Seen: after(time.Minute)}))
		got(t, 1)(s.EndLogins(ctx, "u1", "s1"))
		ok(t, s.PurgeLogins(ctx, t0, after(time.Hour))) // neither is before these
		got(t, whole)(s.Login(ctx, "s1"))
		ok(t, s.PurgeLogins(ctx, t0, after(time.Hour+time.Millisecond)))
		failed(t, second(s.Login(ctx, "s1")), fault.NotFound)
	})
}

func TestAuditIsChosen(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		put := func(n int, l people.Line) {
			l.At = after(time.Duration(n) * time.Hour)
			ok(t, s.PutAudit(ctx, l))
		}
		put(0, people.Line{Who: "web:jane", What: "change account", Subject: "scan", Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`{"a":2}`)})
		put(1, people.Line{Who: "web:bob", What: "delete account", Subject: "100%", Detail: "d"})
		put(2, people.Line{Who: "cli:root", What: "hold", Subject: "m1"})
		for name, c := range map[string]struct {
			f    people.Lines
			want []string
		}{
			"all": {people.Lines{}, []string{"m1", "100%", "scan"}}, "who": {people.Lines{Who: "WEB:"}, []string{"100%", "scan"}},
			"what": {people.Lines{What: "account"}, []string{"100%", "scan"}}, "both": {people.Lines{Who: "jane", What: "account"}, []string{"scan"}},
			"subject": {people.Lines{Subject: "%"}, []string{"100%"}}, "since": {people.Lines{Since: after(time.Hour)}, []string{"m1", "100%"}},
			"until": {people.Lines{Until: after(time.Hour)}, []string{"scan"}}, "limit": {people.Lines{Limit: 1}, []string{"m1"}},
		} {
			lines, err := s.Audits(ctx, c.f)
			ok(t, err)
			var have []string
			for _, l := range lines {
				have = append(have, l.Subject)
			}
			if fmt.Sprint(have) != fmt.Sprint(c.want) {
				t.Errorf("%s: %v, want %v", name, have, c.want)
			}
		}
		lines, err := s.Audits(ctx, people.Lines{Who: "jane"})
		ok(t, err)
		if string(lines[0].Before) != `{"a":1}` || string(lines[0].After) != `{"a":2}` {
			t.Errorf("kept %s → %s", lines[0].Before, lines[0].After)
		}
	})
}

// The one password there was before there were users is the user admin's.
func TestTheOnePasswordBecomesAUser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		raw, err := d.raw()
		ok(t, err)
		ok(t, store.MigrateTo(t.Context(), raw, d.name, 16))
		blob := map[string]string{"sqlite": `CAST('$argon2id$of the one' AS BLOB)`, "postgres": `convert_to('$argon2id$of the one', 'UTF8')`}[d.name]
		_, err = raw.ExecContext(t.Context(), `INSERT INTO settings (key, value) VALUES ('web.admin_password', `+blob+`)`)
		ok(t, err)
		ok(t, raw.Close())
		s := opened(t, d)
		u, err := s.FindUser(t.Context(), "admin")
		ok(t, err)
		if u.Hash != "$argon2id$of the one" || u.Role != people.Admin || u.Disabled {
			t.Errorf("became %+v", u)
		}
		failed(t, second(s.Setting(t.Context(), "web.admin_password")), fault.NotFound)
	})
}
