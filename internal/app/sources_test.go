package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/vault"
)

func TestBothProtocolsOpen(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	reg, err := s.Vault.App(t.Context(), "contoso")
	s.must(err)
	reg.Cloud.POP3 = s.sim.POP3()
	s.must(s.Vault.PutApp(t.Context(), reg, vault.Proof{}))
	s.put("contoso", "scan", vault.Application, "", vault.IMAP, vault.POP3)
	s.must(s.sim.Deliver("scan@contoso.com", []byte("Subject: one\r\n\r\nx\r\n")))
	for _, protocol := range []fetch.Protocol{fetch.IMAP, fetch.POP3} {
		source, err := sources{s.App, &seats{}}.Open(t.Context(), "scan", protocol)
		s.must(err)
		if _, ids, err := source.Search(t.Context(), mailbox.Query{}); err != nil || len(ids) != 1 || source.Mailbox() != "scan@contoso.com" {
			t.Errorf("%s: %s has %v, %v", protocol, source.Mailbox(), ids, err)
		}
		if _, watches := source.(fetch.Watcher); watches != (protocol == fetch.IMAP) {
			t.Errorf("%s watches: %t", protocol, watches)
		}
		s.must(source.Close())
	}
}

func TestSeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &seats{}
		box, other := mail.Address{Local: "in", Domain: "contoso.com"}, mail.Address{Local: "out", Domain: "contoso.com"}
		var leave func()
		for range mailboxSeats {
			var err error
			if leave, err = s.take(t.Context(), box); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.take(t.Context(), other); err != nil {
			t.Errorf("another mailbox waits too: %v", err)
		}
		if _, err := s.take(t.Context(), box); !errors.Is(err, fault.Temporary) || fault.HintOf(err) == "" {
			t.Errorf("one too many: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.take(ctx, box); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it waited on: %v", err)
		}
		time.AfterFunc(time.Second, leave)
		if _, err := s.take(t.Context(), box); err != nil {
			t.Errorf("a seat was left: %v", err)
		}
	})
}
