//go:build !windows

package fetch

import "os"

// linkNew gives a file a second name and takes the first away. Cut in between, the
// file has both and the next run takes the first away; only a consumer who has
// removed the file in that very moment would see it again.
func linkNew(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator named it, or we made it
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
