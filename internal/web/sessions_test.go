package web_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/bridge"
	"postern/internal/fault"
	"postern/internal/mail"
)

// fakeReaders are the sessions of a test.
type fakeReaders struct {
	mu    sync.Mutex
	open  []bridge.Session
	ended []string // who and what
	err   error
}

func (f *fakeReaders) Sessions(context.Context) ([]bridge.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open, f.err
}

func (f *fakeReaders) EndSession(_ context.Context, who, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != "1f2e3d4c5b6a" {
		return fault.New(fault.NotFound, "end session", "there is no session %q", id)
	}
	f.ended = append(f.ended, who+" "+id)
	return nil
}

func reading(device string) bridge.Session {
	return bridge.Session{
		ID: "1f2e3d4c5b6a", Protocol: bridge.IMAP, Device: device, Account: "scan", Mailbox: mail.Address{Local: "scan", Domain: "contoso.com"},
		Remote: netip.MustParseAddrPort("192.0.2.7:40312").String(), Since: time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC), In: 12_000, Out: 7_000_000,
	}
}

func TestSessionsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.admin(s.request("GET", "/sessions", nil)).says(t, "Nobody reads a mailbox", "!<table")
	s.readers.open = []bridge.Session{reading("tickets<b>")}
	a := s.admin(s.request("GET", "/sessions", nil))
	a.says(t, "192.0.2.7:40312", "scan@contoso.com", "imap", "3 Nov 2026, 09:30:00 UTC", "7 MB")
	if strings.Contains(a.body, "tickets<b>") {
		t.Error("a name came through as markup")
	}
	if a := s.admin(s.request("POST", "/sessions/1f2e3d4c5b6a/end", nil)); a.StatusCode != 303 || a.Header.Get("Location") != "/sessions" {
		t.Errorf("end: %d to %s", a.StatusCode, a.Header.Get("Location"))
	}
	if len(s.readers.ended) != 1 || !strings.HasPrefix(s.readers.ended[0], "web:") || !strings.HasSuffix(s.readers.ended[0], " 1f2e3d4c5b6a") {
		t.Errorf("ended %q", s.readers.ended)
	}
	if a := s.admin(s.request("POST", "/sessions/gone/end", nil)); a.StatusCode != 303 {
		t.Errorf("one that has ended: %d", a.StatusCode)
	}
	s.readers.err = errors.New("the database is away")
	s.admin(s.request("GET", "/sessions", nil)).says(t, "could not be looked up")
}
