//go:build cloudkeys

package handover_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
)

// directory is gocloud.dev's file driver.
type directory struct{ dir string }

func (d directory) target(t *testing.T, _ string, _ int) handover.Target {
	return open(t, handover.Spec{Object: &handover.Object{URL: "file://" + filepath.ToSlash(d.dir)}}, "")
}
func (directory) trouble(mode)             {}
func (directory) reached() <-chan struct{} { return nil }

func (d directory) arrived() map[string]string {
	got := make(map[string]string)
	_ = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) != ".attrs" {
			b, _ := os.ReadFile(path)
			got[path] = digest(string(b))
		}
		return err
	})
	return got
}

// memory is gocloud.dev's driver that keeps nothing.
type memory struct{ bucket *blob.Bucket }

func (m memory) target(*testing.T, string, int) handover.Target {
	return handover.Over(m.bucket, handover.Object{URL: "mem://mail"}, handover.With{Name: extract.SafeName})
}
func (memory) trouble(mode)             {}
func (memory) reached() <-chan struct{} { return nil }

func (m memory) arrived() map[string]string {
	got := make(map[string]string)
	objects := m.bucket.List(nil)
	for {
		o, err := objects.Next(context.Background())
		if err != nil {
			return got
		}
		b, _ := m.bucket.ReadAll(context.Background(), o.Key)
		got[o.Key] = digest(string(b))
	}
}

func TestStoresBehindGoCloud(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T) world{
		"file": func(t *testing.T) world { return directory{t.TempDir()} },
		"mem":  func(*testing.T) world { return memory{memblob.OpenBucket(nil)} },
	} {
		for what, run := range map[string]func(*testing.T, world){
			"files arrive whole": arriveWhole, "repeated": repeated, "damaged": damaged, "check": checks, "many at a time": many,
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				run(t, make(t))
			})
		}
	}
}

func TestStoresOfCloudsWithoutAKey(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"azblob://mail/in", "gs://mail/in"} {
		target := open(t, handover.Spec{Object: &handover.Object{URL: url, KeyID: "account"}}, "no key at all, and never shown")
		err := target.Check(t.Context())
		if fault.KindOf(err) != fault.NeedsAdmin || fault.HintOf(err) == "" || strings.Contains(err.Error(), "never shown") {
			t.Errorf("%s: %v is %v", url, err, fault.KindOf(err))
		}
	}
}
