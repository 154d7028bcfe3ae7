package door_test

import (
	"reflect"
	"strings"
	"testing"

	"postern/internal/door"
	"postern/internal/mail"
)

func TestReportsThatSendersAskFor(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.dial(t).play(file(t, "opening") + plainLogin +
		"C: MAIL FROM:<office@contoso.com> RET=FULL ENVID=QQ+2B314\nS: 250\n" +
		"C: RCPT TO:<a@example.net> NOTIFY=success,FAILURE ORCPT=rfc822;Bob+2BX@example.net\nS: 250\n" +
		"C: RCPT TO:<b@example.net>\nS: 250\nC: RCPT TO:<c@example.net> NOTIFY=NEVER\nS: 250\nC: DATA\nS: 354\nC: x\nC: .\nS: 250\n")
	kept, _ := g.shelf.all()
	if len(kept) != 1 {
		t.Fatalf("%d messages", len(kept))
	}
	if want := (mail.Notice{Return: mail.ReturnFull, EnvelopeID: "QQ+314"}); kept[0].Notice != want {
		t.Errorf("got %+v, want %+v", kept[0].Notice, want)
	}
	var got []mail.RecipientNotice
	for _, r := range kept[0].Recipients {
		got = append(got, r.RecipientNotice)
	}
	want := []mail.RecipientNotice{{Notify: mail.NotifySuccess | mail.NotifyFailure, Original: "rfc822;Bob+X@example.net"}, {}, {Notify: mail.NotifyNever}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBadReportParameters(t *testing.T) {
	t.Parallel()
	const from, to = "C: MAIL FROM:<office@contoso.com>", "C: RCPT TO:<a@example.net>"
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin)
	for _, bad := range []string{"RET=ALL", "ENVID=", "ENVID=a+2", "ENVID=+0A", "ENVID=" + strings.Repeat("x", 101)} {
		c.play(from + " " + bad + "\nS: 501 5.5.4\n")
	}
	c.play(from + "\nS: 250\n")
	for _, bad := range []string{"NOTIFY=NEVER,SUCCESS", "NOTIFY=", "NOTIFY=SOMETIMES", "NOTIFY=DELAY,DELAY", "ORCPT=a@b", "ORCPT=x400;a", "ORCPT=rfc822;a+0Ab"} {
		c.play(to + " " + bad + "\nS: 501 5.5.4\n")
	}
}

// A binary message comes in by BDAT, and goes on as text that every server takes.
func TestBinaryMessage(t *testing.T) {
	t.Parallel()
	const begin = "C: MAIL FROM:<office@contoso.com> BODY=BINARYMIME\nS: 250\nC: RCPT TO:<a@example.net>\nS: 250\n"
	g := open(t)
	g.dial(t).play(file(t, "opening") + plainLogin + begin + "C: DATA\nS: 502 5.5.1\nC: RSET\nS: 250\n" + begin +
		`R: "BDAT 45\r\nContent-Transfer-Encoding: binary\r\nX: y\r\n\r\n\n\r"` + "\nS: 250\n" + `R: "BDAT 7 LAST\r\n\r\n.\r\n\x00\xff"` + "\nS: 250 2.0.0 Ok: queued as \n")
	kept, bodies := g.shelf.all()
	if len(kept) != 1 || !kept[0].EightBit || !strings.HasSuffix(bodies[0], "X: y\r\nContent-Transfer-Encoding: base64\r\n\r\nCg0NCi4NCgD/\r\n") {
		t.Errorf("kept %+v %q", kept, bodies)
	}
}

// A size that no 32 bits hold is a number all the same (RFC 1870 §4), and is too large only
// where the limit is smaller.
func TestHugeSizesAnnounced(t *testing.T) {
	t.Parallel()
	const from = "C: MAIL FROM:<office@contoso.com> "
	g := open(t)
	c := g.dial(t)
	c.play(file(t, "opening") + plainLogin)
	for _, huge := range []string{"SIZE=4294967295", "SIZE=4294967296", "SIZE=5000000000", "size=99999999999999999999 BODY=8BITMIME", "BODY=8BITMIME SIZE=" + strings.Repeat("9", 40)} {
		c.play(from + huge + "\nS: 552 5.3.4\n")
	}
	for _, bad := range []string{"SIZE=", "SIZE=-5000000000", "SIZE=5000000000x", "SIZE=5000000000 RET=ALL SIZE=x"} {
		c.play(from + bad + "\nS: 501 5.5.4\n")
	}
	c.play(`C: MAIL FROM:<"a SIZE=5000000000 b"@contoso.com>` + "\nS: 501 5.1.7\n")
	c.play(from + "SIZE=0000000000000000000000001\nS: 250\n")

	roomy := open(t, func(cfg *door.SMTPConfig, _ *shelf) { cfg.MaxSize = 8 << 30 }).dial(t)
	roomy.play(file(t, "opening") + plainLogin + from + "SIZE=5000000000\nS: 250\n")
}
