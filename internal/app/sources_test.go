package app

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

func TestBothProtocolsOpen(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.offerPOP3()
	s.put("contoso", "scan", vault.Application, "", vault.IMAP, vault.POP3)
	s.must(s.sim.Deliver("scan@contoso.com", []byte("Subject: one\r\n\r\nx\r\n")))
	for _, protocol := range []fetch.Protocol{fetch.IMAP, fetch.POP3} {
		source, err := sources{s.App, &seats{}}.Open(t.Context(), "scan", protocol)
		s.must(err)
		if _, ids, err := source.Search(t.Context(), mailbox.Query{}); err != nil || ids.Len() != 1 || source.Mailbox() != "scan@contoso.com" {
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

// TestRefusedDeletionOverPOP3 is no deletion: the message is there, and the next run asks
// again.
func TestRefusedDeletionOverPOP3(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx := t.Context()
	s.offerPOP3()
	s.put("contoso", "scan", vault.Application, "", vault.POP3)
	s.must(s.Store.PutTask(ctx, fetch.Task{Name: "bills", Account: "scan", Spec: fetch.Spec{
		Source: fetch.Origin{Protocol: fetch.POP3, Start: fetch.StartAll}, Handover: fetch.Handover{Directory: t.TempDir()}, After: fetch.Action{Do: fetch.Delete},
	}}))
	for _, name := range []string{"one", "two"} {
		s.must(s.sim.Deliver("scan@contoso.com", []byte("Subject: s\r\nContent-Disposition: attachment; filename="+name+".bin\r\n\r\n"+name+"\r\n")))
	}
	// Both together, and then the first alone.
	s.sim.World.Arm(world.Fault{Where: "pop3", Stage: "store", Kind: world.FaultReply, Code: "-ERR no", Times: 3})
	for run, want := range []struct {
		left   int
		states map[fetch.EntryState]int
	}{
		{1, map[fetch.EntryState]int{fetch.Done: 1, fetch.ActionFailed: 1}},
		{0, map[fetch.EntryState]int{fetch.Done: 2}},
	} {
		if _, err := s.Fetch.RunTask(ctx, "bills", fetch.Options{}); (err != nil) != (want.left > 0) {
			t.Errorf("run %d: %v", run+1, err)
		}
		entries, err := s.Store.Entries(ctx, fetch.Filter{Task: "bills"})
		s.must(err)
		got := map[fetch.EntryState]int{}
		for _, e := range entries {
			got[e.State]++
		}
		if left := len(s.sim.Exchange.Folder("scan@contoso.com", "INBOX")); left != want.left || !maps.Equal(got, want.states) {
			t.Errorf("run %d leaves %d messages, and %v", run+1, left, got)
		}
	}
}
