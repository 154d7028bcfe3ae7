package sasl_test

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/sasl"
	"postern/internal/secret"
)

func vectors(t testing.TB) [][3]string {
	t.Helper()
	text, err := os.ReadFile("testdata/xoauth2.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out [][3]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 {
			out = append(out, [3]string(f))
		}
	}
	if len(out) != 3 {
		t.Fatalf("%d vectors, want 3", len(out))
	}
	return out
}

func TestXOAUTH2ClientVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		mech, ir, err := sasl.NewXOAUTH2Client(v[0], secret.New(v[1])).Start()
		if err != nil || mech != "XOAUTH2" {
			t.Fatalf("Start: %q, %v", mech, err)
		}
		if got := base64.StdEncoding.EncodeToString(ir); got != v[2] {
			t.Errorf("%s\n got %s\nwant %s", v[0], got, v[2])
		}
	}
}

func TestXOAUTH2ClientAnswersOneChallenge(t *testing.T) {
	t.Parallel()
	c := sasl.NewXOAUTH2Client("a@b.example", secret.New("t"))
	if _, _, err := c.Start(); err != nil {
		t.Fatal(err)
	}
	answer, err := c.Next([]byte(`{"status":"401"}`))
	if err != nil || answer == nil || len(answer) != 0 {
		t.Fatalf("first challenge: %q, %v; want an empty answer", answer, err)
	}
	if _, err = c.Next(nil); !errors.Is(err, gosasl.ErrUnexpectedServerChallenge) {
		t.Errorf("second challenge: %v", err)
	}
}

func TestXOAUTH2ClientRefusesSeparatorInMailbox(t *testing.T) {
	t.Parallel()
	for _, mailbox := range []string{"", "a@b\x01auth=Bearer x", "a@b\r\n"} {
		if _, _, err := sasl.NewXOAUTH2Client(mailbox, secret.New("t")).Start(); err == nil {
			t.Errorf("%q was let through", mailbox)
		}
	}
}

func TestParseXOAUTH2(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, user, token string }{
		"exact":             {"user=a@b\x01auth=Bearer T\x01\x01", "a@b", "T"},
		"Microsoft sample":  {"user=a@b\x01Auth=Bearer T\x01\x01", "a@b", "T"},
		"order and case":    {"AUTH=bearer T\x01User=a@b\x01\x01", "a@b", "T"},
		"no closing":        {"user=a@b\x01auth=Bearer T", "a@b", "T"},
		"equals in token":   {"user=a@b\x01auth=Bearer T==\x01\x01", "a@b", "T=="},
		"unknown field":     {"user=a@b\x01host=x\x01auth=Bearer T\x01\x01", "a@b", "T"},
		"no user":           {"auth=Bearer T\x01\x01", "", ""},
		"empty user":        {"user=\x01auth=Bearer T\x01\x01", "", ""},
		"no token":          {"user=a@b\x01auth=Bearer \x01\x01", "", ""},
		"wrong scheme":      {"user=a@b\x01auth=Basic T\x01\x01", "", ""},
		"two users":         {"user=a@b\x01user=c@d\x01auth=Bearer T\x01\x01", "", ""},
		"line break":        {"user=a@b\x01auth=Bearer T\r\nX\x01\x01", "", ""},
		"empty":             {"", "", ""},
		"field without key": {"user=a@b\x01nonsense\x01auth=Bearer T\x01\x01", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, token, err := sasl.ParseXOAUTH2([]byte(c.in))
			if user != c.user || token.Reveal() != c.token || (err == nil) != (c.user != "") {
				t.Errorf("got %q %q %v", user, token.Reveal(), err)
			}
		})
	}
}

func TestXOAUTH2Server(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	auth := func(user string, token secret.Text) error {
		if user != "a@b" || token.Reveal() != "T" {
			return refused
		}
		return nil
	}
	t.Run("two steps", func(t *testing.T) {
		t.Parallel()
		s := sasl.NewXOAUTH2Server(auth)
		challenge, done, err := s.Next(nil)
		if challenge == nil || len(challenge) != 0 || done || err != nil {
			t.Fatalf("asked with %q %v %v", challenge, done, err)
		}
		if _, done, err = s.Next([]byte("user=a@b\x01Auth=Bearer T\x01\x01")); !done || err != nil {
			t.Fatalf("answered with %v %v", done, err)
		}
		if _, _, err = s.Next([]byte("again")); !errors.Is(err, gosasl.ErrUnexpectedClientResponse) {
			t.Errorf("third step: %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		if _, _, err := sasl.NewXOAUTH2Server(auth).Next([]byte("user=a@b\x01auth=Bearer X\x01\x01")); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		t.Parallel()
		if _, _, err := sasl.NewXOAUTH2Server(auth).Next([]byte{}); !errors.Is(err, sasl.ErrMalformed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLoginServer(t *testing.T) {
	t.Parallel()
	for name, withName := range map[string]bool{"asked for both": false, "name on the AUTH line": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var user, password string
			s := sasl.NewLoginServer(func(u string, p secret.Text) error {
				user, password = u, p.Reveal()
				return nil
			})
			if !withName {
				if challenge, done, err := s.Next(nil); string(challenge) != "Username:" || done || err != nil {
					t.Fatalf("first: %q %v %v", challenge, done, err)
				}
			}
			if challenge, done, err := s.Next([]byte("scanner")); string(challenge) != "Password:" || done || err != nil {
				t.Fatalf("after the name: %q %v %v", challenge, done, err)
			}
			if _, done, err := s.Next([]byte("pass word")); !done || err != nil {
				t.Fatalf("after the password: %v %v", done, err)
			}
			if user != "scanner" || password != "pass word" {
				t.Errorf("got %q %q", user, password)
			}
			if _, _, err := s.Next([]byte("more")); err == nil {
				t.Error("a step after the last")
			}
		})
	}
}

func FuzzParseXOAUTH2(f *testing.F) {
	for _, v := range vectors(f) {
		b, err := base64.StdEncoding.DecodeString(v[2])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("Auth=Bearer T\x01USER=a@b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		user, token, err := sasl.ParseXOAUTH2(in)
		if (err == nil) == (user == "" || token.Empty()) {
			t.Fatalf("%q gave %q, empty token %v, %v", in, user, token.Empty(), err)
		}
		if err != nil {
			return
		}
		_, again, err := sasl.NewXOAUTH2Client(user, token).Start()
		if err != nil {
			t.Fatalf("what was parsed from %q cannot be sent: %v", in, err)
		}
		u2, t2, err := sasl.ParseXOAUTH2(again)
		if err != nil || u2 != user || t2 != token {
			t.Fatalf("%q does not survive a round trip", in)
		}
	})
}
