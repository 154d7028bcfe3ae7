package relay

import (
	"context"
	"io"

	"postern/internal/fault"
	"postern/internal/mail"
	"postern/internal/smtp"
)

// Simulation is a [Sender] in front of another one. The mail of an account that only
// pretends is read to its end and goes nowhere; that of all others takes the real way.
// It opens no connection and asks for no token for an account that pretends.
type Simulation struct {
	Real Sender
	// Pretends is asked before every message, and must answer from memory.
	Pretends func(account string) bool
	// Would says over what an account's mail would go; its words are for people.
	Would func(ctx context.Context, account string) string
}

// Open opens the real way, or none.
func (s *Simulation) Open(ctx context.Context, account string) (Upstream, error) {
	p := &pretender{sim: s, account: account}
	if s.Pretends(account) {
		return p, nil
	}
	var err error
	p.real, err = s.Real.Open(ctx, account)
	return p, err
}

// pretender is the [Upstream] of an account that may begin to pretend, or end it, at
// any time. A real connection that is kept meanwhile sends nothing.
type pretender struct {
	sim     *Simulation
	account string
	real    Upstream // nil: it was opened to pretend
}

func (s *Simulation) plan(ctx context.Context, msgs []Message) error {
	if real, ok := s.Real.(planner); ok {
		return real.plan(ctx, msgs)
	}
	return nil
}

// over is what carries the account's mail; what pretends carries none.
func (p *pretender) over() Transport {
	if p.real == nil || p.sim.Pretends(p.account) {
		return ""
	}
	return over(p.real)
}

func (p *pretender) untried() bool { return p.real == nil || !proven(p.real) }

// Send pretends while the account does. One that was opened to pretend cannot send: it
// is replaced.
func (p *pretender) Send(ctx context.Context, env mail.Envelope, size int64, body io.Reader, ours Ours) (smtp.Result, error) {
	switch {
	case p.sim.Pretends(p.account):
		return p.pretend(ctx, body)
	case p.real == nil:
		return smtp.Result{}, fault.New(fault.Temporary, "send", "the simulation has ended")
	}
	return p.real.Send(ctx, env, size, body, ours)
}

func (p *pretender) pretend(ctx context.Context, body io.Reader) (smtp.Result, error) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return smtp.Result{}, fault.Wrap(fault.Temporary, "read message body", err)
	}
	return smtp.Result{Accepted: true, Simulated: true, Reply: &fault.Reply{
		Protocol: "simulation", Stage: smtp.StageBody, Code: "250", Text: "simulated, sent to nobody; it would have gone " + p.sim.Would(ctx, p.account),
	}}, nil
}

// Usable is false when what it was opened for has changed.
func (p *pretender) Usable() bool {
	if p.real == nil {
		return p.sim.Pretends(p.account)
	}
	return p.real.Usable()
}

// Close says farewell where there is somebody to say it to.
func (p *pretender) Close(ctx context.Context) error {
	if p.real == nil {
		return nil
	}
	return p.real.Close(ctx)
}

// Abort drops the real connection.
func (p *pretender) Abort() {
	if p.real != nil {
		p.real.Abort()
	}
}

// spared are the recipients that would have got a message.
func spared(m Message) []string {
	var all []string
	for _, r := range m.Recipients {
		if r.State == Spared {
			all = append(all, r.Address.String())
		}
	}
	return all
}
