package mail_test

import (
	"strings"
	"testing"

	"postern/internal/mail"
)

func TestParseNotify(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]mail.Notify{
		"":                      0,
		"NEVER":                 mail.NotifyNever,
		"success,Failure,DELAY": mail.NotifySuccess | mail.NotifyFailure | mail.NotifyDelay,
		"DELAY":                 mail.NotifyDelay,
	} {
		got, err := mail.ParseNotify(in)
		if err != nil || got != want || !strings.EqualFold(got.String(), in) {
			t.Errorf("%q: %v (%v), %v", in, uint8(got), got, err)
		}
	}
	for _, in := range []string{"NEVER,DELAY", "SUCCESS,SUCCESS", "SUCCESS,", "often", " NEVER"} {
		if got, err := mail.ParseNotify(in); err == nil {
			t.Errorf("%q gave %v", in, got)
		}
	}
}

func TestWants(t *testing.T) {
	t.Parallel()
	for n, wants := range map[mail.Notify]mail.Notify{
		0: mail.NotifyFailure, mail.NotifyNever: 0, mail.NotifyDelay: mail.NotifyDelay, mail.NotifyFailure: mail.NotifyFailure,
	} {
		for _, on := range []mail.Notify{mail.NotifySuccess, mail.NotifyFailure, mail.NotifyDelay} {
			if n.Wants(on) != (wants == on) {
				t.Errorf("%q wants %v: %t", n, on, n.Wants(on))
			}
		}
	}
}

func TestXtext(t *testing.T) {
	t.Parallel()
	if got := mail.Xtext("rfc822;a+b=c d@example.net\r\n"); got != "rfc822;a+2Bb+3Dc+20d@example.net+0D+0A" {
		t.Errorf("got %q", got)
	}
}

func FuzzParseNotify(f *testing.F) {
	for _, s := range []string{"", "NEVER", "success,DELAY", "FAILURE,FAILURE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := mail.ParseNotify(s)
		if err != nil {
			return
		}
		if again, err := mail.ParseNotify(n.String()); err != nil || again != n {
			t.Errorf("%q gave %v, which gives %v, %v", s, n, again, err)
		}
	})
}
