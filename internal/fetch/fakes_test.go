package fetch

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/mailbox"
)

// memory is a Ledger that forgets nothing until the test ends.
type memory struct {
	mu      sync.Mutex
	tasks   map[string]Task
	entries map[Key]Entry
	runs    []Run
	locks   map[string]lockOf
	stops   map[string]string
	lines   map[string][]Line
	broken  error // what every write answers
}

type lockOf struct {
	holder string
	until  time.Time
}

func newMemory(tasks ...Task) *memory {
	m := &memory{tasks: make(map[string]Task), entries: make(map[Key]Entry), locks: make(map[string]lockOf), stops: map[string]string{}, lines: map[string][]Line{}}
	for _, t := range tasks {
		m.tasks[t.Name] = t
	}
	return m
}

// breakWith has every write answer err from now on.
func (m *memory) breakWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

func (m *memory) Tasks(context.Context) ([]Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.tasks), func(a, b Task) int { return cmp.Compare(a.Name, b.Name) }), nil
}

func (m *memory) Task(_ context.Context, name string) (Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tasks[name]
	if !ok {
		return Task{}, fault.NotFound
	}
	return t, nil
}

func (m *memory) PutTask(_ context.Context, t Task) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks[t.Name] = t
	return nil
}

func (m *memory) DeleteTask(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tasks, name)
	return nil
}

func (m *memory) LockTask(_ context.Context, task, holder string, now, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, held := m.locks[task]; held && l.holder != holder && now.Before(l.until) {
		return fault.Conflict
	}
	m.locks[task] = lockOf{holder, until}
	return nil
}

func (m *memory) UnlockTask(_ context.Context, task, holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[task].holder == holder {
		delete(m.locks, task)
	}
	return nil
}

func (m *memory) Known(_ context.Context, task, folder string, uidValidity uint32, each func(string, EntryState)) error {
	for _, e := range m.find(func(e Entry) bool { return e.Task == task && e.Folder == folder && e.UIDValidity == uidValidity }) {
		each(e.UID, e.State)
	}
	return nil
}

func (m *memory) Unfinished(_ context.Context, task string) ([]Entry, error) {
	return m.find(func(e Entry) bool { return e.Task == task && e.State.Unfinished() }), nil
}

func (m *memory) find(want func(Entry) bool) []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Entry
	for _, e := range m.entries {
		if want(e) {
			e.Files = slices.Clone(e.Files)
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return byNumber(a.UID, b.UID) })
	return out
}

func (m *memory) Entry(_ context.Context, k Key) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if !ok {
		return Entry{}, fault.NotFound
	}
	return e, nil
}

func (m *memory) Twins(_ context.Context, task, folder string, digests ...string) ([]Entry, error) {
	return m.find(func(e Entry) bool {
		return e.Task == task && e.Folder == folder && slices.Contains(digests, e.Digest) &&
			slices.Contains([]EntryState{Saved, HandedOver, ActionFailed, Done}, e.State)
	}), nil
}

func (m *memory) PutEntries(_ context.Context, es ...Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	for _, e := range es {
		e.Files = slices.Clone(e.Files)
		m.entries[e.Key] = e
	}
	return nil
}

func (m *memory) Advance(_ context.Context, state EntryState, run string, at time.Time, keys ...Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	for _, k := range keys {
		e, ok := m.entries[k]
		if !ok {
			return fault.NotFound
		}
		e.State, e.Reason, e.Run, e.Updated = state, "", run, at
		m.entries[k] = e
	}
	return nil
}

func (m *memory) DropEntries(_ context.Context, keys ...Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.entries, k)
	}
	return nil
}

func (m *memory) Entries(_ context.Context, f Filter) ([]Entry, error) {
	all := m.find(func(e Entry) bool {
		return e.Task == f.Task && (f.UID == "" || e.UID == f.UID) && (len(f.States) == 0 || slices.Contains(f.States, e.State))
	})
	order := func(a, b Mark) int { return cmp.Or(a.Updated.Compare(b.Updated), byNumber(a.UID, b.UID)) }
	slices.SortFunc(all, func(a, b Entry) int { return order(b.Mark(), a.Mark()) })
	if f.After != "" {
		after, err := ParseMark(f.After)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(e Entry) bool {
			e.Updated = e.Updated.Truncate(time.Millisecond)
			return order(e.Mark(), after) >= 0
		})
	}
	return all[:min(cmp.Or(f.Limit, 100), len(all))], nil
}

func (m *memory) PutLines(_ context.Context, run string, first int, lines ...Line) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first != len(m.lines[run]) {
		return fmt.Errorf("line %d after %d", first, len(m.lines[run]))
	}
	m.lines[run] = append(m.lines[run], lines...)
	return nil
}

func (m *memory) Lines(_ context.Context, run string) ([]Line, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lines[run]), nil
}

func (m *memory) StopTask(_ context.Context, task, who string, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, runs := m.locks[task]; !runs {
		return fault.Conflict
	}
	m.stops[task] = who
	return nil
}

func (m *memory) StopWanted(_ context.Context, task string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stops[task], nil
}

func (m *memory) PutRun(_ context.Context, r Run) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs = slices.DeleteFunc(m.runs, func(o Run) bool { return o.ID == r.ID })
	m.runs = append([]Run{r}, m.runs...)
	return nil
}

func (m *memory) Runs(_ context.Context, task string, limit int) ([]Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Run
	for _, r := range m.runs {
		if r.Task == task && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

// letter is a message in a folder.
type letter struct {
	raw     string
	arrived time.Time
	seen    bool
	flagged bool
	tags    []string
}

// post is a mailbox, and the Sources and Source that read it.
type post struct {
	mu        sync.Mutex
	address   string
	validity  uint32
	inbox     map[string]*letter
	next      int
	folders   []mailbox.Folder
	searched  []string // folders
	made      []string
	moved     map[string][]string // by folder
	opens     int
	bodies    int // downloads begun
	asked     int // for bodies
	headed    int // headers told
	described int
	changes   int // mailbox actions asked for
	fail      func(op string, uid string) error
	cutAfter  int64                  // octets of a body after which the connection breaks; 0: never
	cuts      int                    // how many bodies are cut so
	says      func(raw string) int64 // about sizes; nil: what is true
}

func newPost(raws ...string) *post {
	p := &post{address: "in@contoso.com", validity: 14, inbox: make(map[string]*letter), moved: make(map[string][]string)}
	for _, raw := range raws {
		p.deliver(raw, epoch)
	}
	return p
}

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func (p *post) deliver(raw string, arrived time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	uid := strconv.Itoa(p.next)
	p.inbox[uid] = &letter{raw: raw, arrived: arrived}
	return uid
}

func (p *post) Open(context.Context, string, Protocol) (Source, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opens++
	if err := p.check("open", ""); err != nil {
		return nil, err
	}
	return &line{p: p}, nil
}

func (p *post) check(op string, uid string) error {
	if p.fail == nil {
		return nil
	}
	return p.fail(op, uid)
}

type line struct {
	p      *post
	folder string
}

func (l *line) Mailbox() string { return l.p.address }

func (l *line) Can() mailbox.Abilities {
	return mailbox.Abilities{Folders: true, Flags: true, Tags: true}
}

func (l *line) Folders(context.Context) ([]mailbox.Folder, error) {
	return l.p.folders, nil
}

func (l *line) Use(folder string) { l.folder = folder }

func (l *line) Search(_ context.Context, q mailbox.Query) (uint32, mailbox.IDs, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if err := l.p.check("search", ""); err != nil {
		return 0, mailbox.IDs{}, err
	}
	if l.p.searched = append(l.p.searched, l.folder); l.folder == "Vanished" {
		return 0, mailbox.IDs{}, fault.New(fault.NotFound, "search", "no such folder")
	}
	var uids []string
	for uid, m := range l.p.inbox {
		if (!q.Unread || !m.seen) && (!q.Unflagged || !m.flagged) && (q.Untagged == "" || !slices.Contains(m.tags, q.Untagged)) && (m.arrived.IsZero() || !m.arrived.Before(q.Since)) {
			uids = append(uids, uid)
		}
	}
	slices.SortFunc(uids, byNumber)
	return l.p.validity, mailbox.NewIDs(slices.Values(uids)), nil
}

func (l *line) valid(op string, v uint32, uid string) error {
	if v != l.p.validity {
		return fault.New(fault.Conflict, op, "renumbered")
	}
	return l.p.check(op, uid)
}

func (l *line) Describe(_ context.Context, v uint32, uids []string, headers bool, each func(mailbox.Brief)) error {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if err := l.valid("describe", v, ""); err != nil {
		return err
	}
	l.p.described += len(uids)
	for _, uid := range uids {
		if m := l.p.inbox[uid]; m != nil {
			b := mailbox.Brief{ID: uid, Size: int64(len(m.raw)), Arrived: m.arrived}
			if l.p.says != nil {
				b.Size = l.p.says(m.raw)
			}
			if headers {
				l.p.headed++
				head, _, _ := strings.Cut(m.raw, "\r\n\r\n")
				b.Header = []byte(head + "\r\n\r\n")
			}
			each(b)
		}
	}
	return nil
}

func byNumber(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

func (l *line) Bodies(_ context.Context, v uint32, uids []string, each func(string, io.Reader, error) error) error {
	l.p.mu.Lock()
	l.p.asked++
	l.p.mu.Unlock()
	for _, uid := range uids {
		if err := l.body(v, uid, func(r io.Reader, err error) error { return each(uid, r, err) }); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) body(v uint32, uid string, read func(io.Reader, error) error) error {
	l.p.mu.Lock()
	err := l.valid("body", v, uid)
	m, refused := l.p.inbox[uid], l.p.check("text", uid)
	l.p.bodies++
	cut := int64(0)
	if l.p.cuts > 0 && l.p.cutAfter > 0 {
		l.p.cuts--
		cut = l.p.cutAfter
	}
	l.p.mu.Unlock()
	if err != nil {
		return err
	}
	if refused != nil {
		return read(nil, refused)
	}
	if m == nil {
		return read(nil, fault.New(fault.NotFound, "body", "gone"))
	}
	if cut > 0 {
		broken := fault.New(fault.Temporary, "body", "connection reset")
		return read(io.MultiReader(io.LimitReader(bytes.NewReader([]byte(m.raw)), cut), failing{broken}), nil)
	}
	return read(bytes.NewReader([]byte(m.raw)), nil)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (l *line) HasFolder(_ context.Context, name string) (bool, error) { return name != "Nowhere", nil }

func (l *line) MakeFolder(_ context.Context, name string) error {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.made = append(l.p.made, name)
	return nil
}

func (l *line) change(op string, v uint32, uids []string, do func(uid string, m *letter)) error {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.changes++
	if err := l.valid(op, v, ""); err != nil {
		return err
	}
	for _, uid := range uids { // all or none, as MOVE may be
		if err := l.p.check(op, uid); err != nil {
			return err
		}
	}
	for _, uid := range uids {
		if m := l.p.inbox[uid]; m != nil {
			do(uid, m)
		}
	}
	return nil
}

func (l *line) MarkRead(_ context.Context, v uint32, uids []string) error {
	return l.change("mark", v, uids, func(_ string, m *letter) { m.seen = true })
}

func (l *line) Flag(_ context.Context, v uint32, uids []string) error {
	return l.change("flag", v, uids, func(_ string, m *letter) { m.flagged = true })
}

func (l *line) Tag(_ context.Context, v uint32, uids []string, keyword string) error {
	return l.change("tag", v, uids, func(_ string, m *letter) { m.tags = append(m.tags, keyword) })
}

func (l *line) Move(_ context.Context, v uint32, uids []string, target string) error {
	return l.change("move", v, uids, func(uid string, m *letter) {
		l.p.moved[target] = append(l.p.moved[target], m.raw)
		delete(l.p.inbox, uid)
	})
}

func (l *line) Delete(_ context.Context, v uint32, uids []string) error {
	return l.change("delete", v, uids, func(uid string, _ *letter) { delete(l.p.inbox, uid) })
}

func (l *line) Close() error { return nil }

// bench is a task with its fakes.
type bench struct {
	*Fetcher
	ledger *memory
	post   *post
	task   Task
	now    time.Time
}

func newBench(t *testing.T, p *post, change func(*Task)) *bench {
	t.Helper()
	task := Task{Name: "invoices", Account: "in@contoso.com", Created: epoch.Add(-time.Hour), Spec: Spec{
		Source: Origin{Start: StartAll}, Handover: Handover{Directory: t.TempDir()},
	}}
	if change != nil {
		change(&task)
	}
	if err := task.Check(); err != nil {
		t.Fatal(err)
	}
	b := &bench{ledger: newMemory(task), post: p, task: task, now: epoch.Add(time.Hour)}
	b.Fetcher = New(Config{
		Ledger: b.ledger, Sources: p, Holder: "node", Now: func() time.Time { return b.now },
		Pause: time.Millisecond, MaxMessage: 8 << 20,
	})
	return b
}

// run runs the task, which must succeed.
func (b *bench) run(t *testing.T) Run {
	t.Helper()
	r, err := b.RunTask(t.Context(), b.task.Name, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// message composes a message with attachments, given as name, content pairs.
func message(id string, pairs ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Anna <anna@fabrikam.com>\r\nTo: in@contoso.com\r\nSubject: Invoice %s\r\n"+
		"Message-ID: <%s@fabrikam.com>\r\nDate: Wed, 04 Mar 2026 05:00:00 +0000\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/mixed; boundary=frontier\r\n\r\n--frontier\r\n\r\nPlease find attached.\r\n", id, id)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, "--frontier\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=%q\r\n\r\n%s\r\n", pairs[i], pairs[i+1])
	}
	b.WriteString("--frontier--\r\n")
	return b.String()
}

// action is a deed with the folder or the word that tests use for it.
func action(d Deed) Action {
	switch d {
	case Move:
		return Action{d, "Archive"}
	case Tag:
		return Action{d, "Fetched"}
	}
	return Action{Do: d}
}

// folderTask hands over to a directory, and leaves the rest as it is by default.
func folderTask(name, dir string) Task {
	return Task{Name: name, Account: "a", Spec: Spec{Handover: Handover{Directory: dir}}}
}
