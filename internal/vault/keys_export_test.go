package vault

import (
	"context"
	"errors"
)

// RotateMasterSteps does the first steps of RotateMaster and then no more, as a process
// that is killed: 1 adds the new key, 2 wraps with it, 3 drops the old one.
func (v *Vault) RotateMasterSteps(ctx context.Context, path string, steps int) error {
	f, err := openKeyFile(path)
	if err != nil || steps == 0 {
		return errors.Join(err, f.close())
	}
	defer f.close() //nolint:errcheck // a killed process does not look either
	switch steps {
	case 1:
		_, err = f.add()
		return err
	case 2:
		both, err := f.add()
		return errors.Join(err, v.MoveMaster(ctx, both))
	}
	return v.rotateMaster(ctx, f)
}
