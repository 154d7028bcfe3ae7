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
		task.Handover.Path = "{run_id}/{body_text:11}/{filename}"
	})
	run := b.run(t)
	lists := glob(t, b.task.Handover.Directory, "*/*/*"+extract.ManifestSuffix)
	if want := filepath.Join(run.ID, "Please find"); len(lists) != 1 || !strings.Contains(lists[0], want) {
		t.Fatalf("the manifest is %q, not in %s", lists, want)
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

// TestAFileInTheWayOfAFolder has a file where a path wants a folder, as another template
// or another task may leave one: that message gets another folder, and none is kept back.
func TestAFileInTheWayOfAFolder(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"before the run": "", "after the promise": "staging durable"} {
		for _, clash := range []handover.Clash{handover.ClashRename, handover.ClashOverwrite, handover.ClashSkip} {
			t.Run(fmt.Sprintf("%s/%s", name, clash), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, newPost(message("1", "a.pdf", "one"), message("2", "a.pdf", "two")), func(task *Task) {
					task.Handover.Path, task.Handover.Clash = "{yyyy}/{subject}/{filename}", clash
				})
				dir := filepath.Join(b.task.Handover.Directory, "2026")
				hurt := func(step string) {
					if step == at {
						must(t, os.MkdirAll(dir, 0o700))
						must(t, os.WriteFile(filepath.Join(dir, "Invoice 1"), nil, 0o600))
					}
				}
				hurt("")
				b.step = hurt
				b.run(t)
				for path, want := range map[string]string{"Invoice 1 (2)/a.pdf": "one", "Invoice 2/a.pdf": "two", "Invoice 1": ""} {
					if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
						t.Errorf("%s: %q, %v", path, got, err)
					}
				}
				if lists := glob(t, dir, "Invoice*/*"+extract.ManifestSuffix); len(lists) != 2 {
					t.Errorf("manifests %q", lists)
				}
			})
		}
	}
}
