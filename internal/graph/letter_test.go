package graph_test

import (
	"bytes"
	"encoding/base64"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"

	"postern/internal/graph"
)

// folded is the header of a message as it goes out to an envelope.
func folded(t *testing.T, header string, to ...string) string {
	t.Helper()
	raw, ok, err := graph.Whole(letter(t, header+"\r\nbody", to...), 1<<20)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	got, found := strings.CutSuffix(string(raw), "\r\nbody")
	if !found {
		t.Fatalf("the body is not where it was: %q", raw)
	}
	return got
}

func TestEnvelopeInHeaders(t *testing.T) {
	t.Parallel()
	const id = "Message-ID: <0123@contoso.com>\r\n"
	for name, c := range map[string]struct {
		header string
		to     []string
		want   string
	}{
		"nobody named":   {"Subject: x\r\n", []string{"a@x.example"}, "Subject: x\r\n" + id + "Bcc: <a@x.example>\r\n"},
		"all named":      {"To: a@x.example\r\nCc: b@x.example\r\n", []string{"a@x.example", "b@x.example"}, id + "To: <a@x.example>\r\nCc: <b@x.example>\r\n"},
		"one not mailed": {"To: a@x.example, no@x.example\r\nCc: no@x.example\r\n", []string{"a@x.example"}, id + "To: <a@x.example>\r\n"},
		"case differs":   {"To: A@X.Example\r\n", []string{"a@x.example"}, id + "To: <A@X.Example>\r\n"},
		"Bcc of the sender": {"Bcc: a@x.example, no@x.example\r\nTo: b@x.example\r\nResent-Bcc: s@x.example\r\n", []string{"a@x.example", "b@x.example"},
			id + "To: <b@x.example>\r\nBcc: <a@x.example>\r\n"},
		"folded":         {"To: a@x.example,\r\n\tB\r\n <b@x.example>\r\n", []string{"b@x.example"}, id + "To: \"B\"\r\n <b@x.example>\r\n"},
		"group":          {"To: Team: a@x.example, no@x.example;, b@x.example\r\n", []string{"a@x.example", "b@x.example"}, id + "To: <a@x.example>,\r\n <b@x.example>\r\n"},
		"undisclosed":    {"To: undisclosed-recipients:;\r\n", []string{"a@x.example"}, id + "Bcc: <a@x.example>\r\n"},
		"semicolons":     {"To: a@x.example; B <b@x.example>;\r\n", []string{"a@x.example", "b@x.example"}, id + "To: <a@x.example>,\r\n \"B\"\r\n <b@x.example>\r\n"},
		"encoded word":   {"To: =?iso-8859-1?q?J=FCrgen?= <a@x.example>\r\n", []string{"a@x.example"}, id + "To: =?utf-8?q?J=C3=BCrgen?=\r\n <a@x.example>\r\n"},
		"quoted comma":   {"To: \"a, b@x.example\" <a@x.example>\r\n", []string{"a@x.example", "b@x.example"}, id + "To: \"a, b@x.example\"\r\n <a@x.example>\r\nBcc: <b@x.example>\r\n"},
		"bare comma":     {"To: Smith, John <a@x.example>\r\n", []string{"a@x.example"}, id + "To: \"John\"\r\n <a@x.example>\r\n"},
		"comment":        {"To: a@x.example (b@x.example, no)\r\n", []string{"a@x.example", "b@x.example"}, id + "To: \"b@x.example, no\"\r\n <a@x.example>\r\nBcc: <b@x.example>\r\n"},
		"8-bit":          {"To: J\xfcrgen <a@x.example>\r\n", []string{"a@x.example"}, id + "To: <a@x.example>\r\n"},
		"never closed":   {"To: \"a <a@x.example>, b@x.example\r\n", []string{"a@x.example", "b@x.example"}, id + "To: <a@x.example>\r\nBcc: <b@x.example>\r\n"},
		"quoted local":   {"To: \"a b\"@x.example\r\n", []string{`"a b"@x.example`}, id + "To: <\"a b\"@x.example>\r\n"},
		"two To fields":  {"To: a@x.example\r\nTo: b@x.example\r\n", []string{"a@x.example", "b@x.example"}, id + "To: <a@x.example>,\r\n <b@x.example>\r\n"},
		"own identity":   {"Message-ID: <mine@x.example>\r\n", []string{"a@x.example"}, "Message-ID: <mine@x.example>\r\nBcc: <a@x.example>\r\n"},
		"empty identity": {"Message-ID:\r\nSubject: x\r\n", []string{"a@x.example"}, "Subject: x\r\n" + id + "Bcc: <a@x.example>\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := folded(t, c.header, c.to...); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	const raw = "From: scan@contoso.com\r\nTo: a@contoso.com\r\nMessage-ID: <1@x>\r\n\r\n"
	body := strings.Repeat("0123456789", 1000)
	whole, _, err := graph.Whole(letter(t, raw+body, "a@contoso.com"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int64]bool{int64(len(whole)): true, int64(len(whole)) - 1: false, 10: false} {
		for _, known := range []int64{int64(len(raw + body)), 0} {
			l, err := graph.Read(envelope("a@contoso.com"), known, strings.NewReader(raw+body))
			if err != nil {
				t.Fatal(err)
			}
			got, fits, err := graph.Whole(l, limit)
			if err != nil || fits != want || fits && !bytes.Equal(got, whole) {
				t.Errorf("limit %d, size %d: fits %v, %d octets, %v", limit, known, fits, len(got), err)
			}
			if fits {
				continue
			}
			if text, err := graph.TakeApart(l, nil); err != nil || text != body {
				t.Errorf("limit %d, size %d: %d octets are left, %v", limit, known, len(text), err)
			}
		}
	}
}

// Whatever the headers say, those who get the mail are those of the envelope.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		"To: a@x.example, Team: b@x.example;\r\nCc: \"no\" <no@x.example>\r\n", "To: \"a <a@x.example>, b@x.example\r\n",
		"to: =?utf-8?b?w7w=?= <a@x.example>;b@x.example\r\nBCC: (c)c@x.example\r\n", "To: <a@x.example\r\n b@x.example>\r\nX\r\n", "To:\\\"(", "To: :a@x.example:b@x.example",
	} {
		f.Add(s)
	}
	to := []string{"a@x.example", "b@x.example"}
	f.Fuzz(func(t *testing.T, header string) {
		l, err := graph.Read(envelope(to...), 0, strings.NewReader(header+"\r\n\r\nbody"))
		if err != nil {
			return
		}
		raw, ok, err := graph.Whole(l, 4<<20)
		if err != nil || !ok {
			return
		}
		m, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Skip() // another field is not what net/mail takes
		}
		var got []string
		for _, name := range []string{"To", "Cc", "Bcc"} {
			for _, v := range m.Header[name] {
				list, err := netmail.ParseAddressList(v)
				if err != nil {
					t.Fatalf("%s %q of %q: %v", name, v, header, err)
				}
				for _, a := range list {
					got = append(got, strings.ToLower(a.Address))
				}
			}
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, to) {
			t.Fatalf("%q goes to %q", header, got)
		}
	})
}

func TestBase64IsWhole(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	for _, n := range []int{0, 1, 2, 3, 12287, 12288, 12289, 100_000} {
		body := base64.StdEncoding.EncodeToString(bytesOf(n))
		raw := "From: scan@contoso.com\r\nMessage-ID: <1@x>\r\n\r\n" + body
		if err := p.send(raw, "n@x.example"); err != nil {
			t.Fatal(err)
		}
		sent := p.world.Messages("scan@contoso.com", "Sent Items")
		if got := string(sent[len(sent)-1].Raw); !strings.HasSuffix(got, "\r\n\r\n"+body) {
			t.Errorf("%d octets came out as %d", len(raw), len(got))
		}
	}
}
