package vault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"

	"postern/internal/fault"
)

// Progress hears how many records of how many are done. It may be nil.
type Progress func(done, of int)

// Rotation is what a rotation did.
type Rotation struct {
	Primary  uint32 // id of the key that seals from now on
	Resealed int    // secrets that were sealed anew
	Left     int    // secrets still under an older key
	Keys     int    // keys there are now
}

// DataKey is a data key without the key.
type DataKey struct {
	ID      uint32
	Status  string // enabled, or what else Tink says
	Primary bool
	Secrets int // under it
}

// Inventory is what there is of keys.
type Inventory struct {
	Master string
	Data   []DataKey
	Lost   int // secrets under keys that there are not
}

// Keys lists the data keys, and how many secrets each one seals.
func (v *Vault) Keys(ctx context.Context) (Inventory, error) {
	have, err := v.seal.ring.look(ctx)
	if err != nil {
		return Inventory{}, err
	}
	under, err := v.count(ctx)
	if err != nil {
		return Inventory{}, err
	}
	inv := Inventory{Master: v.seal.ring.master().String()}
	for _, k := range have.handle.KeysetInfo().GetKeyInfo() {
		id := k.GetKeyId()
		inv.Data = append(inv.Data, DataKey{ID: id, Status: strings.ToLower(k.GetStatus().String()), Primary: id == have.primary, Secrets: under[id]})
		delete(under, id)
	}
	for _, n := range under {
		inv.Lost += n
	}
	return inv, nil
}

// count says how many secrets are under each key.
func (v *Vault) count(ctx context.Context) (map[uint32]int, error) {
	sum := map[uint32]int{}
	err := v.eachRecord(ctx, nil, func(_ reader, r record) error {
		for id, n := range r.under() {
			sum[id] += n
		}
		return nil
	})
	return sum, err
}

// RotateKeys makes a new data key the one that seals and seals everything anew under
// it, while other processes go on. Older keys stay until PruneKeys.
func (v *Vault) RotateKeys(ctx context.Context, p Progress) (Rotation, error) {
	have, err := v.seal.ring.change(ctx, same, func(h *keyset.Handle) (*keyset.Handle, error) {
		h, _, err := withNewKey(h)
		return h, err
	})
	if err != nil {
		return Rotation{}, err
	}
	v.log.InfoContext(ctx, "data keys rotated", "primary", have.primary, "keys", have.ids)
	r := Rotation{Primary: have.primary, Keys: len(have.ids)}
	for range passesMost { // the second finds what others wrote behind the first one's back
		done, _, err := v.reseal(ctx, p)
		r.Resealed += done
		if err != nil {
			return r, err
		}
		if done == 0 {
			break
		}
	}
	under, err := v.count(ctx)
	for _, id := range have.older() {
		r.Left += under[id]
	}
	return r, err
}

func same(k Key) Key { return k }

// How resealing goes about, and when a key counts as out of use.
const (
	passesMost = 5
	triesMost  = 5
	// heldFor is longer than anybody goes on with a row that it has read: a refresh reads
	// a grant when it claims it, and may write seals of then back until its claim ends.
	heldFor = claimLife + commitFor
)

// reseal puts every secret under the newest key and says how many it had to, and which
// ones would not open.
func (v *Vault) reseal(ctx context.Context, p Progress) (done int, broken []string, err error) {
	have, err := v.seal.ring.look(ctx)
	if err != nil {
		return 0, nil, err
	}
	err = v.eachRecord(ctx, p, func(again reader, r record) error {
		for range triesMost {
			n, bad, err := v.resealed(r, have)
			if err == nil && n > 0 {
				err = r.save(ctx)
			}
			if !errors.Is(err, fault.Conflict) {
				if err == nil {
					done += n
				}
				broken = append(broken, bad...)
				return err
			}
			if r, err = again(ctx); err != nil {
				return err
			}
		}
		return nil // somebody writes it all the time; the next pass finds it, if it is still under an older key
	})
	return done, broken, err
}

// resealed puts the seals of a record's copy under the newest key.
func (v *Vault) resealed(r record, have *dataKeys) (n int, broken []string, err error) {
	for _, p := range r.seals {
		id := p.sealed.key()
		if len(*p.sealed) == 0 || id == have.primary {
			continue
		}
		clear, err := v.seal.Open(*p.sealed, p.what, p.whose)
		if errors.Is(err, fault.NeedsAdmin) {
			if have.has(id) {
				broken = append(broken, p.what+" of "+p.whose)
			}
			continue
		}
		if err != nil {
			return n, broken, err
		}
		if *p.sealed, err = v.seal.Seal(clear, p.what, p.whose); err != nil {
			return n, broken, err
		}
		n++
	}
	return n, broken, nil
}

// PruneKeys drops the keys that seal nothing any more; fault.Conflict while one does.
// It waits until nobody can hold a copy of a row that was under one of them.
func (v *Vault) PruneKeys(ctx context.Context, p Progress) (Rotation, error) {
	have, err := v.seal.ring.look(ctx)
	if err != nil {
		return Rotation{}, err
	}
	gone := have.older()
	r := Rotation{Primary: have.primary, Keys: len(have.ids)}
	if len(gone) == 0 {
		return r, nil
	}
	if r.Resealed, err = v.drain(ctx, p); err != nil {
		return r, err
	}
	have, err = v.seal.ring.change(ctx, same, func(h *keyset.Handle) (*keyset.Handle, error) { return withoutOlder(h, gone) })
	if err != nil {
		return r, err
	}
	v.log.InfoContext(ctx, "data keys pruned", "primary", have.primary, "dropped", gone)
	r.Primary, r.Keys = have.primary, len(have.ids)
	return r, nil
}

// withoutOlder drops those keys that somebody else has not dropped meanwhile.
func withoutOlder(h *keyset.Handle, gone []uint32) (*keyset.Handle, error) {
	left := ids(h)
	return without(h, slices.DeleteFunc(slices.Clone(gone), func(id uint32) bool { return !slices.Contains(left, id) }))
}

// drain seals anew until a pass has found nothing to do for as long as anybody may hold
// an older copy.
func (v *Vault) drain(ctx context.Context, p Progress) (resealed int, err error) {
	for pass := range passesMost {
		done, broken, err := v.reseal(ctx, p)
		resealed += done
		switch {
		case err != nil:
			return resealed, err
		case len(broken) > 0:
			return resealed, fault.New(fault.Conflict, "prune the keys", "under an older key, and do not open: %d (%s)", len(broken), strings.Join(broken[:min(len(broken), 5)], ", ")).
				WithHint("enter those secrets (or sign in) again; then: postern key prune")
		case done == 0 && pass > 0:
			return resealed, nil
		}
		wait := time.NewTimer(heldFor)
		select {
		case <-ctx.Done():
			wait.Stop()
			return resealed, ctx.Err()
		case <-wait.C:
		}
	}
	return resealed, fault.New(fault.Conflict, "prune the keys", "secrets are still being sealed under an older key").
		WithHint("stop or update the node that does: postern key show; then: postern key prune")
}

// MoveMaster wraps the data keys with another master key. Processes that know the old
// one only go on with the data keys they have, until the next rotation.
func (v *Vault) MoveMaster(ctx context.Context, to Key) error {
	if to.seal == nil {
		return fault.New(fault.Invalid, "move the keys", "there is no key to move them to")
	}
	have, err := v.seal.ring.change(ctx, func(Key) Key { return to }, unchanged)
	if err == nil {
		v.log.InfoContext(ctx, "data keys moved to another master key", "master", to.String(), "keys", have.ids)
	}
	return err
}

func unchanged(h *keyset.Handle) (*keyset.Handle, error) { return h, nil }

// RotateMaster replaces the master key in its file: the new key is put beside the old
// one, the data keys are wrapped with it, and then the old one goes. Wherever that is
// cut off, the file opens the database; done again, it ends as it should.
func (v *Vault) RotateMaster(ctx context.Context, path string) error {
	f, err := openKeyFile(path)
	if err != nil {
		return err
	}
	return errors.Join(v.rotateMaster(ctx, f), f.close())
}

func (v *Vault) rotateMaster(ctx context.Context, f *keyFile) error {
	both, err := f.add()
	if err != nil {
		return err
	}
	if err := v.MoveMaster(ctx, both); err != nil {
		return err
	}
	alone, err := f.only()
	if err != nil {
		return err
	}
	key, err := keyOf(alone)
	if err != nil {
		return err
	}
	kept, err := v.store.Setting(ctx, KeysetSetting)
	if err != nil {
		return err
	}
	if _, err := unwrap(ctx, key, kept); err != nil { // somebody moved them on: then the old key may still be wanted
		return err
	}
	return f.write(alone)
}
