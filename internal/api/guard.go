package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/secret"
)

// errNoToken is in the chain of what a request without a good token is told.
var errNoToken = errors.New("no valid token")

// usedEvery is how exactly the last use of a token is known: a write for every
// request would cost more than the request.
const usedEvery = time.Minute

type (
	tokenKey  struct{}
	deviceKey struct{}
)

// caller is the token that a request came with.
func caller(ctx context.Context) door.Token {
	t, _ := ctx.Value(tokenKey{}).(door.Token)
	return t
}

// deviceOfCaller is the device that the caller's token is bound to, the zero one without.
func deviceOfCaller(ctx context.Context) door.Device {
	d, _ := ctx.Value(deviceKey{}).(door.Device)
	return d
}

// guarded lets requests through that have a token with the operation's scope. One of a
// device may nothing that the device may not: it may be switched off, or be elsewhere.
func (s *server) guarded(scope door.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		t, err := s.admit(ctx.Context(), ctx.Header("Authorization"), addrOf(ctx.RemoteAddr()), scope)
		if err != nil {
			s.refuse(ctx, err)
			return
		}
		d, err := s.deviceOf(ctx.Context(), t, ctx.RemoteAddr())
		if err != nil {
			s.refuse(ctx, err)
			return
		}
		next(huma.WithValue(huma.WithValue(ctx, tokenKey{}, t), deviceKey{}, d))
	}
}

// deviceOf is a token's device, as long as it is let in.
func (s *server) deviceOf(ctx context.Context, t door.Token, remote string) (door.Device, error) {
	if t.Device == "" {
		return door.Device{}, nil
	}
	d, err := s.Identities.Device(ctx, t.Device)
	if errors.Is(err, fault.NotFound) {
		return d, fault.New(fault.Denied, "check token", "the token's device is gone")
	}
	if err != nil {
		return d, err
	}
	return d, letIn(d, remote)
}

func (s *server) admit(ctx context.Context, header string, from netip.Addr, scope door.Scope) (door.Token, error) {
	const op = "check token"
	who := asker(from, header)
	if wait := s.guesses.locked(who); wait > 0 {
		e := fault.New(fault.Throttled, op, "this token was wrong too often, or too many were from this address")
		e.RetryAfter = wait
		return door.Token{}, e
	}
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" {
		return door.Token{}, fault.New(fault.Denied, op, "%w was given", errNoToken).WithHint("send the header Authorization: Bearer TOKEN")
	}
	t, err := door.FindToken(ctx, s.Tokens, secret.New(strings.TrimSpace(text)))
	switch {
	case errors.Is(err, fault.Denied):
		s.guesses.blame(who)
		s.Log.WarnContext(ctx, "a token was refused", "remote", from.String())
		return t, fault.New(fault.Denied, op, "%w: %w", errNoToken, err).WithHint("%s", fault.HintOf(err))
	case err != nil:
		return t, err
	case !t.Allows(scope):
		return t, fault.New(fault.Denied, op, "the token %s lacks the scope %s", t.Name, scope).WithHint("create one that has it: postern tokens create NAME --scope %s", scope)
	}
	if now := s.Now(); now.Sub(t.LastUsed) >= usedEvery {
		if err := s.Tokens.UseToken(ctx, t.ID, now); err != nil {
			s.Log.WarnContext(ctx, "the last use of a token was not noted", "token", t.Name, "error", err)
		}
	}
	return t, nil
}

// refuse answers before an operation has begun.
func (s *server) refuse(ctx huma.Context, err error) {
	var p *Problem
	if !errors.As(s.problem(ctx.Context(), err), &p) {
		return
	}
	for name, values := range p.header {
		ctx.SetHeader(name, strings.Join(values, ", "))
	}
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p)
}

// guesses counts wrong tokens. Nobody finds one by guessing; this keeps a program that was
// left behind with an old token from flooding database and log, and leaves alone who asks
// with another from the same address, behind a proxy for one.
type guesses struct {
	now func() time.Time

	mu sync.Mutex
	by map[guesser]tally
}

// guesser is who asks with one token from an address; without a token, all who ask from it.
type guesser struct {
	from  netip.Addr
	token [sha256.Size]byte
}

func asker(from netip.Addr, header string) guesser {
	return guesser{from, sha256.Sum256([]byte(header))}
}

func (g guesser) all() guesser { return guesser{from: g.from} }

type tally struct {
	count int
	since time.Time
}

// Bounds of guesses.
const (
	maxGuesses  = 20   // with one token
	maxFlood    = 1000 // from an address
	forgetAfter = 10 * time.Minute
	maxGuessers = 10_000
)

// locked says for how long somebody is not heard; 0 when they are.
func (g *guesses) locked(who guesser) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range []struct {
		guesser
		most int
	}{{who, maxGuesses}, {who.all(), maxFlood}} {
		if t := g.by[w.guesser]; t.count >= w.most {
			wait = max(wait, forgetAfter-g.now().Sub(t.since))
		}
	}
	return wait
}

func (g *guesses) blame(who guesser) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if len(g.by) >= maxGuessers {
		maps.DeleteFunc(g.by, func(_ guesser, t tally) bool { return now.Sub(t.since) > forgetAfter })
		if len(g.by) >= maxGuessers {
			clear(g.by)
		}
	}
	for _, w := range []guesser{who, who.all()} {
		t := g.by[w]
		if now.Sub(t.since) > forgetAfter {
			t = tally{since: now}
		}
		t.count++
		g.by[w] = t
	}
}

// headers are the same on every answer. There is no CORS: a token has no business
// in a browser's page.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
