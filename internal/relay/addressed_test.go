package relay_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
)

func TestReadAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, to, body string }{
		{"all fields", "To: a@x.example\nCc: \"B, b\" <b@x.example>,\n c@x.example\nBcc: d@x.example\nSubject: s\n\ntext", "a@x.example b@x.example c@x.example d@x.example",
			"To: a@x.example\r\nCc: \"B, b\" <b@x.example>,\r\n c@x.example\r\nSubject: s\r\n\r\ntext"},
		{"sent on", "To: a@x.example\nResent-To: b@x.example\nResent-Bcc: c@x.example\nBcc:\n d@x.example\n\nt", "b@x.example c@x.example", "To: a@x.example\r\nResent-To: b@x.example\r\n\r\nt"},
		{"group", "To: all (some, more): a@x.example, b@x.example;, c@x.example\nCc: undisclosed-recipients:;\n\n", "a@x.example b@x.example c@x.example",
			"To: all (some, more): a@x.example, b@x.example;, c@x.example\r\nCc: undisclosed-recipients:;\r\n\r\n"},
		{"local names", "To: root, <admin>\n\n", "root@here.example admin@here.example", "To: root, <admin>\r\n\r\n"},
		{"no header", "just text\n", "", "\r\njust text\r\n"},
		{"nothing", "", "", "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, err := relay.ReadAddresses(strings.NewReader(c.in))
			if err != nil {
				t.Fatal(err)
			}
			to, err := a.To("here.example")
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, one := range to {
				words = append(words, one.String())
			}
			body, err := io.ReadAll(a.Body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([2]string{c.to, c.body}, [2]string{strings.Join(words, " "), string(body)}); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestBrokenRecipientIsNotPassedOver(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"To: a@x.example, b@c@d\n\n", "To: <a@x.example\n\n", "Bcc: a b\n\n"} {
		a, err := relay.ReadAddresses(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if to, err := a.To("here.example"); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", in, to, err)
		}
	}
}

// FuzzReadAddresses wants no Bcc to survive, and nothing in an address that could leave it.
func FuzzReadAddresses(f *testing.F) {
	f.Add("To: a@x.example\nBcc: b@x.example\n c@x.example\n\ntext")
	f.Add("To: \"a\\\"\" <b@c>, (x) g: y;\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		a, err := relay.ReadAddresses(strings.NewReader(in))
		if err != nil {
			return
		}
		to, _ := a.To("here.example")
		for _, one := range to {
			if again, err := mail.ParseAddress(one.String()); err != nil || again != one {
				t.Errorf("%q is no address: %v", one, err)
			}
		}
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut("\r\n"+string(body), "\r\n\r\n") // it may be empty
		for line := range strings.Lines(header) {
			if strings.HasPrefix(strings.ToLower(line), "bcc:") {
				t.Errorf("Bcc is left in %q", header)
			}
		}
	})
}
