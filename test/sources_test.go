package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/mailbox/pop3"
	"postern/internal/secret"
)

// Every way into every server passes the same suite.
func TestSources(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *host{"sim365": simulated, "Dovecot": realDovecot, "Cyrus": realCyrus} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			for way := range h.ways {
				s := &sourceSuite{h, way, strings.HasPrefix(way, "POP3")}
				t.Run(way, s.run)
			}
		})
	}
}

// sourceSuite is the contract of fetch.Source, over one way in.
type sourceSuite struct {
	*host
	way  string
	pop3 bool
}

func (s *sourceSuite) run(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"reads":              s.reads,
		"reads many":         s.readsMany,
		"reads a large one":  s.readsLarge,
		"breaks off":         s.breaksOff,
		"deletes":            s.deletes,
		"loses messages":     s.losesMessages,
		"refuses a password": s.refusesPassword,
	} {
		t.Run(name, test)
	}
	if s.pop3 {
		t.Run("cannot", s.cannot)
		t.Run("is locked", s.isLocked)
		return
	}
	for name, test := range map[string]func(*testing.T){
		"marks": s.marks, "tags": s.tags, "moves": s.moves, "has folders": s.hasFolders, "watches": s.watches,
		"searches": s.searches, "misses a folder": s.missesFolder,
	} {
		t.Run(name, test)
	}
}

func (s *sourceSuite) open(t *testing.T, user string) fetch.Source {
	t.Helper()
	source, err := s.dial(t.Context(), user)
	noError(t, err)
	t.Cleanup(func() { _ = source.Close() })
	return source
}

func (s *sourceSuite) dial(ctx context.Context, user string) (fetch.Source, error) {
	if s.pop3 {
		return pop3.Open(ctx, user, func(ctx context.Context) (*pop3.Client, error) {
			c, err := pop3.Dial(ctx, s.config(s.way))
			if err != nil {
				return nil, err
			}
			return c, c.SignIn(ctx, s.login(user))
		})
	}
	c, err := imap.Dial(ctx, s.config(s.way))
	if err != nil {
		return nil, err
	}
	return c.Source(user), c.SignIn(ctx, s.login(user))
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, fault.KindOf(err))
	}
}

func is(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind || err == nil {
		t.Errorf("%v is %s, want %s", err, fault.KindOf(err), kind)
	}
}

func letterOf(subject, body string) string {
	return "From: Bill <bill@example.com>\r\nTo: in@contoso.com\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@example.com>\r\n\r\n" + body
}

// found wants n messages and returns what it was told.
func found(t *testing.T, source fetch.Source, q mailbox.Query, n int) (uint32, []string) {
	t.Helper()
	v, ids, err := source.Search(t.Context(), q)
	noError(t, err)
	if ids.Len() != n {
		t.Fatalf("%d messages are found, want %d", ids.Len(), n)
	}
	return v, slices.Collect(ids.All())
}

// take reads messages whole. What a server cannot give is "error: kind".
func take(t *testing.T, source fetch.Source, v uint32, ids ...string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	noError(t, source.Bodies(t.Context(), v, ids, func(id string, body io.Reader, err error) error {
		if _, twice := got[id]; twice {
			t.Errorf("%s came twice", id)
		}
		if err != nil {
			got[id] = "error: " + fault.KindOf(err).String()
			return nil
		}
		b, err := io.ReadAll(body)
		got[id] = string(b)
		return err
	}))
	return got
}

func (s *sourceSuite) reads(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	letters := []string{
		letterOf("one", ".\r\n..\r\n.hidden\r\nend.\r\n"),
		letterOf("two", "8 bit: gr\xc3\xbc\xc3\x9fe \xe9\r\n* BYE now\r\n)\r\nT1 OK done\r\n"),
		letterOf("three", strings.Repeat("x", 70_000)+"\r\n"),
	}
	s.append(t, user, letters...)
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{}, 3)

	described := make(map[string]mailbox.Brief)
	noError(t, source.Describe(t.Context(), v, append([]string{"99999"}, ids...), true, func(b mailbox.Brief) { described[b.ID] = b }))
	for i, id := range ids {
		header, _, _ := strings.Cut(letters[i], "\r\n\r\n")
		d := described[id]
		if d.Size < int64(len(letters[i]))-10 || string(bytes.TrimSpace(d.Header)) != header {
			t.Errorf("message %d is described as %d octets with %q", i, d.Size, d.Header)
		}
		if !s.pop3 && time.Since(d.Arrived).Abs() > time.Hour {
			t.Errorf("message %d arrived %v", i, d.Arrived)
		}
	}
	if len(described) != 3 {
		t.Errorf("%d messages are described", len(described))
	}

	got := take(t, source, v, ids[2], "99999", ids[0], ids[1], "no such id")
	want := map[string]string{ids[0]: letters[0], ids[1]: letters[1], ids[2]: letters[2], "99999": "error: not_found", "no such id": "error: not_found"}
	for id, text := range want {
		if got[id] != text {
			t.Errorf("%s came as %.120q, want %.120q", id, got[id], text)
		}
	}
	if !s.pop3 {
		found(t, source, mailbox.Query{Unread: true}, 3) // looking leaves no trace
	}
	is(t, source.Bodies(t.Context(), v+1, ids, nil), fault.Conflict)
}

func (s *sourceSuite) readsMany(t *testing.T) {
	t.Parallel()
	count := 530 // more than one command names
	if s.slow {
		count = 60
	}
	user := s.user(t)
	var letters []string
	for i := range count {
		letters = append(letters, letterOf(fmt.Sprint("n", i), strings.Repeat("line of text\r\n", i%40)))
	}
	s.append(t, user, letters...)
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{}, count)
	i, skipped := 0, 0
	noError(t, source.Bodies(t.Context(), v, ids, func(id string, body io.Reader, err error) error {
		noError(t, err)
		at := slices.Index(ids, id)
		if i++; i%3 == 0 { // a message nobody wants is skipped, wholly or half read
			skipped++
			_, err := io.CopyN(io.Discard, body, int64(i%2*20))
			return err
		}
		b, err := io.ReadAll(body)
		if string(b) != letters[at] {
			t.Errorf("message %d came as %.80q", at, b)
		}
		return err
	}))
	if i != count || skipped == 0 {
		t.Errorf("%d messages came", i)
	}
}

func (s *sourceSuite) readsLarge(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("large", strings.Repeat(strings.Repeat("0123456789abcdef", 4)+"\r\n", 150_000)), letterOf("small", "x\r\n"))
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{}, 2)
	var size, largest int64
	noError(t, source.Bodies(t.Context(), v, ids, func(_ string, body io.Reader, err error) error {
		noError(t, err)
		size, err = io.Copy(io.Discard, body)
		largest = max(largest, size)
		return err
	}))
	if largest < 150_000*66 {
		t.Errorf("the large one had %d octets", largest)
	}
}

func (s *sourceSuite) breaksOff(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"), letterOf("two", strings.Repeat("2\r\n", 5000)), letterOf("three", "3\r\n"), letterOf("four", "4\r\n"))
	for stop := 1; stop <= 3; stop++ {
		source := s.open(t, user)
		v, ids := found(t, source, mailbox.Query{}, 4)
		full, n := errors.New("disk full"), 0
		err := source.Bodies(t.Context(), v, ids, func(string, io.Reader, error) error {
			if n++; n == stop {
				return full
			}
			return nil
		})
		if err != full { //nolint:errorlint // as it is
			t.Errorf("broke off with %v", err)
		}
		if _, _, err := source.Search(t.Context(), mailbox.Query{}); !s.pop3 && err == nil {
			t.Error("the connection went on in the middle of a message")
		}
		_ = source.Close()
	}
}

func (s *sourceSuite) deletes(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"), letterOf("two", "2\r\n"), letterOf("three", "3\r\n"))
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{}, 3)
	noError(t, source.Delete(t.Context(), v, []string{ids[0], "99999", ids[2]}))
	noError(t, source.Delete(t.Context(), v, ids[:1]))
	if _, left := found(t, source, mailbox.Query{}, 1); left[0] != ids[1] {
		t.Errorf("left is %v of %v", left, ids)
	}
	noError(t, source.Close())
	if _, left := found(t, s.open(t, user), mailbox.Query{}, 1); left[0] != ids[1] {
		t.Errorf("for others left is %v of %v", left, ids)
	}
}

func (s *sourceSuite) losesMessages(t *testing.T) {
	t.Parallel()
	if s.pop3 {
		t.Skip("the server keeps a session's messages in place")
	}
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"), letterOf("two", "2\r\n"), letterOf("three", "3\r\n"))
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{}, 3)
	noError(t, s.open(t, user).Delete(t.Context(), v, ids[1:2]))
	got := take(t, source, v, ids...)
	if !strings.Contains(got[ids[0]], "one") || !strings.Contains(got[ids[2]], "three") {
		t.Errorf("a message that is gone took others along: %q", got)
	}
	// A server may still have it for those who saw it, but must not give another's.
	if gone := got[ids[1]]; gone != "error: not_found" && !strings.Contains(gone, "two") && !strings.HasPrefix(gone, "error: ") {
		t.Errorf("the message that is gone came as %q", gone)
	}
	_, _, err := source.Search(t.Context(), mailbox.Query{})
	noError(t, err)
	if got := take(t, source, v, ids[1]); got[ids[1]] != "error: not_found" {
		t.Errorf("the message that is gone came as %q", got[ids[1]])
	}
}

func (s *sourceSuite) refusesPassword(t *testing.T) {
	t.Parallel()
	wrong := *s
	own := *s.host
	wrong.host = &own
	own.login = func(user string) mailbox.Login {
		l := s.login(user)
		if l.Password.Empty() {
			l.Token = secret.New("wrong-token-that-must-not-leak")
		} else {
			l.Password = secret.New("wrong-password-that-must-not-leak")
		}
		return l
	}
	_, err := wrong.dial(t.Context(), s.user(t))
	is(t, err, fault.NeedsSignIn)
	if strings.Contains(fmt.Sprintf("%+v", err), "must-not-leak") {
		t.Error("the secret is in the error")
	}
}

func (s *sourceSuite) cannot(t *testing.T) {
	t.Parallel()
	source, ctx := s.open(t, s.user(t)), t.Context()
	if source.Can() != (mailbox.Abilities{}) {
		t.Errorf("it can %+v", source.Can())
	}
	for name, err := range map[string]error{
		"read": source.MarkRead(ctx, 0, nil), "flag": source.Flag(ctx, 0, nil), "tag": source.Tag(ctx, 0, nil, "x"),
		"move": source.Move(ctx, 0, nil, "x"), "make": source.MakeFolder(ctx, "x"),
	} {
		if is(t, err, fault.NeedsAdmin); fault.HintOf(err) == "" {
			t.Errorf("%s: no way out is named", name)
		}
	}
	_, _, err := source.Search(ctx, mailbox.Query{Unread: true})
	is(t, err, fault.NeedsAdmin)
	if folders, err := source.Folders(ctx); err != nil || len(folders) != 1 {
		t.Errorf("folders %v, %v", folders, err)
	}
}

// isLocked: while one session is open servers keep others out, or let them in.
func (s *sourceSuite) isLocked(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"))
	found(t, s.open(t, user), mailbox.Query{}, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	second, err := s.dial(ctx, user)
	if err != nil {
		is(t, err, fault.Temporary)
		return
	}
	noError(t, second.Close())
}

func (s *sourceSuite) marks(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"), letterOf("two", "2\r\n"))
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{Unread: true, Unflagged: true}, 2)
	noError(t, source.MarkRead(t.Context(), v, []string{ids[0], "99999"}))
	noError(t, source.Flag(t.Context(), v, ids[1:]))
	if _, left := found(t, source, mailbox.Query{Unread: true}, 1); left[0] != ids[1] {
		t.Errorf("unread are %v of %v", left, ids)
	}
	if _, left := found(t, source, mailbox.Query{Unflagged: true}, 1); left[0] != ids[0] {
		t.Errorf("unflagged are %v of %v", left, ids)
	}
	is(t, source.MarkRead(t.Context(), v+1, ids), fault.Conflict)
	found(t, source, mailbox.Query{Since: time.Now().AddDate(0, 0, 3)}, 0)
	found(t, source, mailbox.Query{Since: time.Now().AddDate(0, 0, -3)}, 2)
}

func (s *sourceSuite) tags(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"), letterOf("two", "2\r\n"))
	source := s.open(t, user)
	v, ids := found(t, source, mailbox.Query{Untagged: "Postern"}, 2)
	is(t, source.Tag(t.Context(), v, ids, `two words`), fault.Invalid)
	err := source.Tag(t.Context(), v, ids[:1], "Postern")
	if s.ways["IMAPS"].Host != "localhost" || errors.Is(err, fault.NeedsAdmin) { // Exchange keeps none
		if is(t, err, fault.NeedsAdmin); fault.HintOf(err) == "" {
			t.Error("no way out is named")
		}
		return
	}
	noError(t, err)
	if _, left := found(t, source, mailbox.Query{Untagged: "Postern"}, 1); left[0] != ids[1] {
		t.Errorf("untagged are %v of %v", left, ids)
	}
}

func (s *sourceSuite) moves(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	var letters []string
	for i := range 7 {
		letters = append(letters, letterOf(fmt.Sprint("m", i), "x\r\n"))
	}
	s.append(t, user, letters...)
	source := s.open(t, user)
	archive := s.folderCalled(t, source, "Archive")
	v, ids := found(t, source, mailbox.Query{}, 7)
	noError(t, source.Move(t.Context(), v, []string{ids[1], "99999", ids[5]}, archive))
	noError(t, source.Move(t.Context(), v, ids[1:2], archive)) // gone: nothing happens
	found(t, source, mailbox.Query{}, 5)
	if err := source.Move(t.Context(), v, ids[:1], archive+" that is not there"); err == nil {
		t.Error("moved to a folder that is not there")
	}
	found(t, source, mailbox.Query{}, 5)
	source.Use(archive)
	v, ids = found(t, source, mailbox.Query{}, 2)
	if got := take(t, source, v, ids...); got[ids[0]] != letters[1] || got[ids[1]] != letters[5] {
		t.Errorf("arrived: %q", got)
	}
}

// folderCalled is the whole name of a folder, as the server lists it.
func (s *sourceSuite) folderCalled(t *testing.T, source fetch.Source, last string) string {
	t.Helper()
	folders, err := source.Folders(t.Context())
	noError(t, err)
	for _, f := range folders {
		if f.Name == last || f.Delimiter != "" && strings.HasSuffix(f.Name, f.Delimiter+last) {
			return f.Name
		}
	}
	t.Fatalf("no %s among %v", last, folders)
	return ""
}

func (s *sourceSuite) hasFolders(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"))
	source, ctx := s.open(t, user), t.Context()
	archive := s.folderCalled(t, source, "Archive")
	name := strings.Replace(archive, "Archive", "Größe & Maß – 請求書", 1)
	for range 2 { // the second time it is there already
		noError(t, source.MakeFolder(ctx, name))
	}
	if there, err := source.HasFolder(ctx, name); err != nil || !there {
		t.Errorf("not there: %v", err)
	}
	if there, err := source.HasFolder(ctx, name+"%"); err != nil || there {
		t.Errorf("a pattern is taken for a name: %v", err)
	}
	if s.folderCalled(t, source, "Größe & Maß – 請求書") != name {
		t.Error("it is listed by another name")
	}
	v, ids := found(t, source, mailbox.Query{}, 1)
	noError(t, source.Move(ctx, v, ids, name))
	source.Use(name)
	found(t, source, mailbox.Query{}, 1)
	folders, err := source.Folders(ctx)
	noError(t, err)
	if i := slices.IndexFunc(folders, func(f mailbox.Folder) bool { return f.Name == "INBOX" }); i < 0 || folders[i].Closed {
		t.Errorf("no INBOX among %v", folders)
	}
}

func (s *sourceSuite) watches(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("one", "1\r\n"))
	source := s.open(t, user)
	if !source.Can().Watch {
		t.Fatal("the server tells of mail, but does not say so")
	}
	watcher := source.(fetch.Watcher)
	found(t, source, mailbox.Query{}, 1)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := watcher.Watch(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing arrived, and Watch said %v", err)
	}
	found(t, source, mailbox.Query{}, 1) // the connection is still good

	told := make(chan error, 1)
	ctx, cancel = context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	go func() { told <- watcher.Watch(ctx) }()
	s.append(t, user, letterOf("two", "2\r\n"))
	noError(t, <-told)
	found(t, source, mailbox.Query{}, 2)
}

func (s *sourceSuite) searches(t *testing.T) {
	t.Parallel()
	user := s.user(t)
	s.append(t, user, letterOf("reminder", "1\r\n"), letterOf("invoice", strings.Repeat("2", 5000)+"\r\n"), letterOf("Rechnung =?utf-8?q?f=C3=BCr?= uns", "3\r\n"))
	source := s.open(t, user)
	for raw, want := range map[string]int{
		`ALL`: 3, `FROM bill@example.com`: 3, `NOT SUBJECT "reminder"`: 2, `OR SUBJECT invoice SUBJECT reminder`: 2,
		`LARGER 4000`: 1, `(UNSEEN SMALLER 4000) SINCE 1-Jan-2020`: 2, `BEFORE 1-Jan-2020`: 0, `SUBJECT für`: 1, `HEADER Message-ID invoice`: 1,
	} {
		_, ids, err := source.Search(t.Context(), mailbox.Query{Raw: raw, Unread: true})
		if errors.Is(err, fault.NeedsAdmin) && strings.Contains(raw, "ü") && fault.HintOf(err) != "" {
			continue // the server knows ASCII only, and Postern says so
		}
		if err != nil || ids.Len() != want {
			t.Errorf("%s finds %v (%v), want %d", raw, ids, err, want)
		}
	}
	_, _, err := source.Search(t.Context(), mailbox.Query{Raw: "ALL\r\nT9 DELETE INBOX"})
	is(t, err, fault.Invalid)
}

func (s *sourceSuite) missesFolder(t *testing.T) {
	t.Parallel()
	source := s.open(t, s.user(t))
	source.Use("No such folder")
	_, _, err := source.Search(t.Context(), mailbox.Query{})
	is(t, err, fault.NotFound)
	if there, err := source.HasFolder(t.Context(), "No such folder"); err != nil || there {
		t.Errorf("there: %v", err)
	}
}
