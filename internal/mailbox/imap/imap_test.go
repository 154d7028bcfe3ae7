package imap_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/sasl"
	"postern/internal/secret"
)

var (
	_ fetch.Source  = (*imap.Source)(nil)
	_ fetch.Watcher = (*imap.Source)(nil)
)

const letter = "From: a@b.c\r\nSubject: hello\r\n\r\nbody\r\n"

func TestSignInAndLook(t *testing.T) {
	t.Parallel()
	for _, mode := range []mail.TLSMode{mail.Implicit, mail.STARTTLS} {
		for _, ir := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/initial response=%t", mode, ir), func(t *testing.T) {
				t.Parallel()
				caps := goimap.CapSet{goimap.CapIMAP4rev1: {}, goimap.CapMove: {}, goimap.CapUIDPlus: {}}
				if ir {
					caps[goimap.CapSASLIR] = struct{}{}
				}
				c := signIn(t, memory(t, mode, caps, letter, letter))
				if state, ok := c.TLS(); !ok || !state.HandshakeComplete {
					t.Error("no TLS")
				}
				folders, err := c.Folders(t.Context())
				var names []string
				for _, f := range folders {
					names = append(names, f.Name)
				}
				if err != nil || !slices.Equal(names, []string{"Archive", "Größe", "INBOX"}) {
					t.Errorf("folders %q, %v", names, err)
				}
				st, err := c.Examine(t.Context(), "inbox")
				if err != nil || st.Messages != 2 || st.UIDValidity == 0 {
					t.Errorf("%+v, %v", st, err)
				}
				if _, err := c.Select(t.Context(), "Größe"); err != nil {
					t.Error(err)
				}
				if _, err := c.Examine(t.Context(), "No such"); !errors.Is(err, fault.NotFound) {
					t.Errorf("missing folder: %v (%s)", err, fault.KindOf(err))
				}
				all, err := c.Capabilities(t.Context())
				if err != nil || !slices.Contains(all, "IMAP4rev1") {
					t.Errorf("capabilities %q, %v", all, err)
				}
			})
		}
	}
}

func TestRefusedToken(t *testing.T) {
	t.Parallel()
	c := dial(t, memory(t, mail.Implicit, nil))
	err := c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New("wrong-token")))
	if !errors.Is(err, fault.NeedsSignIn) || fault.ReplyOf(err).Text != "AUTHENTICATE failed." {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
	if strings.Contains(fmt.Sprintf("%+v", err), "wrong-token") {
		t.Error("the token is in the error")
	}
}

// Google and Dovecot give their reason in a challenge, and want an empty line.
func TestRefusedTokenWithAReason(t *testing.T) {
	t.Parallel()
	c := dial(t, scripted(t, `S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready
		C: AUTHENTICATE XOAUTH2 dXNlcj1p
		S: + eyJzdGF0dXMiOiI0MDEifQ==
		C-
		S: TAG NO Authentication failed.`))
	err := c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New(token)))
	if !errors.Is(err, fault.NeedsSignIn) || fault.ReplyOf(err).Text != "Authentication failed." {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}

func TestEchoedCredentialsAreCutOff(t *testing.T) {
	t.Parallel()
	client := sasl.NewXOAUTH2Client(user, secret.New(token))
	_, first, err := client.Start()
	if err != nil {
		t.Fatal(err)
	}
	said := base64.StdEncoding.EncodeToString(first)
	c := dial(t, scripted(t, `S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready
		C: AUTHENTICATE XOAUTH2 dXNlcj1p
		S: TAG BAD unknown command XOAUTH2 `+said))
	err = c.Authenticate(t.Context(), client)
	if err == nil || strings.Contains(err.Error(), said[12:]) || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("got %v", err)
	}
}

func TestNoCredentialsInTheClear(t *testing.T) {
	t.Parallel()
	c := dial(t, memory(t, mail.Plain, nil))
	err := c.Authenticate(t.Context(), sasl.NewXOAUTH2Client(user, secret.New(token)))
	if !errors.Is(err, mailbox.ErrClear) {
		t.Errorf("%v", err)
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		caps goimap.CapSet
	}{
		{"MOVE", nil},
		{"COPY, STORE, EXPUNGE", goimap.CapSet{goimap.CapIMAP4rev1: {}, goimap.CapUIDPlus: {}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			c := signIn(t, memory(t, mail.Implicit, tt.caps, letter, letter+"two", letter+"three"))
			f := c.Source(user)
			v, uids, err := f.Search(ctx, mailbox.Query{Unread: true})
			if err != nil || !slices.Equal(slices.Collect(uids.All()), []string{"1", "2", "3"}) {
				t.Fatalf("%v, %v", uids, err)
			}
			if _, late, err := f.Search(ctx, mailbox.Query{Since: time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)}); err != nil || late.Len() != 0 {
				t.Errorf("since: %v, %v", late, err)
			}
			about := make(map[string]mailbox.Brief)
			must(t, f.Describe(ctx, v, []string{"1", "2", "99"}, true, func(b mailbox.Brief) { about[b.ID] = b }))
			two := about["2"]
			if len(about) != 2 || two.Size != int64(len(letter)+3) || !two.Arrived.Equal(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)) ||
				string(two.Header) != "From: a@b.c\r\nSubject: hello\r\n\r\n" {
				t.Errorf("described %+v", about)
			}
			var body []byte
			must(t, f.Bodies(ctx, v, []string{"2"}, func(_ string, r io.Reader, err error) error {
				must(t, err)
				body, err = io.ReadAll(r)
				return err
			}))
			if string(body) != letter+"two" {
				t.Errorf("body %q", body)
			}
			told := map[string]error{}
			tell := func(id string, _ io.Reader, err error) error { told[id] = err; return nil }
			must(t, f.Bodies(ctx, v, []string{"99", "3"}, tell))
			if len(told) != 2 || !errors.Is(told["99"], fault.NotFound) || told["3"] != nil {
				t.Errorf("told %v", told)
			}
			if err := f.Bodies(ctx, v+1, []string{"2"}, tell); !errors.Is(err, fault.Conflict) {
				t.Errorf("other UIDVALIDITY: %v", err)
			}
			if _, unread, err := f.Search(ctx, mailbox.Query{Unread: true}); err != nil || unread.Len() != 3 {
				t.Errorf("reading marked as read: %v, %v", unread, err)
			}

			must(t, f.MarkRead(ctx, v, []string{"1", "99"}))
			must(t, f.Move(ctx, v, []string{"2", "98"}, "Archive"))
			must(t, f.Move(ctx, v, []string{"2"}, "Archive")) // gone: nothing happens
			must(t, f.Delete(ctx, v, []string{"3"}))
			if _, left, err := f.Search(ctx, mailbox.Query{}); err != nil || !slices.Equal(slices.Collect(left.All()), []string{"1"}) {
				t.Errorf("left: %v, %v", left, err)
			}
			if _, unread, err := f.Search(ctx, mailbox.Query{Unread: true}); err != nil || unread.Len() != 0 {
				t.Errorf("unread: %v, %v", unread, err)
			}
			if st, err := c.Examine(ctx, "Archive"); err != nil || st.Messages != 1 {
				t.Errorf("archive: %+v, %v", st, err)
			}
			if there, err := f.HasFolder(ctx, "Archive"); err != nil || !there {
				t.Errorf("archive: %t, %v", there, err)
			}
			if there, err := f.HasFolder(ctx, "Nowhere"); err != nil || there {
				t.Errorf("nowhere: %t, %v", there, err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailedCopyDeletesNothing(t *testing.T) {
	t.Parallel()
	c := signIn(t, memory(t, mail.Implicit, goimap.CapSet{goimap.CapIMAP4rev1: {}, goimap.CapUIDPlus: {}}, letter))
	f := c.Source(user)
	v, _, err := f.Search(t.Context(), mailbox.Query{})
	must(t, err)
	if err := f.Move(t.Context(), v, []string{"1"}, "Nowhere"); err == nil {
		t.Fatal("moved to a folder that is not there")
	}
	if _, left, err := f.Search(t.Context(), mailbox.Query{}); err != nil || left.Len() != 1 {
		t.Errorf("the message is lost: %v, %v", left, err)
	}
}

func TestReadersErrorIsReturnedAndClosesTheConnection(t *testing.T) {
	t.Parallel()
	c := signIn(t, memory(t, mail.Implicit, nil, letter))
	f := c.Source(user)
	v, _, err := f.Search(t.Context(), mailbox.Query{})
	must(t, err)
	full := errors.New("disk full")
	if err := f.Bodies(t.Context(), v, []string{"1"}, func(string, io.Reader, error) error { return full }); err != full { //nolint:errorlint // as it is
		t.Errorf("%v", err)
	}
	if _, _, err := f.Search(t.Context(), mailbox.Query{}); !errors.Is(err, fault.Temporary) {
		t.Errorf("afterwards: %v (%s)", err, fault.KindOf(err))
	}
}

const greeting = `
	S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] The Microsoft Exchange IMAP4 service is ready.
	C: AUTHENTICATE XOAUTH2 dXNlcj1
	S: TAG OK [CAPABILITY IMAP4rev1 MOVE] AUTHENTICATE completed.
	`

const opened = greeting + `C: EXAMINE INBOX
	S: * 1 EXISTS
	S: * OK [UIDVALIDITY 14] UIDVALIDITY value
	S: TAG OK [READ-ONLY] EXAMINE completed.
	`

func TestWhatServersSay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, dialog string
		kind         fault.Kind
		text         string
		wait         time.Duration
	}{
		{"signed in but not to a mailbox", greeting + `C: EXAMINE INBOX
			S: TAG BAD User is authenticated but not connected.
			S: * BYE Connection closed. 14`, fault.NeedsAdmin, "User is authenticated but not connected.", 0},
		{"throttled instead", greeting + `C: EXAMINE INBOX
			S: TAG BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds`, fault.Throttled, "Request is throttled. Suggested Backoff Time: 92415 milliseconds", 92415 * time.Millisecond},
		{"absurd backoff", greeting + `C: EXAMINE INBOX
			S: TAG NO Request is throttled. Suggested Backoff Time: 9999999999 milliseconds`, fault.Throttled, "Request is throttled. Suggested Backoff Time: 9999999999 milliseconds", time.Hour},
		{"throttled by a farewell", greeting + `C: EXAMINE INBOX
			S: * BYE Request is throttled. Suggested Backoff Time: 300000 milliseconds`, fault.Throttled, "Request is throttled. Suggested Backoff Time: 300000 milliseconds", 5 * time.Minute},
		{"busy folder that exists", greeting + `C: EXAMINE INBOX
			S: TAG NO Server Unavailable. 15
			C: LIST "" INBOX
			S: * LIST () "/" INBOX
			S: TAG OK LIST completed.`, fault.Temporary, "Server Unavailable. 15", 0},
		{"no such folder", greeting + `C: EXAMINE INBOX
			S: TAG NO INBOX doesn't exist.
			C: LIST "" INBOX
			S: TAG OK LIST completed.`, fault.NotFound, "INBOX doesn't exist.", 0},
		{"code says it", greeting + `C: EXAMINE INBOX
			S: TAG NO [NOPERM] Access denied`, fault.NeedsAdmin, "Access denied", 0},
		{"token ran out", opened + `C: UID SEARCH
			S: * BYE Session invalidated - AccessTokenExpired`, fault.Temporary, "Session invalidated - AccessTokenExpired", 0},
		{"hung up", opened + "C: UID SEARCH", fault.Temporary, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := signIn(t, scripted(t, tt.dialog))
			_, _, err := c.Source(user).Search(t.Context(), mailbox.Query{Unread: true})
			if fault.KindOf(err) != tt.kind {
				t.Fatalf("%v is %s, want %s", err, fault.KindOf(err), tt.kind)
			}
			if reply := fault.ReplyOf(err); (reply == nil) != (tt.text == "") || reply != nil && reply.Text != tt.text {
				t.Errorf("reply %+v, want %q", reply, tt.text)
			}
			if e := fault.As(err); e.RetryAfter != tt.wait {
				t.Errorf("wait %s, want %s", e.RetryAfter, tt.wait)
			}
		})
	}
}

func TestRefusedSearchIsDoneHere(t *testing.T) {
	t.Parallel()
	c := signIn(t, scripted(t, opened+`C: UID SEARCH
		S: TAG BAD Command Argument Error. 11
		C: UID FETCH 1:*
		S: * 1 FETCH (UID 7 FLAGS (\Seen) INTERNALDATE "04-Mar-2026 05:06:07 +0000")
		S: * 2 FETCH (UID 9 FLAGS () INTERNALDATE "04-Mar-2026 05:06:07 +0000")
		S: TAG OK FETCH completed.`))
	v, uids, err := c.Source(user).Search(t.Context(), mailbox.Query{Unread: true})
	if err != nil || v != 14 || !slices.Equal(slices.Collect(uids.All()), []string{"9"}) {
		t.Errorf("%d %v, %v", v, uids, err)
	}
}

func TestBodyCutOff(t *testing.T) {
	t.Parallel()
	c := signIn(t, scripted(t, opened+`C: UID SEARCH
		S: * SEARCH 1
		S: TAG OK SEARCH completed.
		C: UID FETCH 1 (UID BODY.PEEK[])
		S: * 1 FETCH (UID 1 BODY[] {1000}
		S: Subject: cut
		S: * BYE words of the sender`))
	f := c.Source(user)
	v, _, err := f.Search(t.Context(), mailbox.Query{})
	must(t, err)
	var readErr error
	err = f.Bodies(t.Context(), v, []string{"1"}, func(_ string, r io.Reader, _ error) error {
		_, readErr = io.ReadAll(r)
		return readErr
	})
	if !errors.Is(readErr, io.ErrUnexpectedEOF) || !errors.Is(err, fault.Temporary) {
		t.Errorf("a cut message looks whole: %v, %v", readErr, err)
	}
	if _, _, err := f.Search(t.Context(), mailbox.Query{}); fault.ReplyOf(err) != nil {
		t.Errorf("the sender's words count as the server's: %v", err)
	}
}

func TestContextEndsAnOperation(t *testing.T) {
	t.Parallel()
	c := signIn(t, scripted(t, opened+"C: UID SEARCH\nC: never said"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Source(user).Search(ctx, mailbox.Query{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	cfg := scripted(t, "C: never said")
	cfg.Timeout = 50 * time.Millisecond
	if _, err := imap.Dial(t.Context(), cfg); !errors.Is(err, fault.Temporary) {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}

func TestDialFailures(t *testing.T) {
	t.Parallel()
	good := memory(t, mail.Implicit, nil)
	noTrust, plain, starttls := good, good, memory(t, mail.STARTTLS, goimap.CapSet{goimap.CapIMAP4rev1: {}})
	noTrust.RootCAs = nil
	plain.Server.TLS = "sometimes"
	starttls.Server.TLS = mail.Implicit
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	away := config4(ln, mail.Implicit, nil)
	must(t, ln.Close())
	for name, tt := range map[string]struct {
		cfg  mailbox.Config
		kind fault.Kind
	}{
		"not trusted": {noTrust, fault.NeedsAdmin}, "no TLS mode": {plain, fault.Invalid},
		"TLS to a STARTTLS port": {starttls, fault.NeedsAdmin}, "nobody there": {away, fault.Temporary},
	} {
		if _, err := imap.Dial(t.Context(), tt.cfg); fault.KindOf(err) != tt.kind {
			t.Errorf("%s: %v (%s)", name, err, fault.KindOf(err))
		}
	}
}
