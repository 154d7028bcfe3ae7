package door_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"postern/internal/door"
	"postern/internal/relay"
)

// talking is a door that speaks with a program, as the scanner, whose networks and want
// of a login do not count there.
func talking(t *testing.T) (*door.SMTP, *gate) {
	t.Helper()
	g := open(t)
	d, err := g.devices.Device(t.Context(), "scanner")
	if err != nil {
		t.Fatal(err)
	}
	s, err := door.NewSMTP(door.SMTPConfig{
		Local: &d, Logins: door.NewLogins(g.devices, time.Millisecond, 0), Hostname: "door.example", TLS: &tls.Config{MinVersion: tls.VersionTLS12},
		Relay: relay.New(relay.Config{Store: g.shelf, Hostname: "door.example"}), Account: accountOfOffice,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, g
}

// A program may say all it has to say and hang up: it gets every answer, and the message
// is taken.
func TestProgramThatSaysAllAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{"and says farewell": "QUIT\r\n", "and hangs up": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, g := talking(t)
			var out strings.Builder
			in := "EHLO program\r\nMAIL FROM:<office@contoso.com>\r\nRCPT TO:<a@example.net>\r\nDATA\r\nx\r\n..\r\n.\r\nMAIL FROM:<boss@contoso.com>\r\n" + end
			if err := s.Talk(t.Context(), strings.NewReader(in), &out); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"220 door.example", "\r\n250 2.0.0 Ok: queued as ", "\r\n550 5.7.1 This device may not send as <boss@contoso.com>"} {
				if !strings.Contains("\r\n"+out.String(), want) {
					t.Errorf("it was not told %q:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "AUTH") || strings.Contains(out.String(), "STARTTLS") || (end != "") != strings.Contains(out.String(), "\r\n221 ") {
				t.Errorf("it was told\n%s", out.String())
			}
			if _, bodies := g.shelf.all(); len(bodies) != 1 || !strings.HasSuffix(bodies[0], "\r\n\r\nx\r\n.\r\n") {
				t.Errorf("kept %q", bodies)
			}
		})
	}
}

// What a program breaks off is not taken, whatever it has said before; and one that
// listens before it speaks is answered at once.
func TestProgramThatBreaksOff(t *testing.T) {
	t.Parallel()
	s, g := talking(t)
	in, say := io.Pipe()
	hear, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- s.Talk(t.Context(), in, out) }()
	answers := bufio.NewReader(hear)
	expect := func(want string) {
		t.Helper()
		for {
			line, err := answers.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want[:3]) {
				t.Fatalf("%q instead of %q, %v", line, want, err)
			}
			if line[3] == ' ' {
				return
			}
		}
	}
	expect("220")
	for _, turn := range [][2]string{{"EHLO program\r\n", "250"}, {"MAIL FROM:<office@contoso.com>\r\n", "250"}, {"RCPT TO:<a@example.net>\r\n", "250"}, {"DATA\r\n", "354"}} {
		if _, err := io.WriteString(say, turn[0]); err != nil {
			t.Fatal(err)
		}
		expect(turn[1])
	}
	if _, err := io.WriteString(say, "Subject: half\r\n\r\nhalf a message\r\n"); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, hear) }() // until the test ends
	_ = say.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if kept, _ := g.shelf.all(); len(kept) != 0 {
		t.Errorf("kept %+v", kept)
	}
	_ = out.Close()
}
