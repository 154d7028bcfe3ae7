package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Transport is how mail leaves an account.
type Transport string

// The transports.
const (
	Auto      Transport = "" // SMTP, and Graph while SMTP AUTH is switched off
	OverSMTP  Transport = "smtp"
	OverHVE   Transport = "hve"
	OverGraph Transport = "graph"
)

// over is the transport of a connection.
func over(up Upstream) Transport {
	if u, ok := up.(interface{ over() Transport }); ok {
		return u.over()
	}
	return OverSMTP
}

// Way is what an account may use, and what it was told to.
type Way struct {
	Fixed Transport
	SMTP  bool // submission, High Volume Email's included
	Graph bool
	HVE   bool  // SMTP is High Volume Email
	Large int64 // octets of a message that Graph does not take as it is; 0: none
}

// Detour is a transport that an account uses in place of the one it would.
type Detour struct {
	Account string    `json:"account"`
	Over    Transport `json:"over"`
	Reason  string    `json:"reason"` // the server's words
	Until   time.Time `json:"until"`  // then the first choice is tried again
}

// Detours keeps them across processes.
type Detours interface {
	// Detour is fault.NotFound when the account is on none at now.
	Detour(ctx context.Context, account string, now time.Time) (Detour, error)
	PutDetour(ctx context.Context, d Detour) error
	// EndDetour is told when the first choice works; ending none is no error.
	EndDetour(ctx context.Context, account string) error
}

// tryAgain is how long SMTP is left alone after it was found switched off.
const tryAgain = time.Hour

// Transports is the [Sender] that chooses for each account.
type Transports struct {
	Ways    func(ctx context.Context, account string) (Way, error) // errors as those of [Routes]
	SMTP    Sender
	Graph   Sender
	Detours Detours
	Doubts  Doubts
	Now     func() time.Time
	Log     *slog.Logger
}

// Open opens the account's transport: the fixed one, the only one, or SMTP first and
// Graph while Exchange refuses SMTP AUTH by policy.
func (t *Transports) Open(ctx context.Context, account string) (Upstream, error) {
	way, err := t.Ways(ctx, account)
	switch {
	case err != nil:
		return nil, err
	case !way.Graph:
		return t.SMTP.Open(ctx, account)
	case !way.SMTP:
		return t.Graph.Open(ctx, account)
	}
	f := &fork{t: t, account: account, way: way, prefer: OverSMTP}
	switch off, err := t.off(ctx, account); {
	case err != nil:
		return nil, err
	case way.Fixed == OverGraph || way.Fixed == Auto && off:
		f.prefer, f.off = OverGraph, off
	}
	return f, f.begin(ctx)
}

// off reports whether SMTP was found switched off a while ago.
func (t *Transports) off(ctx context.Context, account string) (bool, error) {
	_, err := t.Detours.Detour(ctx, account, t.Now())
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, fault.Wrap(fault.Temporary, "choose the transport", err)
}

// errSwitchedOff says that SMTP is not to be had, and that this is written down.
var errSwitchedOff = errors.New("SMTP AUTH is switched off")

// openSMTP opens SMTP, and remembers what it finds.
func (t *Transports) openSMTP(ctx context.Context, account string) (Upstream, error) {
	up, err := t.SMTP.Open(ctx, account)
	switch {
	case err == nil:
		if err := t.Detours.EndDetour(ctx, account); err != nil {
			up.Abort()
			return nil, fault.Wrap(fault.Temporary, "end the detour", err)
		}
		return up, nil
	case !switchedOff(err):
		return nil, err
	}
	d := Detour{Account: account, Over: OverGraph, Reason: words(fault.As(err)), Until: t.Now().Add(tryAgain)}
	if derr := t.Detours.PutDetour(ctx, d); derr != nil {
		return nil, fault.Wrap(fault.Temporary, "choose the transport", derr)
	}
	t.Log.LogAttrs(ctx, slog.LevelWarn, "SMTP AUTH is switched off, so mail goes through Graph",
		slog.String("account", account), slog.String("reply", d.Reason), slog.Time("until", d.Until))
	return nil, errSwitchedOff
}

// switchedOff reports whether Exchange refused SMTP AUTH by policy, whatever the
// credential (reference section 4.1).
func switchedOff(err error) bool {
	r := fault.ReplyOf(err)
	if !errors.Is(err, fault.NeedsAdmin) || r == nil || r.Stage != smtp.StageAUTH {
		return false
	}
	return r.Enhanced == "5.7.139" || r.Enhanced == "5.7.30"
}

// fork is the [Upstream] of an account that may use both transports. It opens the one
// it prefers, and the other when a message needs it.
type fork struct {
	t       *Transports
	account string
	way     Way
	prefer  Transport
	off     bool // SMTP is switched off
	smtp    Upstream
	graph   Upstream
	last    Transport // of the last message
}

// begin opens the preferred transport; where SMTP turns out to be switched off, that
// is Graph from now on.
func (f *fork) begin(ctx context.Context) error {
	if f.prefer == OverSMTP {
		err := f.openSMTP(ctx)
		if !errors.Is(err, errSwitchedOff) {
			return err
		}
		f.prefer = OverGraph
	}
	return f.openGraph(ctx)
}

// openSMTP finds SMTP switched off only where Graph may stand in for it.
func (f *fork) openSMTP(ctx context.Context) (err error) {
	switch {
	case f.smtp != nil:
	case f.way.Fixed == OverSMTP:
		f.smtp, err = f.t.SMTP.Open(ctx, f.account)
	default:
		f.smtp, err = f.t.openSMTP(ctx, f.account)
		f.off = errors.Is(err, errSwitchedOff)
	}
	return err
}

func (f *fork) openGraph(ctx context.Context) (err error) {
	if f.graph == nil {
		f.graph, err = f.t.Graph.Open(ctx, f.account)
	}
	return err
}

// Send sends by the preferred transport, with two exceptions: what Graph would have to
// take apart goes by SMTP while that works, and what Graph may have already stays with
// Graph, which can be asked.
func (f *fork) Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader, ours Ours) (smtp.Result, error) {
	doubt, err := f.t.Doubts.Doubt(ctx, env.ID)
	if err != nil {
		return smtp.Result{}, fault.Wrap(fault.Temporary, "choose the transport", err)
	}
	if doubt.IsZero() && (f.prefer == OverSMTP || size > f.way.Large && !f.off) {
		err := f.openSMTP(ctx)
		if err == nil {
			f.last, env.InDoubt = over(f.smtp), false
			return f.smtp.Send(ctx, env, size, body, ours)
		}
		if !errors.Is(err, errSwitchedOff) {
			return smtp.Result{}, unspoken(err)
		}
	}
	if err := f.openGraph(ctx); err != nil {
		return smtp.Result{}, unspoken(err)
	}
	f.last = OverGraph
	return f.graph.Send(ctx, env, size, body, ours)
}

func (f *fork) over() Transport {
	if f.last == "" {
		return f.prefer
	}
	return f.last
}

func (f *fork) untried() bool { return f.prefer == OverGraph }

// Usable is false as soon as one of the two is not: then both are opened anew.
func (f *fork) Usable() bool {
	return (f.smtp == nil || f.smtp.Usable()) && (f.graph == nil || f.graph.Usable())
}

// Close says farewell to both.
func (f *fork) Close(ctx context.Context) error {
	var errs []error
	for _, up := range []Upstream{f.smtp, f.graph} {
		if up != nil {
			errs = append(errs, up.Close(ctx))
		}
	}
	return errors.Join(errs...)
}

// Abort drops both.
func (f *fork) Abort() {
	for _, up := range []Upstream{f.smtp, f.graph} {
		if up != nil {
			up.Abort()
		}
	}
}
