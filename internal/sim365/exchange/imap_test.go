package exchange

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/google/go-cmp/cmp"

	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/sim365/world"
)

// reader signs go-imap's client in.
func (e *estate) reader(t *testing.T, options *imapclient.Options) *imapclient.Client {
	t.Helper()
	if options == nil {
		options = &imapclient.Options{}
	}
	cfg := e.roots.Clone()
	cfg.ServerName = "127.0.0.1"
	conn, err := tls.Dial("tcp", e.addrs["imap"], cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(conn, options)
	t.Cleanup(func() { c.Close() })
	if err := c.Authenticate(sasl.NewXOAUTH2Client(scan, secret.New(e.token()))); err != nil {
		t.Fatal(err)
	}
	return c
}

func (e *estate) fill(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		if err := e.Deliver(scan, []byte(letter("x@fabrikam.com", fmt.Sprintf("body %d", i+1), ""))); err != nil {
			t.Fatal(err)
		}
	}
}

func choose(t *testing.T, c *imapclient.Client, folder string, readOnly bool) *imap.SelectData {
	t.Helper()
	data, err := c.Select(folder, &imap.SelectOptions{ReadOnly: readOnly}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func uids(t *testing.T, e *estate, folder string) string {
	t.Helper()
	var out []string
	for _, m := range e.Folder(scan, folder) {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s", m.UID, strings.Join(m.Flags, " "))))
	}
	return strings.Join(out, ", ")
}

func TestFolders(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	c := e.reader(t, nil)
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range list {
		got[f.Mailbox] = fmt.Sprint(f.Attrs)
	}
	want := map[string]string{Inbox: `[\HasNoChildren]`, SentItems: `[\HasNoChildren \Sent]`, Drafts: `[\HasNoChildren \Drafts]`,
		DeletedItems: `[\HasNoChildren \Trash]`, JunkEmail: `[\HasNoChildren \Junk]`, Archive: `[\HasNoChildren \Archive]`}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := c.Select("Nowhere", nil).Wait(); err == nil || !strings.Contains(err.Error(), "mailbox doesn't exist") {
		t.Errorf("a folder that is not there: %v", err)
	}
	for _, step := range []struct {
		what string
		err  error
		ok   bool
	}{
		{"create", c.Create("Done", nil).Wait(), true}, {"create again", c.Create("done", nil).Wait(), false},
		{"rename", c.Rename("Done", "Done/Old", nil).Wait(), true}, {"delete", c.Delete("Done/Old").Wait(), true},
		{"delete a default", c.Delete(Archive).Wait(), false}, {"subscribe", c.Subscribe(Archive).Wait(), true},
	} {
		if (step.err == nil) != step.ok {
			t.Errorf("%s: %v", step.what, step.err)
		}
	}
	if ns, err := c.Namespace().Wait(); err != nil || len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("namespace %+v, %v", ns, err)
	}
	if _, err := c.ID(&imap.IDData{Name: "postern"}).Wait(); err != nil {
		t.Errorf("ID: %v", err)
	}
}

func TestExamineChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fill(t, 2)
	c := e.reader(t, nil)
	if data := choose(t, c, "inbox", true); data.NumMessages != 2 || data.UIDNext != 3 || data.UIDValidity != 14 {
		t.Errorf("examine: %+v", data)
	}
	fetched, err := c.Fetch(imap.UIDSetNum(2), &imap.FetchOptions{UID: true, InternalDate: true, Envelope: true, RFC822Size: true,
		BodyStructure: &imap.FetchItemBodyStructure{}, BodySection: []*imap.FetchItemBodySection{{}}}).Collect()
	if err != nil || len(fetched) != 1 {
		t.Fatalf("%v, %v", fetched, err)
	}
	m, kept := fetched[0], e.Folder(scan, Inbox)[1]
	if string(m.FindBodySection(&imap.FetchItemBodySection{})) != string(kept.Raw) || m.RFC822Size != int64(len(kept.Raw)) {
		t.Errorf("body %q", m.FindBodySection(&imap.FetchItemBodySection{}))
	}
	if m.Envelope.Subject != "test" || !m.InternalDate.Equal(kept.Received.Truncate(time.Second)) || m.BodyStructure.MediaType() != "text/plain" {
		t.Errorf("%+v at %v", m.Envelope, m.InternalDate)
	}
	if err := c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err == nil {
		t.Error("STORE in an examined folder")
	}
	if _, err := c.Move(imap.UIDSetNum(1), Archive).Wait(); err == nil {
		t.Error("MOVE out of an examined folder")
	}
	if err := c.UnselectAndExpunge().Wait(); err != nil {
		t.Error(err)
	}
	if got := uids(t, e, Inbox); got != "1, 2" {
		t.Errorf("INBOX is %s", got)
	}
}

func TestMarkMoveCopyDelete(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fill(t, 5)
	c := e.reader(t, nil)
	choose(t, c, Inbox, false)
	if _, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(imap.SeqSetNum(2), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect(); err != nil {
		t.Fatal(err)
	}
	flags := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{"\\DELETED"}}
	stored, err := c.Store(imap.UIDSetNum(2), flags, nil).Collect()
	if err != nil || len(stored) != 1 || stored[0].UID != 2 || fmt.Sprint(stored[0].Flags) != `[\Deleted]` {
		t.Errorf("STORE: %+v, %v", stored, err)
	}
	moved, err := c.Move(imap.UIDSetNum(1, 3), Archive).Wait()
	if err != nil || fmt.Sprint(moved.SourceUIDs, moved.DestUIDs) != "1,3 1:2" {
		t.Errorf("MOVE: %+v, %v", moved, err)
	}
	copied, err := c.Copy(imap.UIDSetNum(4), "archive").Wait()
	if err != nil || fmt.Sprint(copied.DestUIDs) != "3" || copied.UIDValidity != 19 {
		t.Errorf("COPY: %+v, %v", copied, err)
	}
	if _, err := c.Copy(imap.UIDSetNum(4), "Nowhere").Wait(); err == nil {
		t.Error("COPY to nowhere")
	}
	if gone, err := c.UIDExpunge(imap.UIDSetNum(4, 2)).Collect(); err != nil || fmt.Sprint(gone) != "[1]" {
		t.Errorf("EXPUNGE: %v, %v", gone, err)
	}
	if in, out := uids(t, e, Inbox), uids(t, e, Archive); in != "4, 5" || out != `1 \Seen, 2, 3` {
		t.Errorf("INBOX %s; Archive %s", in, out)
	}
	appended := c.Append(Drafts, 5, &imap.AppendOptions{Flags: []imap.Flag{imap.FlagDraft}, Time: time.Unix(1e9, 0)})
	if _, err := io.WriteString(appended, "A: b\n"); err != nil {
		t.Fatal(err)
	}
	appended.Close()
	if data, err := appended.Wait(); err != nil || data.UID != 1 || data.UIDValidity != 16 {
		t.Errorf("APPEND: %+v, %v", data, err)
	}
	if d := e.Folder(scan, Drafts); len(d) != 1 || string(d[0].Raw) != "A: b\n" || d[0].Received.Unix() != 1e9 {
		t.Errorf("Drafts: %v", d)
	}
	if status, err := c.Status(Archive, &imap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true}).Wait(); err != nil ||
		*status.NumMessages != 3 || *status.NumUnseen != 2 || status.UIDNext != 4 {
		t.Errorf("STATUS: %+v, %v", status, err)
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	day := time.Date(2026, 3, 5, 23, 0, 0, 0, time.UTC)
	e.Append(scan, Inbox, []byte("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n\r\nInvoice"), day, `\Seen`)
	e.Append(scan, Inbox, []byte("Subject: two\r\nX-Kind: scan\r\n\r\nnothing"), day.AddDate(0, 0, 1), "Done")
	e.Append(scan, Inbox, []byte("Subject: three\r\n\r\n"+strings.Repeat("x", 100)), day.AddDate(0, 0, 2))
	c := e.reader(t, nil)
	choose(t, c, Inbox, true)
	on := func(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }
	header := func(k, v string) *imap.SearchCriteria {
		return &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: k, Value: v}}}
	}
	for name, s := range map[string]struct {
		criteria *imap.SearchCriteria
		want     string
	}{
		"all":        {&imap.SearchCriteria{}, "1:3"},
		"seen":       {&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagSeen}}, "1"},
		"unseen":     {&imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}}, "2:3"},
		"keyword":    {&imap.SearchCriteria{Flag: []imap.Flag{"DONE"}}, "2"},
		"since":      {&imap.SearchCriteria{Since: on(6)}, "2:3"},
		"before":     {&imap.SearchCriteria{Before: on(6)}, "1"},
		"sent":       {&imap.SearchCriteria{SentSince: on(2), SentBefore: on(3)}, "1"},
		"subject":    {header("Subject", "grüß"), "1"},
		"header":     {header("X-Kind", ""), "2"},
		"text":       {&imap.SearchCriteria{Text: []string{"x-kind"}}, "2"},
		"body":       {&imap.SearchCriteria{Body: []string{"invoice"}}, "1"},
		"large":      {&imap.SearchCriteria{Larger: 100}, "3"},
		"small":      {&imap.SearchCriteria{Smaller: 100}, "1:2"},
		"UIDs":       {&imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 2, Stop: 0}}}}, "2:3"},
		"UIDs above": {&imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 9, Stop: 0}}}}, "3"},
		"numbers":    {&imap.SearchCriteria{SeqNum: []imap.SeqSet{{{Start: 1, Stop: 2}}}}, "1:2"},
		"not":        {&imap.SearchCriteria{Not: []imap.SearchCriteria{{Larger: 100}}}, "1:2"},
		"or":         {&imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{{Larger: 100}, {Flag: []imap.Flag{imap.FlagSeen}}}}}, "1,3"},
		"nothing":    {&imap.SearchCriteria{Body: []string{"zebra"}}, ""},
	} {
		got, err := c.UIDSearch(s.criteria, nil).Wait()
		if err != nil || fmt.Sprint(got.All) != s.want {
			t.Errorf("%s: %v, %v; want %s", name, got.All, err, s.want)
		}
	}
}

// Another session's doings reach one that idles.
func TestIdle(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fill(t, 1)
	seen := make(chan string, 10)
	c := e.reader(t, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				seen <- fmt.Sprint("exists ", *d.NumMessages)
			}
		},
		Expunge: func(n uint32) { seen <- fmt.Sprint("expunge ", n) },
	}})
	choose(t, c, Inbox, false)
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	e.fill(t, 1)
	e.Expunge(scan, Inbox, 1)
	for _, want := range []string{"exists 2", "expunge 1"} {
		select {
		case got := <-seen:
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("never heard %s", want)
		}
	}
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
	if err := idle.Wait(); err != nil {
		t.Error(err)
	}
}

func TestUIDValidity(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fill(t, 3)
	e.Expunge(scan, Inbox, 1)
	if err := e.SetUIDValidity(scan, Inbox, 99); err != nil {
		t.Fatal(err)
	}
	if data := choose(t, e.reader(t, nil), Inbox, true); data.UIDValidity != 99 || data.UIDNext != 3 {
		t.Errorf("%+v", data)
	}
	if err := e.SetUIDValidity(scan, "Nowhere", 1); err == nil {
		t.Error("changed a folder that is not there")
	}
	if err := e.Deliver("who@contoso.com", nil); err == nil {
		t.Error("delivered to nobody")
	}
}

// signedIn is a raw IMAP dialogue behind AUTHENTICATE.
func (e *estate) signedIn(t *testing.T) *client {
	t.Helper()
	c := e.dial(t, "imap")
	c.hear()
	c.say("a AUTHENTICATE XOAUTH2 " + xoauth2(scan, e.token()))
	expect(t, c.hear(), "a OK AUTHENTICATE completed.")
	return c
}

func TestTokenExpiresWithinTheSession(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{"command": {"b NOOP"}, "end of idling": {"b IDLE", "DONE"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			c := e.signedIn(t)
			last := len(lines) - 1
			for _, l := range lines[:last] {
				c.say(l)
				c.hear()
			}
			e.w.ExpireTokens()
			c.say(lines[last])
			expect(t, c.hear(), imapByeExpired)
			c.ended()
		})
	}
}

func TestIMAPFaults(t *testing.T) {
	t.Parallel()
	const bye = "* BYE Connection closed. 14"
	for name, c := range map[string]struct {
		fault world.Fault
		line  string
		want  []string // "" is the end
	}{
		"reply":            {world.Fault{Kind: world.FaultReply, Stage: "select", Code: "NO Server Unavailable. 15"}, "b SELECT INBOX", []string{"b NO Server Unavailable. 15"}},
		"untagged reply":   {world.Fault{Kind: world.FaultReply, Stage: "noop", Code: bye}, "b NOOP", []string{bye}},
		"reply to literal": {world.Fault{Kind: world.FaultReply, Stage: "append", Code: "BAD Command Error. 10"}, "b APPEND Drafts {4+}\r\na: b", []string{"b BAD Command Error. 10"}},
		"slow":             {world.Fault{Kind: world.FaultSlow, Stage: "noop", Delay: time.Millisecond}, "b NOOP", []string{"b OK NOOP completed."}},
		"drop":             {world.Fault{Kind: world.FaultDrop, Stage: "list"}, `b LIST "" *`, []string{""}},
		"drop after":       {world.Fault{Kind: world.FaultDropAfter, Stage: "append"}, "b APPEND Drafts {4+}\r\na: b", []string{""}},
		"drop after idle":  {world.Fault{Kind: world.FaultDropAfter, Stage: "idle"}, "b IDLE", []string{""}},
		"half close":       {world.Fault{Kind: world.FaultHalfClose}, "b NOOP", []string{""}},
		"garbage":          {world.Fault{Kind: world.FaultGarbage}, "b NOOP", []string{garbage}},
		"token expired":    {world.Fault{Kind: world.FaultTokenExpired}, "b NOOP", []string{imapByeExpired, ""}},
		"backoff": {world.Fault{Kind: world.FaultBackoff, Delay: 92415 * time.Millisecond}, "b SELECT INBOX",
			[]string{"b BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", bye, ""}},
		"another stage": {world.Fault{Kind: world.FaultDrop, Stage: "fetch"}, "b NOOP", []string{"b OK NOOP completed."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			client := e.signedIn(t)
			c.fault.Where, c.fault.Mailbox = "imap", scan
			e.w.Arm(c.fault)
			client.say(c.line)
			for _, want := range c.want {
				if want == "" {
					client.ended()
				} else {
					expect(t, client.hear(), want)
				}
			}
			if c.want[len(c.want)-1] != "" {
				client.say("c NOOP")
				expect(t, client.hear(), "c OK NOOP completed.")
			} else {
				client.conn.Close()
			}
			e.Close()
			if n := len(e.Folder(scan, Drafts)); (n == 1) != (name == "drop after") {
				t.Errorf("%d in Drafts", n)
			}
		})
	}
}

func TestIMAPFaultsBeforeSignIn(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.w.Arm(world.Fault{Where: "imap", Stage: "greeting", Kind: world.FaultReply, Code: "* BYE Connection is closed. 13"})
	c := e.dial(t, "imap")
	expect(t, c.hear(), "* BYE Connection is closed. 13")
	e.w.Arm(world.Fault{Where: "imap", Stage: "auth", Mailbox: scan, Kind: world.FaultReply, Code: "NO Server Unavailable. 15"})
	c.say("a AUTHENTICATE XOAUTH2 " + xoauth2(scan, e.token()))
	expect(t, c.hear(), "a NO Server Unavailable. 15")
}

func TestCommandTooLong(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	c := e.signedIn(t)
	c.say("b UID SEARCH UID " + strings.Repeat("1,", 20_000) + "1")
	expect(t, c.hear(), "b BAD Command Error. 10")
	c.say("c NOOP")
	expect(t, c.hear(), "c OK NOOP completed.")
}

// A client gone in the middle leaves nothing behind that Close would wait for.
func TestCloseHangsUp(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	idle, quiet, half := e.signedIn(t), e.dial(t, "pop3"), e.dial(t, "smtp")
	idle.say("b IDLE")
	idle.hear()
	quiet.hear()
	half.hear()
	half.say("EHLO me")
	half.reply()
	e.Close()
	for _, c := range []*client{idle, quiet, half} {
		if _, err := c.br.ReadByte(); err == nil || errors.Is(err, errHangUp) {
			t.Errorf("still there: %v", err)
		}
	}
}

func TestStartWantsTLS(t *testing.T) {
	t.Parallel()
	if _, err := Start(world.New(), Config{}); err == nil {
		t.Error("started without TLS")
	}
}
