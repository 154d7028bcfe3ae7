package app_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/fault"
)

// bare is the configuration of a Postern that nobody has used yet.
func bare(t *testing.T) config.Config {
	t.Helper()
	c, err := config.Load("", func(string) (string, bool) { return "", false }, map[string]string{"data_dir": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened opens Postern and gives it back when the test ends. It also tells what was
// logged.
func opened(t *testing.T, c config.Config) (*app.App, *bytes.Buffer, error) {
	t.Helper()
	var log bytes.Buffer
	a, err := app.Open(t.Context(), c, app.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err == nil {
		t.Cleanup(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return a, &log, err
}

func TestTheFirstStartMakesAKeyAndSaysSo(t *testing.T) {
	t.Parallel()
	c := bare(t)
	a, log, err := opened(t, c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.DataDir, "master.key")
	if !strings.Contains(log.String(), "keep a copy") || a.MasterSource() != path {
		t.Errorf("it is in %s and says %s", a.MasterSource(), log)
	}
	if err := a.RotateMaster(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, log, err = opened(t, c)
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "is missing") || !strings.Contains(fault.HintOf(err), "master_key_url") || log.Len() > 0 {
		t.Errorf("without its key: %v, and it says %s", err, log)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a new key hides the loss")
	}
}
