package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/relay"
	"postern/internal/sim365/world"
	"postern/internal/vault"
)

// repliesAt says at which step of a session Exchange gives each answer of section 4.1 of
// the Microsoft reference. Every row of the catalogue is in it, and nothing else.
func repliesAt() map[string]string {
	at := map[string]string{}
	for stage, rows := range map[string]string{
		"auth": `auth_refused auth_disabled_tenant auth_disabled_mailbox basic_disabled security_defaults conditional_access password_wrong
			federation_down federation_plain auth_policy auth_other basic_retired auth_mechanism hve_user hve_token_age`,
		"mail": `not_authenticated sender_not_owned throttled unavailable dropped temporary old_tls sender_restricted sender_banned
			too_large bad_sequence unknown_command`,
		"rcpt": `hve_internal address_throttled address_suspicious daily_limit_code trial_limit tenant_external_limit too_many_of_domain
			too_many_recipients recipient_unknown recipient_rejected address_refused recipient_rate`,
		"dot": `send_as_denied connections recipient_busy daily_limit sender_full tenant_blocked domain_unregistered many_from
			bare_line_feed no_from`,
	} {
		for row := range strings.FieldsSeq(rows) {
			at["smtp."+row] = stage
		}
	}
	return at
}

// provoked is one message that meets one answer.
type provoked struct {
	row     catalogue.Entry
	reply   string
	times   int // how often Exchange says it; negative: always
	account string
	id      string
}

// hall is a relay with real accounts and a real store in front of the simulated
// Exchange, whose clock can be put ahead.
type hall struct {
	*stand
	relay *relay.Relay
	ahead atomic.Int64
}

func newHall(t *testing.T) *hall {
	t.Helper()
	h := &hall{stand: newStand(t)}
	h.relay = relay.New(relay.Config{
		Store: h.Store, Accounts: accounts{h.App}, Sender: &relay.SMTP{Routes: routes{h.App}, Tokens: tokens{h.Vault}},
		Poll: 20 * time.Millisecond, Now: h.now,
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.relay.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *hall) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// provoke hands in a message from a mailbox of its own, at which Exchange gives the
// answer.
func (h *hall) provoke(n int, stage string, p provoked) provoked {
	h.Helper()
	p.account = fmt.Sprintf("row%d", n)
	upn := p.account + "@contoso.com"
	contoso := h.sim.World.Apps()[0]
	h.sim.World.AddUser(world.User{TenantID: contoso.HomeTenant, UPN: upn, AppPassword: appPassword})
	h.sim.World.UpdateApp(contoso.ClientID, func(a *world.App) { a.FullAccess[upn] = true })
	if p.row.Class == catalogue.NeedsSignIn {
		h.put("hosts", p.account, vault.AppPassword, appPassword, vault.Send)
	} else {
		h.put("contoso", p.account, vault.Application, "", vault.Send)
	}
	h.sim.World.Arm(world.Fault{Where: "smtp", Stage: stage, Mailbox: upn, Kind: world.FaultReply, Code: p.reply, Times: p.times})
	from, err := mail.ParseAddress(upn)
	h.must(err)
	p.id, err = h.relay.Accept(h.Context(), relay.Submission{Device: "scanner", Account: p.account, From: from,
		To: []mail.Address{{Local: "boss", Domain: "example.net"}}}, strings.NewReader("Subject: x\n\ntext\n"))
	h.must(err)
	return p
}

// settled waits until the message is neither new nor on its way.
func (h *hall) settled(p provoked, tries int) relay.Message {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := h.Store.Message(ctx, p.id)
		h.must(err)
		if m.State != relay.Delivering && (m.Attempts >= tries || m.Kind == "needs_admin" || m.Kind == "needs_sign_in") {
			return m
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.Fatalf("%s: %q: not settled: %+v", p.row.ID, p.reply, m)
		}
	}
}

// ended is what a message has come to, in the words of the catalogue.
func (h *hall) ended(m relay.Message) (catalogue.Class, error) {
	a, err := h.Vault.Account(h.Context(), m.Account)
	h.must(err)
	wait := m.NotBefore.Sub(h.now()).Round(time.Second)
	between := func(low, high time.Duration) error {
		if wait < low-10*time.Second || wait > high {
			return fmt.Errorf("it waits for %v", wait)
		}
		return nil
	}
	switch {
	case m.State == relay.Failed && m.Kind == fault.Permanent.String():
		return catalogue.Permanent, nil
	case m.State != relay.Queued:
		return "", fmt.Errorf("it is %s", m.State)
	case m.Kind == string(catalogue.Throttled):
		return catalogue.Throttled, between(10*time.Second, 66*time.Minute)
	case m.Kind == string(catalogue.Quota):
		return catalogue.Quota, between(time.Hour, 66*time.Minute)
	case m.Kind == string(catalogue.Temporary):
		return catalogue.Temporary, between(30*time.Second, 33*time.Second)
	case a.By != vault.Server || string(a.State) != m.Kind:
		return "", errors.New("the account is not paused: " + string(a.State))
	}
	return catalogue.Class(m.Kind), nil
}

// Every answer of Exchange's on submission that the reference knows, given by the
// simulated Exchange, ends in the state that its class names.
func TestEveryReplyEndsInTheStateOfItsClass(t *testing.T) {
	t.Parallel()
	h, at := newHall(t), repliesAt()
	var all []provoked
	for _, row := range h.Catalogue.All() {
		if row.Protocol != catalogue.SMTP || row.Source != "4.1" {
			continue
		}
		stage, known := at[row.ID]
		if !known {
			t.Errorf("%s has no case", row.ID)
			continue
		}
		delete(at, row.ID)
		for _, reply := range row.Examples {
			if row.Retry == catalogue.Refresh { // once: a fresh token helps
				all = append(all, h.provoke(len(all), stage, provoked{row: row, reply: reply, times: 1}))
			}
			if row.Retry != catalogue.Refresh || row.Class == catalogue.NeedsAdmin {
				all = append(all, h.provoke(len(all), stage, provoked{row: row, reply: reply, times: -1}))
			}
		}
	}
	for id := range at {
		t.Errorf("%s is no row of the catalogue", id)
	}
	h.relay.Wake()
	var again []provoked
	for _, p := range all {
		m := h.settled(p, 1)
		switch {
		case p.times == 1:
			if m.State != relay.Delivered {
				t.Errorf("%s: %q: after a fresh token %s (%s)", p.row.ID, p.reply, m.State, m.Reason)
			}
			continue
		case m.State == relay.Queued && m.Kind == string(catalogue.Permanent): // it may be a fluke
			again = append(again, p)
			continue
		}
		if class, err := h.ended(m); class != p.row.Class || err != nil {
			t.Errorf("%s: %q: %s, %v; want %s", p.row.ID, p.reply, class, err, p.row.Class)
		}
	}
	h.ahead.Add(int64(2 * time.Minute))
	for _, p := range again {
		m := h.settled(p, 2)
		if class, err := h.ended(m); class != p.row.Class || err != nil || p.row.Retry != catalogue.Once || m.Attempts != 2 || m.Hint == "" {
			t.Errorf("%s: %q: tried again: %s, %v, hint %q", p.row.ID, p.reply, class, err, m.Hint)
		}
	}
	if len(again) != 3 {
		t.Errorf("%d were tried once more", len(again))
	}
}
