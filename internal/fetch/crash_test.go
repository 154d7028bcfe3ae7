package fetch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/handover"
)

// consumer takes finished files out of a directory, as the users of Postern do, and
// counts what it was given.
type consumer struct {
	dir       string
	contents  []string
	manifests []handover.Manifest
}

func (c *consumer) collect(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(c.dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), ".manifest.json") && string(b) != "foreign" {
			var m handover.Manifest
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			c.manifests = append(c.manifests, m)
		} else {
			c.contents = append(c.contents, string(b))
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

type power struct{ step string }

// until runs the task and cuts the power at the n-th step. Nothing that production
// code defers may repair the disk; it does not run when a process is killed.
func (b *bench) until(t *testing.T, n int) (cut string) {
	t.Helper()
	b.Fetcher = New(b.cfg)
	count := 0
	b.step = func(step string) {
		if count++; count == n {
			panic(power{step})
		}
	}
	defer func() {
		if p, ok := recover().(power); ok {
			cut = p.step
		}
	}()
	b.run(t)
	return ""
}

func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// revive is what happens between a crash and the next start.
func (b *bench) revive() {
	b.ledger.locks = make(map[string]lockOf) // the lease ran out
	b.Fetcher = New(b.cfg)
	b.now = b.now.Add(time.Minute)
}

func TestPowerCutAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, after := range []Deed{Nothing, MarkRead, Move, Delete} {
		for _, greedy := range []bool{false, true} {
			for _, foreign := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/greedy=%t/foreign=%t", after, greedy, foreign), func(t *testing.T) {
					t.Parallel()
					steps := 0
					for n := 1; ; n++ {
						cut := powerCut(t, n, after, greedy, foreign)
						if cut == "" {
							break
						}
						steps = n
					}
					if steps < 20 {
						t.Fatalf("only %d steps: the cuts no longer cover the hand-over", steps)
					}
				})
			}
		}
	}
}

// powerCut cuts a run at step n, lets the next run repair, and checks that each
// file was handed over once. A greedy consumer takes finished files away in
// between; a foreign program occupies promised names.
func powerCut(t *testing.T, n int, after Deed, greedy, foreign bool) string {
	t.Helper()
	p := newPost(message("1", "a.pdf", "alpha", "b.pdf", "beta", "a.pdf", "gamma"), message("2", "a.pdf", "delta"))
	b := newBench(t, p, func(task *Task) { task.After, task.Source.Which = action(after), Unread })
	c := &consumer{dir: b.task.Handover.Directory}

	cut := b.until(t, n)
	if foreign {
		occupy(t, b)
	}
	if greedy {
		c.collect(t)
	}
	b.revive()
	b.run(t)
	c.collect(t)

	got := slices.DeleteFunc(slices.Clone(c.contents), func(s string) bool { return s == "foreign" })
	slices.Sort(got)
	if want := []string{"alpha", "beta", "delta", "gamma"}; !slices.Equal(got, want) {
		t.Fatalf("cut at step %d (%s): handed over %q, want %q", n, cut, got, want)
	}
	if len(c.manifests) != 2 {
		t.Fatalf("cut at step %d (%s): %d manifests, want 2", n, cut, len(c.manifests))
	}
	for _, e := range b.ledger.find(func(Entry) bool { return true }) {
		if e.State != Done {
			t.Fatalf("cut at step %d (%s): message %s is %s: %s", n, cut, e.UID, e.State, e.Reason)
		}
	}
	if len(p.moved["Archive"]) != map[Deed]int{Move: 2}[after] {
		t.Fatalf("cut at step %d (%s): %d messages moved", n, cut, len(p.moved["Archive"]))
	}
	bodies := p.bodies
	b.now = b.now.Add(2 * orphanAge)
	b.run(t)
	if p.bodies != bodies {
		t.Fatalf("cut at step %d (%s): a settled message was downloaded again", n, cut)
	}
	c.collect(t)
	if len(c.contents) != len(got)+countForeign(c.contents) || len(c.manifests) != 2 {
		t.Fatalf("cut at step %d (%s): something was handed over twice", n, cut)
	}
	return cut
}

func countForeign(contents []string) int {
	n := 0
	for _, s := range contents {
		if s == "foreign" {
			n++
		}
	}
	return n
}

// occupy creates a file under every name that is promised but not there.
func occupy(t *testing.T, b *bench) {
	t.Helper()
	for _, e := range b.ledger.find(func(e Entry) bool { return e.State == Staged }) {
		for _, f := range e.Files {
			if _, err := os.Lstat(f.Staging); err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(b.task.Handover.Directory, f.Name), []byte("foreign"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTheManifestKnowsItsFiles(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha", "b.pdf", "beta"))
	b := newBench(t, p, nil)
	b.until(t, slices.Index(b.steps(t), string(Staged))+1)
	occupy(t, b)
	b.revive()
	b.run(t)

	e := b.ledger.find(func(Entry) bool { return true })[0]
	list, err := os.ReadFile(filepath.Join(b.task.Handover.Directory, e.Files[2].Name))
	if err != nil {
		t.Fatal(err)
	}
	var m handover.Manifest
	if err := json.Unmarshal(list, &m); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"alpha", "beta"} {
		got, err := os.ReadFile(filepath.Join(b.task.Handover.Directory, m.Files[i].Name))
		if err != nil || string(got) != want {
			t.Errorf("the manifest says %s, which holds %q (%v), want %q", m.Files[i].Name, got, err, want)
		}
	}
	if m.Files[0].Name != "a (2).pdf" {
		t.Errorf("renamed to %q, want a (2).pdf", m.Files[0].Name)
	}
}

// steps lists the steps of an undisturbed run of a task like b's.
func (b *bench) steps(t *testing.T) []string {
	t.Helper()
	other := newBench(t, newPost(b.post.inbox["1"].raw), nil)
	var all []string
	other.step = func(s string) { all = append(all, s) }
	other.run(t)
	return all
}

func TestOrphansAreSweptAndOthersKept(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	b := newBench(t, p, nil)
	b.until(t, 3) // written, not promised
	foreign := filepath.Join(b.task.Handover.Directory, ".postern-00000000-x.part")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, name := range snapshot(t, b.task.Handover.Directory) {
		if err := os.Chtimes(filepath.Join(b.task.Handover.Directory, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	b.cfg.Now = time.Now
	b.revive()
	b.run(t)
	left := 0
	for _, name := range snapshot(t, b.task.Handover.Directory) {
		if strings.HasSuffix(name, stagingSuffix) {
			left++
		}
	}
	if left != 1 || !exists(b.task.Handover.Directory, filepath.Base(foreign)) {
		t.Errorf("after the sweep: %q", snapshot(t, b.task.Handover.Directory))
	}
}

func TestAMissingDriveIsNotTakenForRenamedFiles(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "alpha"))
	b := newBench(t, p, nil)
	b.until(t, slices.Index(b.steps(t), string(Staged))+1)

	aside := b.task.Handover.Directory + "-aside"
	if err := os.Rename(b.task.Handover.Directory, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.task.Handover.Directory, 0o700); err != nil {
		t.Fatal(err)
	}
	b.revive()
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); err == nil {
		t.Fatal("files on a missing drive count as handed over")
	}
	if err := os.Remove(b.task.Handover.Directory); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, b.task.Handover.Directory); err != nil {
		t.Fatal(err)
	}
	b.revive()
	if r := b.run(t); r.Files != 1 || !exists(b.task.Handover.Directory, "a.pdf") {
		t.Errorf("after the drive is back: %+v, %q", r, snapshot(t, b.task.Handover.Directory))
	}
}
