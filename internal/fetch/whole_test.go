package fetch_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/handover"
	"postern/internal/mail"
	"postern/internal/mailbox"
	"postern/internal/mailbox/imap"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/sim365"
	"postern/internal/sim365/world"
	"postern/internal/store"
	"postern/internal/vault"
)

const invoices = "invoices@contoso.com"

// These tests run tasks with the real ledger against the simulated Exchange.

// exchange signs in to the simulated Exchange.
type exchange struct {
	server mail.Server
	roots  *x509.CertPool
	token  func() string
}

func (e exchange) Open(ctx context.Context, account string, _ fetch.Protocol) (fetch.Source, error) {
	c, err := imap.Dial(ctx, mailbox.Config{Server: e.server, RootCAs: e.roots, Timeout: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	if err := c.Authenticate(ctx, sasl.NewXOAUTH2Client(account, secret.New(e.token()))); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c.Source(account), nil
}

// site is the simulator, a ledger and a task.
type site struct {
	*sim365.Sim
	exchange
	ledgerDir string
	ledger    *store.Store
	task      fetch.Task
}

func newSite(t *testing.T, change func(*fetch.Task)) *site {
	t.Helper()
	sim, err := sim365.Start(t.Context(), sim365.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Stop)
	contoso := sim.Contoso()
	s := &site{Sim: sim, ledgerDir: t.TempDir()}
	s.exchange = exchange{server: sim.IMAP(), roots: roots(sim.CAPEM()), token: func() string {
		return sim.World.IssueAccess(world.Token{
			TenantID: contoso.Tenant.ID, ClientID: contoso.App.ClientID, Resource: world.ExchangeResource,
			Scopes: []string{"IMAP.AccessAsUser.All"}, UserID: contoso.Invoices.ObjectID, UPN: contoso.Invoices.UPN,
		}).Raw
	}}
	s.ledger = openLedger(t, s.ledgerDir)
	s.task = fetch.Task{
		Name: "invoices", Account: invoices, Spec: fetch.Spec{
			Source: fetch.Origin{Start: fetch.StartAll, Which: fetch.Unread}, Handover: fetch.Handover{Directory: t.TempDir()},
			After: fetch.Action{Do: fetch.Move, To: "Archive"},
		},
	}
	if change != nil {
		change(&s.task)
	}
	if err := errors.Join(
		s.ledger.PutApp(t.Context(), vault.App{Name: "postern"}),
		s.ledger.PutAccount(t.Context(), vault.Account{Name: invoices, App: "postern"}),
		s.ledger.PutTask(t.Context(), s.task),
	); err != nil {
		t.Fatal(err)
	}
	return s
}

func roots(pem string) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(pem))
	return pool
}

func openLedger(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *site) fetcher() *fetch.Fetcher {
	return fetch.New(fetch.Config{Ledger: s.ledger, Sources: s.exchange, Holder: "node", Pause: time.Millisecond})
}

func (s *site) run(t *testing.T) fetch.Run {
	t.Helper()
	r, err := s.fetcher().RunTask(t.Context(), s.task.Name, fetch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func letter(n int, contents ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: anna@fabrikam.com\r\nTo: %s\r\nSubject: Invoice %d\r\nMessage-ID: <%d@fabrikam.com>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=frontier\r\n\r\n--frontier\r\n\r\nPlease find attached.\r\n", invoices, n, n)
	for _, c := range contents {
		fmt.Fprintf(&b, "--frontier\r\nContent-Type: application/pdf; name=invoice.pdf\r\nContent-Disposition: attachment; filename=invoice.pdf\r\n\r\n%s\r\n", c)
	}
	b.WriteString("--frontier--\r\n")
	return []byte(b.String())
}

func (s *site) deliver(t *testing.T, letters ...[]byte) {
	t.Helper()
	for _, l := range letters {
		if err := s.Deliver(invoices, l); err != nil {
			t.Fatal(err)
		}
	}
}

// handedOver returns the contents of the files that some manifest lists, sorted.
func handedOver(t *testing.T, dir string) (contents []string, manifests int) {
	t.Helper()
	lists, err := filepath.Glob(filepath.Join(dir, "*.manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		var m handover.Manifest
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Files {
			body, err := os.ReadFile(filepath.Join(dir, f.Name))
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(body)) != f.Size {
				t.Errorf("%s is not what its manifest says", f.Name)
			}
			contents = append(contents, string(body))
		}
	}
	slices.Sort(contents)
	return contents, len(lists)
}

func TestTaskAgainstExchange(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.deliver(t, letter(1, "alpha", "beta"), letter(2), letter(3, "gamma"))
	if r := s.run(t); r.Looked != 3 || r.Saved != 2 || r.Files != 3 {
		t.Errorf("%+v", r)
	}
	contents, manifests := handedOver(t, s.task.Handover.Directory)
	if !slices.Equal(contents, []string{"alpha", "beta", "gamma"}) || manifests != 2 {
		t.Errorf("%q in %d manifests", contents, manifests)
	}
	if n := len(s.Exchange.Folder(invoices, "Archive")); n != 2 {
		t.Errorf("%d messages in Archive", n)
	}
	inbox := s.Exchange.Folder(invoices, "INBOX")
	if len(inbox) != 1 || len(inbox[0].Flags) != 0 {
		t.Errorf("left in INBOX: %+v", inbox)
	}
	if r := s.run(t); r.Looked != 0 {
		t.Errorf("second run: %+v", r)
	}
}

// What is asked of the server narrows what is looked at.
func TestWhatExchangeIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, origin := range map[string]fetch.Origin{
		"search":           {Start: fetch.StartAll, Search: `OR SUBJECT "Invoice 3" SUBJECT "Invoice 7"`},
		"unflagged":        {Start: fetch.StartAll, Which: fetch.Unflagged},
		"unread":           {Start: fetch.StartAll, Which: fetch.Unread},
		"unread, searched": {Start: fetch.StartAll, Which: fetch.Unread, Search: `SUBJECT Invoice`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(task *fetch.Task) { task.Source, task.After = origin, fetch.Action{} })
			for i, content := range []string{"alpha", "beta", "gamma"} {
				flags := []string{`\Seen`, `\Flagged`}
				if i == 2 {
					flags = nil
				}
				s.Exchange.Append(invoices, "INBOX", letter(i+1, content), time.Now(), flags...)
			}
			if r := s.run(t); r.Looked != 1 || r.Saved != 1 {
				t.Errorf("%+v", r)
			}
			if contents, _ := handedOver(t, s.task.Handover.Directory); !slices.Equal(contents, []string{"gamma"}) {
				t.Errorf("%q", contents)
			}
		})
	}
}

func TestExchangeMisbehaves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault world.Fault
		kind  fault.Kind // of the run it strikes; Unknown: the run copes
	}{
		{"token runs out at a body", world.Fault{Stage: "fetch", Kind: world.FaultTokenExpired, Times: 1}, fault.Unknown},
		{"token runs out at the move", world.Fault{Stage: "move", Kind: world.FaultTokenExpired, Times: 1}, fault.Unknown},
		{"hangs up at the move", world.Fault{Stage: "move", Kind: world.FaultDrop, Times: 1}, fault.Unknown},
		{"hangs up behind the move", world.Fault{Stage: "move", Kind: world.FaultDropAfter, Times: 1}, fault.Unknown},
		{"hangs up behind a body", world.Fault{Stage: "fetch", Kind: world.FaultDropAfter, Times: 2}, fault.Unknown},
		{"garbage", world.Fault{Stage: "fetch", Kind: world.FaultGarbage, Times: 1}, fault.Unknown},
		{"search refused", world.Fault{Stage: "search", Kind: world.FaultReply, Code: "BAD Command Error. 10", Times: 1}, fault.Unknown},
		{"throttled", world.Fault{Stage: "select", Kind: world.FaultBackoff, Delay: 89 * time.Second, Times: 1}, fault.Throttled},
		{"refused sign-in", world.Fault{Stage: "auth", Kind: world.FaultReply, Code: "NO AUTHENTICATE failed.", Times: 1}, fault.NeedsSignIn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			s.deliver(t, letter(1, "alpha", "beta"), letter(2, "gamma"))
			tt.fault.Where = "imap"
			s.World.Arm(tt.fault)
			_, err := s.fetcher().RunTask(t.Context(), s.task.Name, fetch.Options{})
			if tt.kind == fault.Unknown && err != nil || tt.kind != fault.Unknown && !errors.Is(err, tt.kind) {
				t.Fatalf("%v (%s)", err, fault.KindOf(err))
			}
			if tt.kind == fault.Throttled && fault.As(err).RetryAfter != 89*time.Second {
				t.Errorf("wait %s", fault.As(err).RetryAfter)
			}
			if err != nil {
				s.run(t)
			}
			contents, manifests := handedOver(t, s.task.Handover.Directory)
			if !slices.Equal(contents, []string{"alpha", "beta", "gamma"}) || manifests != 2 {
				t.Errorf("%q in %d manifests", contents, manifests)
			}
			if n := len(s.Exchange.Folder(invoices, "Archive")); n != 2 {
				t.Errorf("%d messages in Archive", n)
			}
		})
	}
}

func TestMailboxWithoutLicence(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.World.SetPolicy(invoices, func(p *world.MailboxPolicy) { p.NoLicence = true })
	_, err := s.fetcher().RunTask(t.Context(), s.task.Name, fetch.Options{})
	if !errors.Is(err, fault.NeedsAdmin) {
		t.Errorf("%v (%s)", err, fault.KindOf(err))
	}
}

func TestFolderRenumberedByExchange(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(task *fetch.Task) { task.After, task.Source.Which = fetch.Action{}, fetch.All })
	s.deliver(t, letter(1, "alpha"), letter(2, "beta"))
	s.run(t)
	if err := s.Exchange.SetUIDValidity(invoices, "INBOX", 4711); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	if contents, manifests := handedOver(t, s.task.Handover.Directory); len(contents) != 2 || manifests != 2 {
		t.Errorf("%q in %d manifests", contents, manifests)
	}
}

// TestKilledAtEveryStep kills a process with SIGKILL at each of its steps, and lets
// the next one repair.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a process for every step")
	}
	for n := 1; ; n++ {
		s := newSite(t, nil)
		s.deliver(t, letter(1, "alpha", "beta"))
		died := s.child(t, n)
		later := fetch.New(fetch.Config{
			Ledger: s.ledger, Sources: s.exchange, Holder: "next", Pause: time.Millisecond,
			Now: func() time.Time { return time.Now().Add(time.Hour) }, // the dead one's lock has run out
		})
		if _, err := later.RunTask(t.Context(), s.task.Name, fetch.Options{}); err != nil {
			t.Fatalf("after step %d: %v", n, err)
		}
		contents, manifests := handedOver(t, s.task.Handover.Directory)
		pdfs, _ := filepath.Glob(filepath.Join(s.task.Handover.Directory, "*.pdf"))
		if !slices.Equal(contents, []string{"alpha", "beta"}) || manifests != 1 || len(pdfs) != 2 {
			t.Fatalf("killed at step %d: %q in %d manifests, files %q", n, contents, manifests, pdfs)
		}
		if archived := len(s.Exchange.Folder(invoices, "Archive")); archived != 1 {
			t.Fatalf("killed at step %d: %d messages in Archive", n, archived)
		}
		s.Stop()
		if err := s.ledger.Close(); err != nil {
			t.Fatal(err)
		}
		if !died {
			if n < 15 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
	}
}

// child runs the task in a process of its own that is killed at step n, and reports
// whether it came so far.
func (s *site) child(t *testing.T, n int) (died bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "FETCH_STEP="+strconv.Itoa(n), "FETCH_LEDGER="+s.ledgerDir,
		"FETCH_PORT="+strconv.Itoa(s.server.Port), "FETCH_ROOTS="+s.CAPEM(), "FETCH_TOKEN="+s.token())
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != -1 { // -1: ended by a signal
		t.Fatalf("child: %v\n%s", err, out)
	}
	return err != nil
}

// TestChild is the process that is killed.
func TestChild(t *testing.T) {
	step, err := strconv.Atoi(os.Getenv("FETCH_STEP"))
	if err != nil {
		t.Skip("only as a child of TestKilledAtEveryStep")
	}
	port, err := strconv.Atoi(os.Getenv("FETCH_PORT"))
	if err != nil {
		t.Fatal(err)
	}
	e := exchange{
		server: mail.Server{Host: "localhost", Port: port, TLS: mail.Implicit},
		roots:  roots(os.Getenv("FETCH_ROOTS")), token: func() string { return os.Getenv("FETCH_TOKEN") },
	}
	f := fetch.New(fetch.Config{Ledger: openLedger(t, os.Getenv("FETCH_LEDGER")), Sources: e, Holder: "child"})
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f.OnStep(func(string) {
		if step--; step == 0 {
			_ = self.Kill()
			select {} // until the signal is there
		}
	})
	if _, err := f.RunTask(t.Context(), "invoices", fetch.Options{}); err != nil {
		t.Fatal(err)
	}
}
