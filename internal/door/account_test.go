package door_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/mail"
)

func TestWhomAnAccountReaches(t *testing.T) {
	t.Parallel()
	box := mail.Address{Local: "hve", Domain: "contoso.com"}
	hve := door.Account{Mailbox: box, InsideOnly: true, Inside: []string{"Contoso.onmicrosoft.com"}}
	for _, c := range []struct {
		account door.Account
		to      string
		reached bool
	}{
		{door.Account{Mailbox: box}, "a@example.net", true},
		{hve, "a@contoso.com", true},
		{hve, "a@CONTOSO.com", true},
		{hve, "a@contoso.onmicrosoft.com", true},
		{hve, "a@sub.contoso.com", false},
		{hve, "a@example.net", false},
	} {
		to, err := mail.ParseAddress(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.account.Reaches(to); (err == nil) != c.reached || err != nil && (!errors.Is(err, fault.Denied) || fault.HintOf(err) == "") {
			t.Errorf("%s: %v", c.to, err)
		}
	}
}

// High Volume Email would refuse the message long after the device has gone.
func TestHVERefusesOutsideRecipientsAtTheDoor(t *testing.T) {
	t.Parallel()
	g := open(t, func(cfg *door.SMTPConfig, _ *shelf) {
		cfg.Account = func(context.Context, string) (door.Account, error) {
			return door.Account{Mailbox: mail.Address{Local: "office", Domain: "contoso.com"}, InsideOnly: true, Inside: []string{"fabrikam.com"}}, nil
		}
	})
	g.dial(t).play(file(t, "opening") + plainLogin + "C: MAIL FROM:<office@contoso.com>\nS: 250\n" +
		"C: RCPT TO:<a@contoso.com>\nS: 250\nC: RCPT TO:<b@fabrikam.com>\nS: 250\n" +
		"C: RCPT TO:<c@example.net>\nS: 550 5.7.1 accept recipient: High Volume Email (HVE) reaches recipients inside the organisation only, and example.net is not\n" +
		"C: DATA\nS: 354\nC: x\nC: .\nS: 250\n")
	kept, _ := g.shelf.all()
	if len(kept) != 1 || len(kept[0].Recipients) != 2 {
		t.Errorf("kept %+v", kept)
	}
	if log := g.log.String(); !strings.Contains(log, "recipient refused") || !strings.Contains(log, "device=scanner") {
		t.Errorf("the log says nothing of it: %s", log)
	}
}
