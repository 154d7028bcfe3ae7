package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mailbox"
	"postern/internal/store"
	"postern/internal/vault"
)

// TestFolderGoesInMidRun has somebody else delete a folder, or replace it by another of
// the same name, at the worst instants of a run, on servers that are not ours. What is
// there to take is taken exactly once; the other folder's mail is taken in any case.
func TestFolderGoesInMidRun(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *host{"Dovecot": realDovecot, "Cyrus": realCyrus} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			for _, at := range []instant{beforeBodies, amidBodies, beforeAction} {
				for _, replaced := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/replaced=%t", at, replaced), func(t *testing.T) {
						f := newBrokenFolder(t, &sourceSuite{host: h, way: "IMAPS"}, at)
						f.spring = func() { f.remove(replaced) }
						f.takesAll(replaced)
					})
				}
			}
		})
	}
}

// instant is one of a run.
type instant string

const (
	beforeBodies instant = "before the bodies"
	amidBodies   instant = "amid the bodies"
	beforeAction instant = "before the action"
)

// brokenFolder is a mailbox with two folders of which one breaks.
type brokenFolder struct {
	*sourceSuite
	t         *testing.T
	user, box string
	letters   []string
	admin     *imapclient.Client
	dir       string
	fetcher   *fetch.Fetcher

	at     instant
	spring func()
	once   sync.Once
}

func newBrokenFolder(t *testing.T, s *sourceSuite, at instant) *brokenFolder {
	t.Helper()
	f := &brokenFolder{sourceSuite: s, t: t, user: s.user(t), dir: t.TempDir(), at: at}
	s.append(t, f.user, string(mailWith("other", "<other@x.example>", map[string]string{"other.txt": "other"})))
	source := s.open(t, f.user)
	archive := s.folderCalled(t, source, "Archive")
	f.box = strings.Replace(archive, "Archive", "Box", 1)
	noError(t, source.MakeFolder(t.Context(), f.box))
	f.admin = s.host.admin(t, f.user)
	for i := range 4 {
		f.letters = append(f.letters, string(mailWith("box", fmt.Sprintf("<%d@x.example>", i), map[string]string{"a.txt": fmt.Sprint("box ", i)})))
	}
	f.fill()

	ledger, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{})
	noError(t, err)
	t.Cleanup(func() { _ = ledger.Close() })
	noError(t, errors.Join(
		ledger.PutApp(t.Context(), vault.App{Name: "server"}),
		ledger.PutAccount(t.Context(), vault.Account{Name: "box", App: "server"}),
		ledger.PutTask(t.Context(), fetch.Task{Name: "all", Account: "box", Spec: fetch.Spec{
			Source:   fetch.Origin{Folders: []string{f.box, "INBOX"}, Start: fetch.StartAll},
			Handover: fetch.Handover{Directory: f.dir}, After: fetch.Action{Do: fetch.Move, To: archive},
		}}),
	))
	f.fetcher = fetch.New(fetch.Config{Ledger: ledger, Sources: f, Holder: "node", Pause: time.Millisecond})
	return f
}

// fill puts the letters into the folder.
func (f *brokenFolder) fill() {
	for _, l := range f.letters {
		cmd := f.admin.Append(f.box, int64(len(l)), &goimap.AppendOptions{Time: time.Now()})
		_, err := cmd.Write([]byte(l))
		noError(f.t, errors.Join(err, cmd.Close()))
		_, err = cmd.Wait()
		noError(f.t, err)
	}
}

// remove deletes the folder, and may make one of the same name with the same letters.
func (f *brokenFolder) remove(replace bool) {
	noError(f.t, f.admin.Delete(f.box).Wait())
	if !replace {
		return
	}
	noError(f.t, f.admin.Create(f.box, nil).Wait())
	f.fill()
}

// Open gives a source that springs.
func (f *brokenFolder) Open(ctx context.Context, _ string, _ fetch.Protocol) (fetch.Source, error) {
	source, err := f.dial(ctx, f.user)
	if err != nil {
		return nil, err
	}
	return trappedSource{source, f}, nil
}

func (f *brokenFolder) reached(at instant) {
	if at == f.at {
		f.once.Do(f.spring)
	}
}

// trappedSource is a source during whose work something happens.
type trappedSource struct {
	fetch.Source
	f *brokenFolder
}

func (s trappedSource) Bodies(ctx context.Context, v uint32, ids []string, each func(string, io.Reader, error) error) error {
	s.f.reached(beforeBodies)
	return s.Source.Bodies(ctx, v, ids, func(id string, body io.Reader, err error) error {
		err = each(id, body, err)
		s.f.reached(amidBodies)
		return err
	})
}

func (s trappedSource) Move(ctx context.Context, v uint32, ids []string, target string) error {
	s.f.reached(beforeAction)
	return s.Source.Move(ctx, v, ids, target)
}

// takesAll runs the task until it has nothing to do, and looks what came of it.
func (f *brokenFolder) takesAll(replaced bool) {
	t := f.t
	var last error
	for range 3 {
		if _, last = f.fetcher.RunTask(t.Context(), "all", fetch.Options{}); last != nil {
			t.Logf("%s: %v", fault.KindOf(last), last)
		}
	}
	if wrong := last != nil; wrong == replaced {
		t.Errorf("at last: %v", last)
	}
	got := contentsBelow(t, f.dir)
	if got["other"] != 1 {
		t.Errorf("the other folder's message is there %d times", got["other"])
	}
	for i := range f.letters {
		if n := got[fmt.Sprint("box ", i)]; n > 1 || n == 0 && replaced {
			t.Errorf("message %d is there %d times", i, n)
		}
	}
	if f.at == beforeAction && len(got) != 2+len(f.letters) {
		t.Errorf("what was read before the folder went is not all there: %v", got)
	}
	left := map[string]int{"INBOX": 0}
	if replaced {
		left[f.box] = 0
	}
	source := f.open(t, f.user)
	for folder, want := range left {
		source.Use(folder)
		found(t, source, mailbox.Query{}, want)
	}
}
