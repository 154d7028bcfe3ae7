package relay_test

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/fault"
	"postern/internal/mail"
)

func TestFromMustBeASenderThatMayBeUsed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in        string
		refused   string // what the refusal says; "" when it is taken
		rewritten string // the fields that Rewrite puts there; "" when nothing is to rewrite
	}{
		"the mailbox":       {in: "From: o@contoso.com\r\n"},
		"another case":      {in: "from: \"Scanner\" <O@Contoso.COM>\r\n"},
		"a listed alias":    {in: "From: Scans <scans@contoso.com>\r\n"},
		"a stranger":        {"From: ceo@contoso.com\r\n", "names ceo@contoso.com", "From: <o@contoso.com>\r\nReply-To: ceo@contoso.com\r\n"},
		"a stranger's name": {"From: \"The Boss\" <ceo@contoso.com>\r\n", "names ceo@contoso.com", "From: \"The Boss\" <o@contoso.com>\r\nReply-To: \"The Boss\" <ceo@contoso.com>\r\n"},
		"one of two":        {"From: o@contoso.com, ceo@contoso.com\r\n", "names o@contoso.com, ceo@contoso.com", "From: <o@contoso.com>\r\nReply-To: o@contoso.com, ceo@contoso.com\r\n"},
		"two headers":       {"From: o@contoso.com\r\nFrom: ceo@contoso.com\r\n", "2 From headers", "From: <o@contoso.com>\r\nReply-To: o@contoso.com\r\n"},
		"folded":            {"From:\r\n =?utf-8?q?K=C3=B6nig?=\r\n\t<ceo@contoso.com>\r\n", "names ceo@contoso.com", "From: =?utf-8?q?K=C3=B6nig?= <o@contoso.com>\r\nReply-To: =?utf-8?q?K=C3=B6nig?= <ceo@contoso.com>\r\n"},
		"no address":        {"From: scanner\r\n", "no mail address", "From: <o@contoso.com>\r\n"},
		"an empty group":    {"From: Nobody:;\r\n", "no mail address", "From: <o@contoso.com>\r\n"},
		"reply-to is kept":  {"From: ceo@contoso.com\r\nReply-To: x@y.example\r\n", "names ceo@contoso.com", "From: <o@contoso.com>\r\nReply-To: x@y.example\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const rest = "Date: x\r\nMessage-ID: <1@x>\r\n\r\nbody"
			sub := submission()
			sub.Senders = []mail.Address{sub.From, {Local: "scans", Domain: "contoso.com"}}
			store := newMemory(&history{})
			_, err := acceptor(store).Accept(t.Context(), sub, strings.NewReader(c.in+rest))
			if c.refused == "" && err != nil || c.refused != "" && (!errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.refused) || fault.HintOf(err) == "") {
				t.Errorf("got %v", err)
			}
			if c.refused != "" && len(store.messages) != 0 {
				t.Error("it was kept")
			}
			sub.Rewrite = true
			id, err := acceptor(store).Accept(t.Context(), sub, strings.NewReader(c.in+rest))
			if err != nil {
				t.Fatal(err)
			}
			want := c.rewritten
			if want == "" {
				want = c.in
			}
			_, got, _ := strings.Cut(string(store.messages[id].body), "+0100\r\n")
			if got != want+rest {
				t.Errorf("rewritten to %q, want %q", got, want+rest)
			}
		})
	}
}
