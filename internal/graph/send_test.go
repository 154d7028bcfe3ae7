package graph_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/graph"
	"postern/internal/secret"
	"postern/internal/sim365/world"
)

const small = "From: scan@contoso.com\r\nTo: A <a@contoso.com>, b@contoso.com\r\nCc: \"C, the third\" <c@contoso.com>\r\nBcc: d@fabrikam.com\r\n" +
	"Subject: hi\r\nMessage-ID: <1@test.example>\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n.\r\n"

func TestSmallMailGoesAsItIs(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	if err := p.send(small, "a@contoso.com", "C@contoso.com", "x@elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	if got := p.reached(); !slices.Equal(got, []string{"a@contoso.com", "c@contoso.com", "x@elsewhere.example"}) {
		t.Errorf("reached %q", got)
	}
	want := "From: scan@contoso.com\r\nSubject: hi\r\nMessage-ID: <1@test.example>\r\nTo: \"A\"\r\n <a@contoso.com>\r\n" +
		"Cc: \"C, the third\"\r\n <c@contoso.com>\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n.\r\n"
	if got := p.got("a@contoso.com"); len(got) != 1 || got[0] != want {
		t.Errorf("a got %q", got)
	}
	if sent := p.world.Messages("scan@contoso.com", "Sent Items"); len(sent) != 1 || !contains(sent[0].Raw, "Bcc: <x@elsewhere.example>\r\n") {
		t.Errorf("Sent Items: %+v", sent)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault     world.Fault
		kind      fault.Kind
		after     time.Duration
		ambiguous bool
	}{
		"denied":         {reply("403 ErrorAccessDenied Access is denied."), fault.NeedsAdmin, 0, false},
		"send as":        {reply("403 ErrorSendAsDenied no"), fault.Permanent, time.Minute, false},
		"mailbox full":   {reply("507 ErrorQuotaExceeded full"), fault.NeedsAdmin, 0, false},
		"too large":      {reply("413 ErrorMessageSizeExceeded no"), fault.Permanent, 0, false},
		"daily limit":    {reply("429 ErrorExceededMessageLimit no"), fault.Quota, 0, false},
		"no mailbox":     {reply("404 MailboxNotEnabledForRESTAPI no"), fault.NeedsAdmin, 0, false},
		"recipients":     {reply("400 ErrorInvalidRecipients no"), fault.Permanent, 0, false},
		"item":           {reply("404 ErrorItemNotFound no"), fault.Permanent, 0, false},
		"concurrency":    {reply("429 ApplicationThrottled over"), fault.Throttled, 0, false},
		"throttled":      {status("429", 7*time.Second), fault.Throttled, 7 * time.Second, false},
		"throttled bare": {status("429", 0), fault.Throttled, 0, false},
		"busy":           {status("503", 9*time.Second), fault.Temporary, 9 * time.Second, false},
		"server busy":    {reply("503 ErrorServerBusy no"), fault.Throttled, 0, false},
		"unknown 400":    {reply("400 SomethingNew no"), fault.Permanent, 0, false},
		"unknown 403":    {status("403", 0), fault.NeedsAdmin, 0, false},
		"timed out":      {status("504", 0), fault.Temporary, 0, true},
		"broken":         {status("500", 0), fault.Temporary, 0, true},
		"200":            {status("200", 0), fault.Temporary, 0, true},
		"redirect":       {status("302", 0), fault.Temporary, 0, false},
		"cut before":     {world.Fault{Kind: world.FaultDrop}, fault.Temporary, 0, true},
		"cut after":      {world.Fault{Kind: world.FaultDropAfter}, fault.Temporary, 0, true},
		"garbage":        {world.Fault{Kind: world.FaultGarbage}, fault.Temporary, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			c.fault.Where, c.fault.Stage = "graph", "send"
			p.world.Arm(c.fault)
			f := fault.As(p.send(small, "a@contoso.com"))
			if f == nil || f.Kind != c.kind || f.RetryAfter != c.after || f.Ambiguous != c.ambiguous {
				t.Fatalf("got %+v, want %v after %v, ambiguous %v", f, c.kind, c.after, c.ambiguous)
			}
			if code, _, ok := strings.Cut(c.fault.Code, " "); ok && (f.Reply == nil || f.Reply.Code != code) {
				t.Errorf("reply %+v", f.Reply)
			}
		})
	}
}

func reply(line string) world.Fault { return world.Fault{Kind: world.FaultReply, Code: line} }

func status(code string, after time.Duration) world.Fault {
	return world.Fault{Kind: world.FaultStatus, Code: code, Delay: after}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	p := newPost(t, func(c *graph.Config) { c.Base = "https://127.0.0.1:1" })
	f := fault.As(p.send(small, "a@contoso.com"))
	if f == nil || f.Kind != fault.Temporary || f.Ambiguous || f.Hint == "" {
		t.Errorf("got %+v", f)
	}
	if _, err := graph.New(graph.Config{Base: "http://graph.example"}); !errors.Is(err, fault.NeedsAdmin) {
		t.Errorf("plain http: %v", err)
	}
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	p := newPost(t, func(c *graph.Config) { c.Patience = 50 * time.Millisecond })
	p.world.Arm(world.Fault{Where: "graph", Stage: "after send", Kind: world.FaultSlow, Delay: 10 * time.Second})
	f := fault.As(p.send(small, "a@contoso.com"))
	if f == nil || f.Kind != fault.Temporary || !f.Ambiguous {
		t.Errorf("got %+v", f)
	}
	if n := len(p.got("a@contoso.com")); n != 1 {
		t.Errorf("it arrived %d times", n)
	}
}

// A body that cannot be read to its end must not go out as a shorter message.
func TestBodyThatBreaks(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{"small": 0, "large": 40 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			broken := io.MultiReader(strings.NewReader(small), iotestErr{})
			l, err := graph.Read(envelope("a@contoso.com"), size, broken)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.box.Send(t.Context(), l)
			if !errors.Is(err, fault.Temporary) || !errors.Is(err, errDisk) {
				t.Errorf("got %v", err)
			}
			if n := len(p.world.AllMessages()); n != 0 {
				t.Errorf("%d messages went out", n)
			}
		})
	}
}

var errDisk = errors.New("the disk is gone")

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errDisk }

func TestTokens(t *testing.T) {
	t.Parallel()
	t.Run("one that ended is replaced", func(t *testing.T) {
		t.Parallel()
		p := newPost(t)
		p.world.ExpireTokens()
		if err := p.send(small, "a@contoso.com"); err != nil || p.fresh != 1 {
			t.Errorf("%v after %d fresh tokens", err, p.fresh)
		}
	})
	t.Run("one that is never right is not tried for long", func(t *testing.T) {
		t.Parallel()
		p := newPost(t)
		p.world.Arm(world.Fault{Where: "graph", Kind: world.FaultReply, Code: "401 InvalidAuthenticationToken no", Times: -1})
		if err := p.send(small, "a@contoso.com"); !errors.Is(err, fault.NeedsSignIn) || p.fresh != 1 {
			t.Errorf("%v after %d fresh tokens", err, p.fresh)
		}
	})
	t.Run("none to be had", func(t *testing.T) {
		t.Parallel()
		c, err := graph.New(graph.Config{Base: "https://graph.example"})
		if err != nil {
			t.Fatal(err)
		}
		none := func(context.Context, bool) (secret.Text, error) {
			return secret.Text{}, fault.New(fault.NeedsSignIn, "token", "gone")
		}
		if err := c.Mailbox(address("scan@contoso.com"), none).SignIn(t.Context()); !errors.Is(err, fault.NeedsSignIn) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFate(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	fate := func(raw string, to ...string) graph.Fate {
		t.Helper()
		got, err := p.box.Fate(t.Context(), letter(t, raw, to...))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := fate(small, "a@contoso.com"); got != graph.NotThere {
		t.Errorf("before: %v", got)
	}
	if err := p.send(small, "a@contoso.com", "hidden@elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	for want, to := range map[graph.Fate][]string{
		graph.Sent:     {"Hidden@elsewhere.example", "a@contoso.com"},
		graph.Doubtful: {"a@contoso.com", "b@contoso.com"},
		graph.NotThere: {"b@contoso.com"},
	} {
		if got := fate(small, to...); got != want {
			t.Errorf("to %v: %v, want %v", to, got, want)
		}
	}
	if got := fate(strings.Replace(small, "<1@", "<it's@", 1), "a@contoso.com"); got != graph.NotThere {
		t.Errorf("another identity: %v", got)
	}
	p.scopes = []string{"Mail.Send"}
	p.issue()
	if _, err := p.box.Fate(t.Context(), letter(t, small, "a@contoso.com")); fault.As(err) == nil {
		t.Errorf("without permission: %v", err)
	}
}

// Four requests are under way; the fifth waits its turn instead of being refused.
func TestFourAtOnce(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.world.Arm(world.Fault{Where: "graph", Stage: "after send", Kind: world.FaultSlow, Delay: 100 * time.Millisecond, Times: -1})
	errs := make(chan error, 12)
	for range cap(errs) {
		l := letter(t, small, "a@contoso.com")
		go func() {
			_, err := p.box.Send(t.Context(), l)
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
