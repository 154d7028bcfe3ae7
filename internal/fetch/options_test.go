package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
)

func pattern(t *testing.T, texts ...string) Patterns {
	t.Helper()
	var ps Patterns
	for _, text := range texts {
		p, err := NewPattern(text)
		must(t, err)
		ps = append(ps, p)
	}
	return ps
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		patterns []string
		value    string
		want     bool
	}{
		{nil, "anything", true},
		{[]string{"invoice"}, "Your INVOICE 7", true},
		{[]string{"invoice"}, "Your bill", false},
		{[]string{"*@contoso.com"}, "anna@contoso.com", true},
		{[]string{"*@contoso.com"}, "anna@contoso.com.evil.example", false},
		{[]string{"a?c"}, "abc", true},
		{[]string{"a.c*"}, "abcd", false},
		{[]string{`/inv-\d+$/`}, "see INV-42", true},
		{[]string{`/inv-\d+$/`}, "inv-", false},
		{[]string{"!draft"}, "final", true},
		{[]string{"!draft"}, "Draft 2", false},
		{[]string{"*.pdf", "*.xml", "!*draft*"}, "x.xml", true},
		{[]string{"*.pdf", "!*draft*"}, "draft.pdf", false},
		{[]string{"größe"}, "GRÖSSE", false}, // no full case folding is promised
		{[]string{"größe"}, "GRÖßE", true},
		{[]string{"a*z"}, "a\nz", true},
	} {
		if got := pattern(t, tt.patterns...).Fit(tt.value); got != tt.want {
			t.Errorf("%q on %q: %t", tt.patterns, tt.value, got)
		}
	}
	for _, bad := range []string{"", "!", " ", "/(/", strings.Repeat("x", maxPattern+1)} {
		if _, err := NewPattern(bad); err == nil {
			t.Errorf("%.20q is a pattern", bad)
		}
	}
}

// plain is a message with nothing attached.
func plain(id, from, subject, text string, headers ...string) string {
	return fmt.Sprintf("From: %s\r\nTo: in@contoso.com\r\nCc: Bob <bob@contoso.com>\r\nSubject: %s\r\nMessage-ID: <%s@x>\r\n%s\r\n%s\r\n",
		from, subject, id, strings.Join(append(headers, ""), "\r\n"), text)
}

func TestRules(t *testing.T) {
	t.Parallel()
	type rules = []Rule
	for _, tt := range []struct {
		name  string
		raws  []string
		rules func(*testing.T) rules
		want  []string // files, without manifests
		read  int      // messages downloaded
	}{
		{"none takes attachments", []string{message("1", "a.pdf", "x"), message("2")},
			func(*testing.T) rules { return nil }, []string{"a.pdf"}, 2},
		{"from is decided without a download", []string{message("1", "a.pdf", "x")},
			func(t *testing.T) rules { return rules{{Match: Match{From: pattern(t, "*@contoso.com")}}} }, nil, 0},
		{"from by name", []string{message("1", "a.pdf", "x")},
			func(t *testing.T) rules { return rules{{Match: Match{From: pattern(t, "anna <")}}} }, []string{"a.pdf"}, 1},
		{"cc counts as to", []string{strings.Replace(message("1", "a.pdf", "x"), "Subject:", "Cc: bob@contoso.com\r\nSubject:", 1)},
			func(t *testing.T) rules { return rules{{Match: Match{To: pattern(t, "bob@*")}}} }, []string{"a.pdf"}, 1},
		{"subject, negated", []string{message("1", "a.pdf", "x"), message("2", "b.pdf", "x")},
			func(t *testing.T) rules { return rules{{Match: Match{Subject: pattern(t, "!Invoice 1")}}} }, []string{"b.pdf"}, 1},
		{"body", []string{message("1", "a.pdf", "x")},
			func(t *testing.T) rules { return rules{{Match: Match{Body: pattern(t, "find attached")}}} }, []string{"a.pdf"}, 1},
		{"body that does not fit", []string{message("1", "a.pdf", "x")},
			func(t *testing.T) rules { return rules{{Match: Match{Body: pattern(t, "nothing like it")}}} }, nil, 1},
		{"names", []string{message("1", "a.pdf", "x", "b.exe", "y", "draft.pdf", "z")},
			func(t *testing.T) rules { return rules{{Take: Take{Names: pattern(t, "*.pdf", "!*draft*")}}} }, []string{"a.pdf"}, 1},
		{"types by content", []string{message("1", "a.bin", "%PDF-1.7 real", "b.pdf", "just text")},
			func(*testing.T) rules { return rules{{Take: Take{Types: []string{"application/pdf"}}}} }, []string{"a.bin"}, 1},
		{"sizes", []string{message("1", "a", "1", "b", "22", "c", "333")},
			func(*testing.T) rules { return rules{{Take: Take{MinSize: 2, MaxSize: 2}}} }, []string{"b"}, 1},
		{"first match wins", []string{message("1", "a.pdf", "x", "b.xml", "y")},
			func(t *testing.T) rules {
				return rules{{Take: Take{Names: pattern(t, "*.doc")}}, {Take: Take{Names: pattern(t, "*.xml")}}, {}}
			}, []string{"b.xml"}, 1},
		{"skip", []string{message("1", "a.pdf", "x"), message("2", "b.pdf", "y")},
			func(t *testing.T) rules {
				return rules{{Match: Match{Subject: pattern(t, "Invoice 1")}, Skip: true}, {}}
			}, []string{"b.pdf"}, 1},
		{"skip by body", []string{message("1", "a.pdf", "x")},
			func(t *testing.T) rules { return rules{{Match: Match{Body: pattern(t, "attached")}, Skip: true}, {}} }, nil, 1},
		{"whole message", []string{message("1", "a.pdf", "x")},
			func(*testing.T) rules { return rules{{Take: Take{Save: []Kind{EML}}}} }, []string{"Invoice 1.eml"}, 1},
		{"whole message without attachments", []string{plain("1", "a@x", "Hello: you/me", "text")},
			func(*testing.T) rules { return rules{{Take: Take{Save: []Kind{EML, Text}, AnyMessage: true}}} },
			[]string{"Hello_ you_me.eml", "Hello_ you_me.txt"}, 1},
		{"whole message only with attachments", []string{plain("1", "a@x", "Hello", "text")},
			func(*testing.T) rules { return rules{{Take: Take{Save: []Kind{EML}}}} }, nil, 1},
		{"auto-replies", []string{strings.Replace(message("1", "a.pdf", "x"), "Subject:", "Auto-Submitted: auto-replied\r\nSubject:", 1), message("2", "b.pdf", "x")},
			func(*testing.T) rules { return rules{{Match: Match{SkipAutomatic: true}}} }, []string{"b.pdf"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost(tt.raws...)
			b := newBench(t, p, func(task *Task) { task.Rules = tt.rules(t) })
			b.run(t)
			var got []string
			for _, e := range b.ledger.find(func(Entry) bool { return true }) {
				for _, f := range e.handed() {
					got = append(got, f.Name)
					if !exists(b.task.Handover.Directory, f.Name) {
						t.Errorf("%s is not there", f.Name)
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) || p.bodies != tt.read {
				t.Errorf("%q with %d downloads, want %q with %d", got, p.bodies, tt.want, tt.read)
			}
			if left := glob(t, b.task.Handover.Directory, stagingPrefix+"*"+stagingSuffix); len(left) != 0 {
				t.Errorf("left over: %q", left)
			}
		})
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	return found
}

func TestPathsAndClashes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		clash handover.Clash
		files map[string]string // afterwards, under the day's folder
		state EntryState
	}{
		{"", map[string]string{"a.pdf": "old", "a (2).pdf": "new"}, Done},
		{handover.ClashRename, map[string]string{"a.pdf": "old", "a (2).pdf": "new"}, Done},
		{handover.ClashOverwrite, map[string]string{"a.pdf": "new"}, Done},
		{handover.ClashSkip, map[string]string{"a.pdf": "old"}, Done},
		{handover.ClashFail, map[string]string{"a.pdf": "old"}, Parked},
	} {
		t.Run(string(tt.clash), func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "new"))
			b := newBench(t, p, func(task *Task) {
				task.Handover.Path, task.Handover.Clash = "{yyyy}/{MM}-{from_domain}/{filename}", tt.clash
			})
			dir := filepath.Join(b.task.Handover.Directory, "2026", "03-fabrikam.com")
			must(t, os.MkdirAll(dir, 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "a.pdf"), []byte("old"), 0o600))
			for range defaultTries {
				b.run(t)
			}
			got := map[string]string{}
			for _, path := range glob(t, dir, "*.pdf") {
				body, err := os.ReadFile(path)
				must(t, err)
				got[filepath.Base(path)] = string(body)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.files) {
				t.Errorf("%v, want %v", got, tt.files)
			}
			e := b.ledger.find(func(Entry) bool { return true })[0]
			if e.State != tt.state {
				t.Errorf("%s: %s", e.State, e.Reason)
			}
			if lists := glob(t, dir, "*"+extract.ManifestSuffix); (len(lists) == 1) != (tt.state == Done) {
				t.Errorf("manifests %q", lists)
			}
		})
	}
}

func TestTwoOfOneNameInARun(t *testing.T) {
	t.Parallel()
	for clash, want := range map[handover.Clash]string{
		handover.ClashRename: "one two", handover.ClashOverwrite: "two", handover.ClashSkip: "one",
	} {
		t.Run(string(clash), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, newPost(message("1", "a.pdf", "one"), message("2", "a.pdf", "two")), func(task *Task) { task.Handover.Clash = clash })
			b.run(t)
			c := &consumer{dir: b.task.Handover.Directory}
			c.collect(t)
			slices.Sort(c.contents)
			if got := strings.Join(c.contents, " "); got != want || len(c.manifests) != 2 {
				t.Errorf("%q in %d manifests, want %q", got, len(c.manifests), want)
			}
			for _, m := range c.manifests {
				if clash == handover.ClashSkip && len(m.Files) == 1 && m.MessageID != "<1@fabrikam.com>" {
					t.Errorf("%s lists a file that was dropped", m.MessageID)
				}
			}
		})
	}
}

func TestUnmatchedAndFailedMessages(t *testing.T) {
	t.Parallel()
	p := newPost(message("1"), message("2", "a.pdf", "x"), message("3", "big.pdf", strings.Repeat("y", 5000)))
	b := newBench(t, p, func(task *Task) {
		task.Unmatched, task.Failure.Do, task.Limits.Message = Action{Move, "Other"}, Action{Do: Flag}, 4000
	})
	b.run(t)
	if len(p.moved["Other"]) != 1 || p.inbox["1"] != nil || p.inbox["2"].flagged || !p.inbox["3"].flagged {
		t.Errorf("moved %d, inbox %v", len(p.moved["Other"]), p.inbox)
	}
	e, err := b.ledger.Entry(t.Context(), Key{b.task.Name, Place(p.address, "INBOX"), 14, "3"})
	if err != nil || e.State != Parked || e.Subject != "Invoice 3" || e.From != "Anna <anna@fabrikam.com>" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestTagsAndFlags(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"), message("2", "b.pdf", "x"), message("3", "c.pdf", "x"))
	p.inbox["2"].tags = []string{"Fetched"}
	b := newBench(t, p, func(task *Task) { task.Source.Which, task.After = Untagged, Action{Tag, "Fetched"} })
	if r := b.run(t); r.Saved != 2 || !slices.Equal(p.inbox["1"].tags, []string{"Fetched"}) {
		t.Errorf("%+v, %v", r, p.inbox["1"])
	}
	p.inbox["3"].flagged = true
	flags := newBench(t, p, func(task *Task) { task.Source.Which, task.After = Unflagged, Action{Do: Flag} })
	if r := flags.run(t); r.Saved != 2 || !p.inbox["1"].flagged {
		t.Errorf("%+v", r)
	}
}

func TestLimitsOfARun(t *testing.T) {
	t.Parallel()
	var raws []string
	for i := range 10 {
		raws = append(raws, message(fmt.Sprint(i), "a.pdf", "x"))
	}
	p := newPost(raws...)
	b := newBench(t, p, func(task *Task) { task.Limits.Messages = 4 })
	for i, want := range []int{4, 4, 2, 0} {
		if r := b.run(t); r.Saved != want || r.Left != max(0, 10-4*(i+1)) {
			t.Errorf("run %d: %+v", i, r)
		}
	}
	size := len(raws[0])
	octets := newBench(t, p, func(task *Task) { task.Limits.Bytes = Size(3*size + 1) })
	for i, want := range []int{4, 4, 2, 0} { // the last of each may be larger than what is left of the limit
		if r := octets.run(t); r.Saved != want || r.Left != max(0, 10-4*(i+1)) || r.Looked != want {
			t.Errorf("octets, run %d: %+v", i, r)
		}
	}
}

// What a server says about sizes decides what is asked for, not what is taken in.
func TestServerThatLiesAboutSizes(t *testing.T) {
	t.Parallel()
	large := message("large", "a.pdf", strings.Repeat("x", 9<<20)) // more than the bench reads
	for name, c := range map[string]struct {
		size   func(raw string) int64
		parked int
	}{
		"nothing": {func(string) int64 { return 0 }, 1},
		"minus":   {func(string) int64 { return -1 }, 1},
		"little":  {func(raw string) int64 { return int64(len(raw)) / 2 }, 1},
		"immense": {func(string) int64 { return math.MaxInt64 }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(message("1", "a.pdf", "alpha"), large, message("2", "b.pdf", "beta"), message("3", "c.pdf", "gamma"))
			p.says = c.size
			b := newBench(t, p, nil)
			if r := b.run(t); r.Failed != c.parked || r.Saved != 4-c.parked {
				t.Errorf("%+v", r)
			}
			for _, e := range b.ledger.find(func(e Entry) bool { return e.State != Parked }) {
				if e.Size != int64(len(p.inbox[e.UID].raw)) {
					t.Errorf("%s is entered with %d octets", e.UID, e.Size)
				}
			}
			if r := b.run(t); r.Looked != 0 {
				t.Errorf("looked at again: %+v", r)
			}
		})
	}
}

func TestAges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Task)
		want   int
	}{
		{"since", func(task *Task) { task.Source.Since = Date{epoch.Truncate(day)} }, 2},
		{"max age", func(task *Task) { task.Source.MaxAge = Duration(90 * time.Minute) }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPost()
			p.deliver(message("1", "a.pdf", "x"), epoch.Add(-7*day))
			p.deliver(message("2", "b.pdf", "x"), epoch.Add(-time.Hour))
			p.deliver(message("3", "c.pdf", "x"), epoch)
			b := newBench(t, p, tt.change)
			if r := b.run(t); r.Saved != tt.want {
				t.Errorf("%+v", r)
			}
			looks := p.described
			if r := b.run(t); r.Looked != 0 || p.described != looks {
				t.Errorf("looked at again: %+v, %d more descriptions", r, p.described-looks)
			}
		})
	}
}

// Exactly once, where the protocol tells neither arrival nor UIDVALIDITY.
func TestPOP3CutOff(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "old"), message("2", "b.pdf", "old"))
	p.validity = 0
	b := newBench(t, p, func(task *Task) { task.Source.Protocol, task.Source.Start = POP3, StartNew })
	if r := b.run(t); r.Saved != 0 || p.bodies != 0 {
		t.Errorf("what was there before was taken: %+v", r)
	}
	p.deliver(message("3", "c.pdf", "new"), time.Time{})
	if r := b.run(t); r.Saved != 1 {
		t.Errorf("%+v", r)
	}
	// The server is moved: the same messages under other UIDLs.
	p.inbox = map[string]*letter{"x": p.inbox["3"]}
	if r := b.run(t); r.Saved != 0 {
		t.Errorf("saved twice: %+v", r)
	}

	empty := newBench(t, newPost(), func(task *Task) { task.Source.Protocol, task.Source.Start = POP3, StartNew })
	empty.run(t)
	empty.post.deliver(message("1", "a.pdf", "first"), time.Time{})
	if r := empty.run(t); r.Saved != 1 {
		t.Errorf("the first message after the cut-off: %+v", r)
	}
}

// brittle is a ledger that takes so many writes.
type brittle struct {
	*memory
	left int
}

var errBrittle = errors.New("no more")

func (b *brittle) PutEntries(ctx context.Context, es ...Entry) error {
	if b.left--; b.left < 0 {
		return errBrittle
	}
	return b.memory.PutEntries(ctx, es...)
}

// TestPOP3CutOffCutShort: what a look that came to no end had not entered yet is not taken
// for new mail by the next.
func TestPOP3CutOffCutShort(t *testing.T) {
	t.Parallel()
	p := newPost()
	for i := range 2*describedAtOnce + 1 {
		p.deliver(message(strconv.Itoa(i+1), "a.pdf", "old"), time.Time{})
	}
	p.validity = 0
	b := newBench(t, p, func(task *Task) { task.Source.Protocol, task.Source.Start = POP3, StartNew })
	whole := b.Fetcher
	for writes := range 4 {
		b.Fetcher = New(Config{
			Ledger: &brittle{b.ledger, writes}, Sources: p, Holder: "node", Now: func() time.Time { return b.now },
			Pause: time.Millisecond, MaxMessage: 8 << 20,
		})
		if r, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, errBrittle) || r.Saved+r.Looked > 0 {
			t.Fatalf("after %d writes: %+v, %v", writes, r, err)
		}
	}
	b.Fetcher = whole
	if r := b.run(t); r.Saved+r.Looked != 0 || p.bodies != 0 {
		t.Errorf("what was there before was taken: %+v", r)
	}
	p.deliver(message("new", "c.pdf", "new"), time.Time{})
	if r := b.run(t); r.Saved != 1 {
		t.Errorf("%+v", r)
	}
}

// TestWholeMessages: what is kept whole is kept as it came, whatever is in it, and nothing
// is staged of parts that only decide.
func TestWholeMessages(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]Take{
		"any":                 {Save: []Kind{EML}, AnyMessage: true},
		"with an attachment":  {Save: []Kind{EML}},
		"any, with a list":    {Save: []Kind{EML, List}, AnyMessage: true},
		"with a large enough": {Save: []Kind{EML}, MinSize: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := message("1", "a.pdf", strings.Repeat("alpha", 40_000))
			b := newBench(t, newPost(raw), func(task *Task) { task.Rules = []Rule{{Take: take}} })
			staged := 0
			b.step = func(step string) {
				if step == "created" {
					staged++
				}
			}
			b.run(t)
			e := b.ledger.find(func(Entry) bool { return true })[0]
			kept, err := os.ReadFile(filepath.Join(b.task.Handover.Directory, e.Files[0].Name))
			if err != nil || string(kept) != raw {
				t.Errorf("kept %d octets of %d: %v", len(kept), len(raw), err)
			}
			sum := sha256.Sum256([]byte(raw))
			want := hex.EncodeToString(sum[:])
			if e.State != Done || e.Digest != want || e.Files[0].SHA256 != want || e.Size != int64(len(raw)) ||
				e.Subject != "Invoice 1" || e.MessageID != "<1@fabrikam.com>" || staged != len(e.Files) {
				t.Errorf("%+v, %d staged", e, staged)
			}
		})
	}
}

// Files that are made ahead of the messages they are for are gone when the messages do not
// come, and are no more than the messages otherwise.
func TestFilesMadeAhead(t *testing.T) {
	t.Parallel()
	const count = groupsAhead*groupMessages + 3
	p := newPost()
	for i := range count {
		p.deliver(message(fmt.Sprint(i), "a.pdf", "alpha"), epoch)
	}
	b := newBench(t, p, func(task *Task) { task.Rules = []Rule{{Take: Take{Save: []Kind{EML}, AnyMessage: true}}} })
	stop := true
	p.fail = func(op, uid string) error {
		if stop && op == "body" && uid == "300" {
			return fault.New(fault.NeedsSignIn, op, "the sign-in ended")
		}
		return nil
	}
	if _, err := b.RunTask(t.Context(), b.task.Name, Options{}); !errors.Is(err, fault.NeedsSignIn) {
		t.Fatal(err)
	}
	dir := b.task.Handover.Directory
	if staged, whole := glob(t, dir, stagingPrefix+"*"+stagingSuffix), glob(t, dir, "*.eml"); len(staged) != 0 || len(whole) != groupMessages {
		t.Errorf("%d files stay staged, %d are in place", len(staged), len(whole))
	}
	stop = false
	b.run(t)
	if staged, whole := glob(t, dir, stagingPrefix+"*"+stagingSuffix), glob(t, dir, "*.eml"); len(staged) != 0 || len(whole) != count {
		t.Errorf("%d files stay staged, %d of %d are in place", len(staged), len(whole), count)
	}
}

func TestCopiesAreNoTwins(t *testing.T) {
	t.Parallel()
	raw := message("1", "a.pdf", "x")
	p := newPost(raw, raw)
	b := newBench(t, p, nil)
	if r := b.run(t); r.Saved != 2 {
		t.Errorf("two messages that are there count as one: %+v", r)
	}
	p.inbox = map[string]*letter{"9": {raw: raw, arrived: epoch}} // moved out and back in
	if r := b.run(t); r.Saved != 0 {
		t.Errorf("a message that came back was saved again: %+v", r)
	}
}

func TestReprocessAndReset(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"), message("2"))
	b := newBench(t, p, nil)
	b.run(t)
	var audit []string
	o := Operator{b.Fetcher, func(_ context.Context, d ByHand) error {
		audit = append(audit, fmt.Sprintf("%s|%s|%s|%s|%v>%v", d.Who, d.What, d.Subject, d.Detail, d.Before, d.After))
		return nil
	}}
	f := Filter{Task: b.task.Name, UID: "1"}
	if n, err := o.Do(t.Context(), "anna", Reprocess, f, nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if r := b.run(t); r.Saved != 1 || !exists(b.task.Handover.Directory, "a (2).pdf") {
		t.Errorf("%+v, %q", r, snapshot(t, b.task.Handover.Directory))
	}
	bodies := p.bodies
	if n, err := o.Do(t.Context(), "anna", Reset, Filter{Task: b.task.Name, States: []EntryState{NoMatch}}, nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if r := b.run(t); r.Looked != 1 || p.bodies != bodies+1 {
		t.Errorf("%+v", r)
	}
	if want := []string{"anna|fetch reprocess|invoices|1 message: uid 1|map[done:1]>map[failed:1]", "anna|fetch reset|invoices|1 message: state no_match|map[no_match:1]><nil>"}; !slices.Equal(audit, want) {
		t.Errorf("audit %q", audit)
	}
	must(t, b.ledger.LockTask(t.Context(), b.task.Name, "a run", b.now, b.now.Add(time.Hour)))
	if _, err := o.Do(t.Context(), "anna", Reset, f, nil); !errors.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
		t.Errorf("beside a run: %v", err)
	}
}

func TestReprocessIsADeliveryOfItsOwn(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	b := targetBench(t, newPost(message("1", "a.pdf", "x")), s, true, nil)
	b.run(t)
	o := Operator{b.Fetcher, func(context.Context, ByHand) error { return nil }}
	if _, err := o.Do(t.Context(), "anna", Reprocess, Filter{Task: b.task.Name}, nil); err != nil {
		t.Fatal(err)
	}
	b.run(t)
	if len(s.got) != 2 {
		t.Errorf("deliveries %v", s.got)
	}
}

func TestPreviewLooksAtWhatWasTaken(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"), message("2", "b.pdf", "y"), message("3", "c.pdf", "z"))
	b := newBench(t, p, func(task *Task) { task.Handover.Path = "{rule}/{filename}"; task.Rules = []Rule{{Name: "all"}} })
	b.run(t)
	before := len(snapshot(t, b.task.Handover.Directory))
	var events []Event
	_, err := b.RunTask(t.Context(), b.task.Name, Options{DryRun: true, Everything: true, Messages: 2, Progress: func(e Event) { events = append(events, e) }})
	if err != nil || len(events) != 2 || events[0].Subject != "Invoice 3" || events[0].Files[0].Name != "all/c (2).pdf" {
		t.Errorf("%+v, %v", events, err)
	}
	if len(snapshot(t, b.task.Handover.Directory)) != before {
		t.Error("a preview wrote something")
	}
	if sample, err := b.task.SamplePath(); err != nil || sample != "pdf/invoice 017.pdf" {
		t.Errorf("%q, %v", sample, err)
	}
}

func TestRunsAreWrittenDown(t *testing.T) {
	t.Parallel()
	p := newPost(message("1", "a.pdf", "x"), message("2"), message("3", "b\x1b[2J.pdf", "x"))
	b := newBench(t, p, nil)
	r := b.run(t)
	lines, err := Operator{Fetcher: b.Fetcher}.Log(t.Context(), b.task.Name, "")
	if err != nil || len(lines) != 3 {
		t.Fatalf("%v, %v", lines, err)
	}
	if lines[0].Text != "uid 1 saved: Invoice 1 → a.pdf" || strings.Contains(lines[1].Text, "\x1b") ||
		lines[2].Text != "3 looked at, 2 taken, 2 files, 1 without a match, 0 failed" {
		t.Errorf("%q", lines)
	}
	if r.Acted != 2 || r.NoMatch != 1 || r.Bytes == 0 || r.Total != 3 {
		t.Errorf("%+v", r)
	}
	if _, err := (Operator{Fetcher: b.Fetcher}).Log(t.Context(), b.task.Name, "none"); !errors.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

func TestSpecsReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	const text = `{"source":{"protocol":"imap","folders":["A/*"],"which":"unread","since":"2026-01-31","max_age":"30d"},` +
		`"rules":[{"name":"pdf","match":{"from":["*@x"],"body":["/a|b/"],"skip_automatic":true},"take":{"save":["eml"],"min_size":"10KB"}}],` +
		`"nested":"open","handover":{"directory":"/in","path":"{yyyy}/{filename}","clash":"skip","webhook":{"url":"https://x.example/"},"each":"attachment"},` +
		`"after":"move Archive/2026 a","unmatched":"read","failure":{"do":"flag","tries":5},"schedule":{"cron":"0 6 * * 1-5","zone":"Europe/Berlin"},"limits":{"bytes":"1GB"}}`
	var s Spec
	must(t, json.Unmarshal([]byte(text), &s))
	must(t, Task{Name: "t", Spec: s}.Check())
	out, err := json.Marshal(s)
	must(t, err)
	if string(out) != text {
		t.Errorf("written as\n%s", out)
	}
}
