package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"postern/internal/app"
	"postern/internal/catalogue"
	"postern/internal/check"
	"postern/internal/config"
	"postern/internal/declare"
	"postern/internal/mail"
	"postern/internal/sim365"
	"postern/internal/sim365/world"
)

// stand is Postern in front of the simulated Microsoft, where everything works.
type stand struct {
	sim     *sim365.Sim
	app     *app.App
	contoso sim365.Contoso
}

// prove provokes every known fault, one at a time.
func prove(ctx context.Context, dir string) (r result, err error) {
	s, err := arrange(ctx, dir)
	if err != nil {
		return r, err
	}
	defer func() {
		err = errors.Join(err, s.app.Close())
		s.sim.Stop()
	}()
	if err := s.works(ctx); err != nil {
		return r, err
	}
	for _, e := range s.app.Catalogue.All() {
		r.entries++
		for _, k := range faultsOf(e) {
			r.known++
			if k.why != "" {
				r.unprovoked = append(r.unprovoked, fmt.Sprintf("%s: %s", k, k.why))
				continue
			}
			wrong, err := s.provoke(ctx, k)
			if err != nil {
				return r, fmt.Errorf("%s: %w", k, err)
			}
			r.provoked++
			if wrong != "" {
				r.wrong = append(r.wrong, fmt.Sprintf("%s: %s", k, wrong))
			}
		}
	}
	return r, nil
}

// works makes sure that a check finds nothing wrong while nothing is: otherwise the
// faults would prove nothing.
func (s *stand) works(ctx context.Context) error {
	for _, name := range []string{"all", "bulk"} {
		acct, err := s.app.Vault.Account(ctx, name)
		if err != nil {
			return err
		}
		for _, p := range acct.Purposes {
			r, err := s.app.Check(ctx, acct, app.CheckWish{Purpose: p, TestTo: testTo()}, nil)
			if err != nil || !r.OK {
				return fmt.Errorf("%s for %s does not work before there is a fault: %s%w", name, p, r.Text(), err)
			}
		}
	}
	return nil
}

func testTo() mail.Address { return mail.Address{Local: "invoices", Domain: "contoso.com"} }

// provoke arms a fault and says what is wrong about what the check makes of it.
func (s *stand) provoke(ctx context.Context, k known) (wrong string, err error) {
	id := s.sim.World.Arm(k.fault)
	defer s.sim.World.Disarm(id)
	acct, err := s.app.Vault.Account(ctx, k.account)
	if err != nil {
		return "", err
	}
	before := s.sim.World.Count("fault")
	r, err := s.app.Check(ctx, acct, app.CheckWish{Purpose: k.purpose, TestTo: testTo()}, nil)
	switch {
	case err != nil:
		return "", err
	case s.sim.World.Count("fault") == before:
		return "the fault never struck", nil
	case r.OK:
		return "the check found nothing", nil
	}
	i := slices.IndexFunc(r.Stages, func(st check.Stage) bool { return st.Status == check.Fail })
	return s.compare(k, r.Stages[i]), nil
}

// compare says in what a stage differs from the entry.
func (s *stand) compare(k known, st check.Stage) string {
	values := k.values()
	values["tenant"], values["client_id"] = "contoso.com", s.contoso.App.ClientID
	values["sign_in_host"] = "localhost"
	want := k.entry.Fill(values)
	if k.code != "" { // of an unknown number the error value decides: invalid_grant
		want.Who = catalogue.User
	}
	switch {
	case st.Summary != want.Meaning:
		return fmt.Sprintf("%s says %q, and not %q", st.Name, st.Summary, want.Meaning)
	case !strings.Contains(st.Next, want.Fix):
		return fmt.Sprintf("the fix is %q, and not %q", st.Next, want.Fix)
	case st.Command != want.Command || st.Link != want.Link || st.Who != want.Who:
		return fmt.Sprintf("command %q, link %q, who %q", st.Command, st.Link, st.Who)
	}
	return ""
}

// arrange starts both and declares an account for every protocol.
func arrange(ctx context.Context, dir string) (*stand, error) {
	s := &stand{}
	var err error
	if s.sim, err = sim365.Start(ctx, sim365.Options{}); err != nil {
		return nil, err
	}
	s.contoso = s.sim.Contoso()
	s.sim.World.UpdateApp(s.contoso.App.ClientID, func(a *world.App) { a.AdminConsent = map[string]bool{s.contoso.Tenant.ID: true} })
	for _, u := range []world.User{s.contoso.Scan, s.contoso.HVE} { // the limits are no faults here
		s.sim.World.SetPolicy(u.UPN, func(p *world.MailboxPolicy) { p.Limits = world.Limits{} })
	}
	cfg, err := config.Load("", func(string) (string, bool) { return "", false }, map[string]string{"data_dir": dir, "hostname": "localhost"})
	if err != nil {
		return nil, err
	}
	if s.app, err = app.Open(ctx, cfg, app.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}); err != nil {
		return nil, err
	}
	doc, err := declare.Parse("the accounts", strings.NewReader(s.document()))
	if err != nil {
		return nil, err
	}
	_, err = s.app.Applier(func(string) (string, bool) { return s.sim.CAPEM(), true }).Apply(ctx, doc)
	return s, err
}

func (s *stand) document() string {
	return fmt.Sprintf(`
apps:
  - name: contoso
    tenant: contoso.com
    client_id: %s
    secret: {value: %q}
    cloud: custom
    custom:
      authority: %s
      graph: %s
      smtp: {host: localhost, port: %d, tls: starttls}
      hve: {host: localhost, port: %d, tls: starttls}
      imap: {host: localhost, port: %d, tls: implicit}
      pop3: {host: localhost, port: %d, tls: implicit}
      ca: {env: CA}
accounts:
  - {name: all, app: contoso, mailbox: scan@contoso.com, purposes: [send, imap, pop3, graph], sign_in: application}
  - {name: bulk, app: contoso, mailbox: hve@contoso.com, purposes: [hve], sign_in: application}
`, s.contoso.App.ClientID, s.contoso.App.Secret, s.sim.Authority(), s.sim.Graph(),
		s.sim.SMTP().Port, s.sim.HVE().Port, s.sim.IMAP().Port, s.sim.POP3().Port)
}
