package vault

import (
	"context"
	"errors"
	"slices"

	"postern/internal/fault"
)

// record is a row that holds seals: where they are in a copy of it, and how the copy
// takes the row's place while nobody else has changed it.
type record struct {
	seals []place
	save  func(context.Context) error
}

// place is one seal of a record.
type place struct {
	sealed      *Sealed
	what, whose string
}

// under counts the record's seals by their key.
func (r record) under() map[uint32]int {
	n := map[uint32]int{}
	for _, p := range r.seals {
		if len(*p.sealed) > 0 {
			n[p.sealed.key()]++
		}
	}
	return n
}

// reader reads a record as it is now. One that is gone is fault.NotFound.
type reader func(context.Context) (record, error)

// readers names every record that holds seals, but for sign-ins under way: those live
// ten minutes, and begin again.
func (v *Vault) readers(ctx context.Context) ([]reader, error) {
	apps, err := v.store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	accounts, err := v.store.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := v.store.SettingKeys(ctx, keptPrefix)
	if err != nil {
		return nil, err
	}
	all := make([]reader, 0, 2*(len(apps)+len(accounts))+len(kept))
	for _, a := range apps {
		all = append(all, v.appRecord(a.Name), v.asideRecord(a.Name))
	}
	for _, a := range accounts {
		all = append(all, v.accountRecord(a.Name), v.grantRecord(a.Name))
	}
	for _, key := range kept {
		all = append(all, v.keptRecord(key))
	}
	return all, nil
}

func (v *Vault) appRecord(name string) reader {
	return func(ctx context.Context) (record, error) {
		old, err := v.store.App(ctx, name)
		next := old
		return record{
			seals: []place{{&next.Secret, whatSecret, name}, {&next.Key, whatKey, name}},
			save:  func(ctx context.Context) error { return v.store.ResealApp(ctx, old, next) },
		}, err
	}
}

func (v *Vault) asideRecord(app string) reader {
	return func(ctx context.Context) (record, error) {
		old, err := v.store.Setting(ctx, asideSetting(app))
		next := Sealed(old)
		return record{
			seals: []place{{&next, whatAside, app}},
			save:  func(ctx context.Context) error { return v.store.SwapSetting(ctx, asideSetting(app), old, next) },
		}, err
	}
}

func (v *Vault) accountRecord(name string) reader {
	return func(ctx context.Context) (record, error) {
		old, err := v.store.Account(ctx, name)
		next := old
		return record{
			seals: []place{{&next.Password, whatPassword, name}},
			save:  func(ctx context.Context) error { return v.store.ResealAccount(ctx, old, next) },
		}, err
	}
}

func (v *Vault) grantRecord(account string) reader {
	return func(ctx context.Context) (record, error) {
		old, err := v.store.Grant(ctx, account)
		next := old
		next.Access = slices.Clone(old.Access)
		seals := []place{{&next.Refresh, whatRefresh, account}}
		for i := range next.Access {
			seals = append(seals, place{&next.Access[i].Token, whatAccess, account})
		}
		return record{seals: seals, save: func(ctx context.Context) error { return v.store.ResealGrant(ctx, old, next) }}, err
	}
}

// eachRecord reads every record that is there, one at a time, and says how far it is.
func (v *Vault) eachRecord(ctx context.Context, p Progress, f func(reader, record) error) error {
	all, err := v.readers(ctx)
	if err != nil {
		return err
	}
	for i, read := range all {
		rec, err := read(ctx)
		if err == nil {
			err = f(read, rec)
		}
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		if p != nil {
			p(i+1, len(all))
		}
	}
	return nil
}
