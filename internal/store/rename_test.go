package store_test

import (
	"testing"

	"postern/internal/fault"
	"postern/internal/store"
	"postern/internal/vault"
)

func TestRenameAccount(t *testing.T) {
	t.Parallel()
	eachOpen(t, func(t *testing.T, s *store.Store) {
		furnished(t, s)
		ctx := t.Context()
		next := scanAccount()
		next.Name = "copier"
		failed(t, s.RenameAccount(ctx, "scan", next, vault.Grant{}, "me"), fault.Conflict, "claim")
		g, err := s.ClaimRefresh(ctx, "scan", "me", t0, after(1))
		ok(t, err)
		g.Account, g.Refresh = "copier", vault.Sealed("sealed anew")
		ok(t, s.RenameAccount(ctx, "scan", next, g, "me"))
		failed(t, second(s.Account(ctx, "scan")), fault.NotFound)
		have, err := s.Account(ctx, "copier")
		ok(t, err)
		if have.Mailbox != next.Mailbox {
			t.Errorf("%+v", have)
		}
		failed(t, s.PutAccount(ctx, scanAccount()), fault.Invalid, `called "copier" now`)
		if _, err := s.ClaimRefresh(ctx, "copier", "other", t0, after(1)); err != nil {
			t.Errorf("the claim is not given back: %v", err)
		}
		ok(t, s.DropClaim(ctx, "copier", "other"))
		_, err = s.FollowNames(ctx)
		ok(t, err)

		got(t, true)(s.HoldAccount(ctx, "copier", true))
		got(t, false)(s.HoldAccount(ctx, "copier", true))
		failed(t, second(s.HoldAccount(ctx, "nobody", true)), fault.NotFound)
		failed(t, s.RenameAccount(ctx, "nobody", next, g, "me"), fault.NotFound)
	})
}
