package test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// installs remembers, for each directory, whether npm has put its modules in place.
var installs sync.Map

// modules installs what the package-lock.json of a directory here names, once for each
// lock.
func modules(t *testing.T, dir string) {
	t.Helper()
	need(t, "node")
	need(t, "npm")
	once, _ := installs.LoadOrStore(dir, sync.OnceValue(func() error { return install(dir) }))
	if err := once.(func() error)(); err != nil {
		skipOrFail(t, err.Error())
	}
}

func install(dir string) error {
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	stamp := filepath.Join(dir, "node_modules", ".postern-installed")
	if had, err := os.ReadFile(stamp); err == nil && bytes.Equal(had, lock) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=3", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.New("npm ci: " + err.Error() + "\n" + string(out[max(0, len(out)-2000):]))
	}
	return os.WriteFile(stamp, lock, 0o644)
}
