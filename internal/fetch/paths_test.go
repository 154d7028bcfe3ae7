package fetch

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
)

// TestPathsOfARun has paths and manifests know what is known only while a task runs.
func TestPathsOfARun(t *testing.T) {
	t.Parallel()
	b := newBench(t, newPost(message("1", "a.pdf", "one")), func(task *Task) {
		task.Handover.Path = "{run_id}/{filename}"
	})
	run := b.run(t)
	lists := glob(t, b.task.Handover.Directory, "*/*"+extract.ManifestSuffix)
	if len(lists) != 1 || filepath.Base(filepath.Dir(lists[0])) != run.ID {
		t.Fatalf("the manifest is %q, not in %s", lists, run.ID)
	}
	text, err := os.ReadFile(lists[0])
	must(t, err)
	var m handover.Manifest
	must(t, json.Unmarshal(text, &m))
	if m.Run != run.ID {
		t.Errorf("the manifest is of run %q, and was written by %s", m.Run, run.ID)
	}
}

// slow is a target that takes nothing before the third try.
type slow struct {
	shelf
	told []string // on each try, but what it is given
}

func (s *slow) Deliver(ctx context.Context, d handover.Delivery) (string, error) {
	s.told = append(s.told, fmt.Sprintf("%s %+v %s", d.ID, d.Vars, d.Manifest))
	if len(s.told) < 3 {
		return "", fault.New(fault.Temporary, "deliver", "not now")
	}
	return s.shelf.Deliver(ctx, d)
}

// TestADeliveryIsTheSameOnEveryTry has several runs try: a target recognises what it has by
// its name, and some by all that it was told.
func TestADeliveryIsTheSameOnEveryTry(t *testing.T) {
	t.Parallel()
	s := new(slow)
	b := targetBench(t, newPost(message("1", "a.pdf", "one")), &s.shelf, true, nil)
	b.cfg.Targets = func(context.Context, Task) (handover.Target, error) { return s, nil }
	b.Fetcher = New(b.cfg)
	for range 4 {
		_, err := b.RunTask(t.Context(), b.task.Name, Options{})
		t.Log(err)
	}
	if len(s.told) != 3 || s.told[1] != s.told[0] || s.told[2] != s.told[0] {
		t.Errorf("the target was told\n%s", strings.Join(s.told, "\n"))
	}
}
