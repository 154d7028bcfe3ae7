package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"postern/internal/fault"
)

// files keeps large bodies beside SQLite's file, one file each.
type files struct {
	dir string
	db  querier
}

var _ bodies = files{}

// tempSuffix marks a file that is still being written.
const tempSuffix = ".tmp"

func (files) inFile() bool { return true }

// save writes a temporary file, syncs it, gives it its name and syncs the
// directory: from then on it survives a power cut.
func (f files) save(ctx context.Context, name string, r io.Reader) (int64, error) {
	path := filepath.Join(f.dir, name)
	size, err := writeFile(ctx, path+tempSuffix, r)
	if err == nil {
		err = os.Rename(path+tempSuffix, path)
	}
	if err == nil {
		err = syncDir(f.dir)
	}
	if err != nil {
		_ = os.Remove(path + tempSuffix)
		_ = os.Remove(path)
		return 0, classify("store body", err)
	}
	return size, nil
}

func writeFile(ctx context.Context, path string, r io.Reader) (int64, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	size, err := io.CopyBuffer(struct{ io.Writer }{file}, whileAlive{ctx.Err, r}, make([]byte, chunkSize))
	if err == nil {
		err = file.Sync()
	}
	return size, errors.Join(err, file.Close())
}

// whileAlive stops a copy when the context of its caller has ended.
type whileAlive struct {
	gone func() error
	r    io.Reader
}

// Read is for io.Reader.
func (a whileAlive) Read(p []byte) (int, error) {
	if err := a.gone(); err != nil {
		return 0, err
	}
	return a.r.Read(p)
}

func (f files) whole(_ context.Context, _ querier, name string, size int64) error {
	info, err := os.Stat(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() != size {
		return errSwept()
	}
	return classify("queue message", err)
}

func (f files) open(name string) (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, explain(fault.Permanent, "read body", "the file of the body is gone", hintRestore, err)
	}
	if err != nil {
		return nil, classify("read body", err)
	}
	return file, nil
}

func (f files) remove(_ context.Context, name string) error {
	err := os.Remove(filepath.Join(f.dir, name))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return classify("remove body", err)
}

// sweep looks at the files before it looks at the rows: a file that gets its row in
// between is young, and young files stay.
func (f files) sweep(ctx context.Context, before time.Time) error {
	old, err := f.olderThan(before)
	if err != nil {
		return classify("sweep bodies", err)
	}
	if len(old) == 0 {
		return nil
	}
	return f.removeOrphans(ctx, old)
}

func (f files) olderThan(before time.Time) ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var old []string
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its message has just been delivered
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() && info.ModTime().Before(before) {
			old = append(old, e.Name())
		}
	}
	return old, nil
}

func (f files) removeOrphans(ctx context.Context, old []string) error {
	named := map[string]bool{}
	_, err := list(ctx, f.db, "sweep bodies", func(row scanner) (none struct{}, err error) {
		var name string
		err = row.Scan(&name)
		named[name] = true
		return none, err
	}, `SELECT body FROM messages WHERE in_file`)
	if err != nil {
		return err
	}
	for _, name := range old {
		if named[name] {
			continue
		}
		if err := f.remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
