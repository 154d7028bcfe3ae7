package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

func xoauth2() gosasl.Client {
	return sasl.NewXOAUTH2Client("user@contoso.com", secret.New("TOKEN"))
}

func address(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func envelope(t *testing.T, to ...string) mail.Envelope {
	t.Helper()
	env := mail.Envelope{From: address(t, "user@contoso.com")}
	for _, a := range to {
		env.To = append(env.To, address(t, a))
	}
	return env
}

func dial(t *testing.T, cfg smtp.Config) *smtp.Conn {
	t.Helper()
	c, err := smtp.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(c.Abort)
	return c
}

func TestSeveralMessagesOnOneConnection(t *testing.T) {
	t.Parallel()
	u := serve(t, dialogue(t, "two_messages"))
	var trace recorder
	cfg := u.config()
	cfg.Trace = trace.add
	c := dial(t, cfg)
	if err := c.Auth(t.Context(), xoauth2); err != nil {
		t.Fatal(err)
	}
	env := envelope(t, "a@example.net", "b@example.net")
	env.EightBit = true
	res, err := c.Send(t.Context(), env, 42, strings.NewReader("Subject: x\n\n.leading dot\r\n.\r\nbare\rends"))
	if err != nil || !res.Accepted || res.Reply.Code != "250" {
		t.Fatalf("first: %+v, %v", res, err)
	}
	if res.Recipients[0].Err != nil || !errors.Is(res.Recipients[1].Err, fault.Permanent) {
		t.Errorf("recipients: %+v", res.Recipients)
	}
	if got := res.Recipients[1].Reply; got.Enhanced != "5.1.10" || got.Stage != smtp.StageRCPT {
		t.Errorf("reply: %+v", got)
	}
	res, err = c.Send(t.Context(), envelope(t, "c@example.net"), 0, strings.NewReader("never sent"))
	if err != nil || res.Accepted || !errors.Is(res.Recipients[0].Err, fault.Temporary) {
		t.Fatalf("second: %+v, %v", res, err)
	}
	env = envelope(t, "bäcker@example.net")
	env.UTF8 = true
	if res, err = c.Send(t.Context(), env, 0, strings.NewReader("second\r\n")); err != nil || !res.Accepted {
		t.Fatalf("third: %+v, %v", res, err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	u.asWritten(t)
	seen := trace.String()
	for _, never := range []string{"TOKEN", "dXNlcj1", "leading dot"} {
		if strings.Contains(seen, never) {
			t.Errorf("the trace shows %q", never)
		}
	}
	for _, always := range []string{"C: AUTH XOAUTH2 [redacted]", "S: 235 2.7.0", "C: EHLO postern.example", "* TLS 1.3"} {
		if !strings.Contains(seen, always) {
			t.Errorf("the trace lacks %q:\n%s", always, seen)
		}
	}
}

func TestAuthFallsBackToTwoSteps(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"two_steps", "line_too_long"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := serve(t, dialogue(t, name))
			c := dial(t, u.config())
			err := c.Auth(t.Context(), xoauth2)
			if !errors.Is(err, fault.NeedsSignIn) {
				t.Fatalf("got %v", err)
			}
			if r := fault.ReplyOf(err); r.Protocol != "smtp" || r.Stage != smtp.StageAUTH || r.Code != "535" || r.Enhanced != "5.7.3" {
				t.Errorf("reply %+v", r)
			}
			if err := c.Noop(t.Context()); err != nil {
				t.Errorf("after a refused sign-in: %v", err)
			}
			u.asWritten(t)
		})
	}
}

func TestAuthCancelsEndlessChallenges(t *testing.T) {
	t.Parallel()
	u := serve(t, dialogue(t, "endless_challenge"))
	err := dial(t, u.config()).Auth(t.Context(), xoauth2)
	if !errors.Is(err, fault.NeedsSignIn) || !errors.Is(err, gosasl.ErrUnexpectedServerChallenge) {
		t.Errorf("got %v", err)
	}
	u.asWritten(t)
}

func TestNoCredentialsWithoutTLS(t *testing.T) {
	t.Parallel()
	t.Run("mode plain", func(t *testing.T) {
		t.Parallel()
		u := serve(t, "S: 220 x\nC: EHLO postern.example\nS: 250 AUTH XOAUTH2\n* SILENCE\n")
		cfg := u.config()
		cfg.Server.TLS = mail.Plain
		c := dial(t, cfg)
		if err := c.Auth(t.Context(), xoauth2); !errors.Is(err, fault.NeedsAdmin) {
			t.Errorf("got %v", err)
		}
		c.Abort()
		u.asWritten(t)
	})
	t.Run("STARTTLS stripped", func(t *testing.T) {
		t.Parallel()
		u := serve(t, "S: 220 x\nC: EHLO postern.example\nS: 250-x\nS: 250 AUTH XOAUTH2\n* SILENCE\n")
		if _, err := smtp.Dial(t.Context(), u.config()); !errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
		u.asWritten(t)
	})
	t.Run("reply injected before TLS", func(t *testing.T) {
		t.Parallel()
		u := serve(t, "S: 220 x\nC: EHLO postern.example\nS: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\r\n250-x\r\n250 AUTH PLAIN\n* CLOSE\n")
		if _, err := smtp.Dial(t.Context(), u.config()); !errors.Is(err, fault.Temporary) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	u := serve(t, dialogue(t, "cut_in_data"))
	cfg := u.config()
	cfg.RootCAs = nil
	_, err := smtp.Dial(t.Context(), cfg)
	if err == nil || !strings.Contains(fault.HintOf(err), "CA bundle") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	u := serve(t, "* TLS\nS: 220 x\nC: EHLO postern.example\nS: 250 x\nC: QUIT\nS: 221 bye\n")
	cfg := u.config()
	cfg.Server.TLS = mail.Implicit
	c := dial(t, cfg)
	if c.TLS() == nil || c.Offers("STARTTLS") {
		t.Error("no TLS")
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	u.asWritten(t)
}

func TestFailuresOfAMessage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dialogue  string
		body      io.Reader
		kind      fault.Kind
		ambiguous bool
		stage     string
		usable    bool
	}{
		"cut after the final dot":  {"cut_after_dot", strings.NewReader("text"), fault.Temporary, true, "", false},
		"refused after it":         {"refused_after_dot", strings.NewReader("text"), fault.Permanent, false, smtp.StageBody, true},
		"cut before the message":   {"cut_in_data", strings.NewReader("text"), fault.Temporary, false, "", false},
		"refused while written to": {"early_refusal", endless{}, fault.Permanent, false, smtp.StageBody, false},
		"body cannot be read":      {"cut_after_dot", io.MultiReader(strings.NewReader("text"), broken{}), fault.Temporary, false, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, serve(t, dialogue(t, c.dialogue)).config())
			res, err := conn.Send(t.Context(), envelope(t, "a@example.net"), 0, c.body)
			f := fault.As(err)
			if f == nil || f.Kind != c.kind || f.Ambiguous != c.ambiguous || res.Accepted {
				t.Fatalf("got %+v, %v", res, err)
			}
			if r := fault.ReplyOf(err); (r == nil) != (c.stage == "") || r != nil && r.Stage != c.stage {
				t.Errorf("reply %+v", r)
			}
			if conn.Usable() != c.usable {
				t.Errorf("usable %v", conn.Usable())
			}
		})
	}
}

func TestManyRecipients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		extension string
		window    int // RCPT lines that may come before an answer, the first with MAIL
	}{"pipelined": {"PIPELINING", 50}, "one by one": {"SIZE", 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 120
			var script strings.Builder
			script.WriteString("* TLS\nS: 220 x\nC: EHLO postern.example\nS: 250-x\nS: 250 " + c.extension + "\nC: MAIL FROM:<user@contoso.com>\n")
			mailAnswer := "S: 250 ok\n"
			if c.window == 1 {
				script.WriteString(mailAnswer)
				mailAnswer = ""
			}
			var to []string
			for done := 0; done < n; {
				batch := min(c.window, n-done)
				for i := range batch {
					to = append(to, fmt.Sprintf("r%d@example.net", done+i))
					fmt.Fprintf(&script, "C: RCPT TO:<r%d@example.net>\n", done+i)
				}
				script.WriteString(mailAnswer + strings.Repeat("S: 250 ok\n", batch))
				mailAnswer = ""
				done += batch
			}
			script.WriteString("C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 taken\n* CLOSE\n")
			u := serve(t, script.String())
			cfg := u.config()
			cfg.Server.TLS = mail.Implicit
			res, err := dial(t, cfg).Send(t.Context(), envelope(t, to...), 0, strings.NewReader("x"))
			if err != nil || !res.Accepted || len(res.Recipients) != n {
				t.Errorf("%d recipients, %v", len(res.Recipients), err)
			}
			u.asWritten(t)
		})
	}
}

func TestThrottledAtMAILThen421(t *testing.T) {
	t.Parallel()
	u := serve(t, dialogue(t, "mail_refused"))
	c := dial(t, u.config())
	_, err := c.Send(t.Context(), envelope(t, "a@example.net"), 0, strings.NewReader("x"))
	if !errors.Is(err, fault.Throttled) || !c.Usable() {
		t.Fatalf("got %v, usable %v", err, c.Usable())
	}
	if err := c.Reset(t.Context()); err != nil {
		t.Errorf("Reset: %v", err)
	}
	if err := c.Noop(t.Context()); !errors.Is(err, fault.Temporary) || c.Usable() {
		t.Errorf("Noop: %v, usable %v", err, c.Usable())
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("Close of a dead connection: %v", err)
	}
	u.asWritten(t)
}

func TestSMTPUTF8IsNeeded(t *testing.T) {
	t.Parallel()
	u := serve(t, "* TLS\nS: 220 x\nC: EHLO postern.example\nS: 250 x\n* SILENCE\n")
	cfg := u.config()
	cfg.Server.TLS = mail.Implicit
	c := dial(t, cfg)
	env := envelope(t, "a@example.net")
	env.UTF8 = true
	if _, err := c.Send(t.Context(), env, 0, strings.NewReader("x")); !errors.Is(err, fault.Permanent) {
		t.Errorf("got %v", err)
	}
}

func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	t.Run("by the timeout", func(t *testing.T) {
		t.Parallel()
		cfg := serve(t, dialogue(t, "silence_in_auth")).config()
		cfg.Timeouts.Auth = 30 * time.Millisecond
		c := dial(t, cfg)
		if err := c.Auth(t.Context(), xoauth2); !errors.Is(err, fault.Temporary) || c.Usable() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("by the context's deadline", func(t *testing.T) {
		t.Parallel()
		c := dial(t, serve(t, dialogue(t, "silence_in_auth")).config())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if err := c.Auth(ctx, xoauth2); err == nil {
			t.Error("no error")
		}
	})
	t.Run("by cancellation", func(t *testing.T) {
		t.Parallel()
		c := dial(t, serve(t, dialogue(t, "silence_in_auth")).config())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		if err := c.Auth(ctx, xoauth2); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("while writing", func(t *testing.T) {
		t.Parallel()
		script := dialogue(t, "early_refusal")
		script = script[:strings.Index(script, "S: 552")] + "* SILENCE\n"
		u := serve(t, script+"* SILENCE\n")
		cfg := u.config()
		cfg.Timeouts.Write = 50 * time.Millisecond
		c := dial(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.Send(ctx, envelope(t, "a@example.net"), 0, endless{})
		if f := fault.As(err); f == nil || f.Kind != fault.Temporary || f.Ambiguous {
			t.Errorf("got %v", err)
		}
	})
}

// endless is a body that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "0123456789abcde\n"[i%16]
	}
	return len(p), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("disk gone") }

type recorder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (r *recorder) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.WriteString(line + "\n")
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func TestEchoedCredentialsAreCutOff(t *testing.T) {
	t.Parallel()
	u := serve(t, dialogue(t, "echo"))
	var trace recorder
	cfg := u.config()
	cfg.Trace = trace.add
	err := dial(t, cfg).Auth(t.Context(), xoauth2)
	if r := fault.ReplyOf(err); r == nil || r.Code != "500" {
		t.Fatalf("got %v", err)
	}
	for _, text := range []string{err.Error(), trace.String()} {
		if strings.Contains(text, "QmVhcmVyI") || !strings.Contains(text, "unrecognized") {
			t.Errorf("it shows too much or too little:\n%s", text)
		}
	}
	u.asWritten(t)
}
