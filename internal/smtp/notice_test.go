package smtp_test

import (
	"strings"
	"testing"

	"postern/internal/mail"
)

func TestNoticesAreForServersThatKnowThem(t *testing.T) {
	t.Parallel()
	env := envelope(t, "bob@example.net", "eve@example.net")
	env.Notice = mail.Notice{Return: mail.ReturnFull, EnvelopeID: "a+b"}
	env.Notices = []mail.RecipientNotice{{Notify: mail.NotifySuccess | mail.NotifyDelay, Original: "rfc822;b=b@example.net"}, {Original: "utf-8;bøb@example.net"}}
	for offer, want := range map[string]string{
		"DSN":  "C: MAIL FROM:<user@contoso.com> RET=FULL ENVID=a+2Bb\nS: 250 ok\nC: RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+3Db@example.net\nS: 250 ok\nC: RCPT TO:<eve@example.net>\n",
		"HELP": "C: MAIL FROM:<user@contoso.com>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: RCPT TO:<eve@example.net>\n",
	} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			u := serve(t, "* TLS\nS: 220 x\nC: EHLO postern.example\nS: 250-x\nS: 250 "+offer+"\n"+want+
				"S: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 taken\n* CLOSE\n")
			cfg := u.config()
			cfg.Server.TLS = mail.Implicit
			res, err := dial(t, cfg).Send(t.Context(), env, 0, strings.NewReader("x"))
			if err != nil || !res.Accepted || res.Reports != (offer == "DSN") {
				t.Errorf("%+v, %v", res, err)
			}
			u.asWritten(t)
		})
	}
}
