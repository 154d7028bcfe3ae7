package people

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"postern/internal/fault"
)

// How many wrong guesses are heard within window of each other.
const (
	window      = 10 * time.Minute
	mostAddress = 20     // of an address
	mostUser    = 10     // of a user, from addresses that never knew the password
	mostCodes   = 5      // of one-time codes after one right password
	remembered  = 10_000 // of either
)

// limits counts wrong guesses of this process. Nobody's name is "", whose tally no
// check looks at.
type limits struct {
	now func() time.Time

	mu     sync.Mutex
	wrong  map[string]tally // by address, by user behind a blank, and by the two together
	proven map[[2]string]bool
}

type tally struct {
	count int
	since time.Time // the first of them
}

func newLimits(now func() time.Time) *limits {
	return &limits{now: now, wrong: map[string]tally{}, proven: map[[2]string]bool{}}
}

// network is what counts as one guesser: an IPv6 host has a whole network to guess from.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64) // 64 is no error with an IPv6 address
		return p.String()
	}
	return a.String()
}

func ofUser(user string) string { return " " + user } // no address has a blank

func codeOf(user string) string { return "code of " + user }

// check refuses an address, or a user from an address that never was that user's,
// while too much was guessed. user is "" for guesses at nobody's secret.
func (l *limits) check(address, user string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	address = network(address)
	wait := l.wait(address, mostAddress)
	if user != "" && !l.proven[[2]string{user, address}] {
		wait = max(wait, l.wait(ofUser(user), mostUser))
	}
	return throttled(wait)
}

// checkCode refuses a user's one-time codes whoever gives them: whoever may give one
// knows the password.
func (l *limits) checkCode(address, user string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return throttled(max(l.wait(network(address), mostAddress), l.wait(ofUser(codeOf(user)), mostUser)))
}

// throttled is the error of somebody who has to wait.
func throttled(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	e := fault.New(fault.Throttled, "log in", "there were too many wrong tries").WithHint("wait %d minutes, then try again", int((wait+time.Minute-1)/time.Minute))
	e.RetryAfter = wait
	return e
}

func (l *limits) wait(key string, most int) time.Duration {
	t := l.wrong[key]
	if t.count < most {
		return 0
	}
	return max(0, window-l.now().Sub(t.since))
}

// blame counts a wrong guess of an address at whom it was about; "" is nobody.
func (l *limits) blame(address, whom string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.wrong) >= remembered {
		maps.DeleteFunc(l.wrong, func(_ string, t tally) bool { return now.Sub(t.since) > window })
		if len(l.wrong) >= remembered {
			clear(l.wrong)
		}
	}
	address = network(address)
	for _, key := range []string{address, ofUser(whom), address + ofUser(whom)} {
		t := l.wrong[key]
		if now.Sub(t.since) > window {
			t = tally{since: now}
		}
		t.count++
		l.wrong[key] = t
	}
}

// forgive forgets what an address guessed wrong at a user, and remembers it as the
// user's. What it guessed at others stays: somebody with a login of their own would wipe
// that away with it again and again.
func (l *limits) forgive(address, user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	address = network(address)
	both := address + ofUser(user)
	if t := l.wrong[address]; t.count > l.wrong[both].count {
		t.count -= l.wrong[both].count
		l.wrong[address] = t
	} else {
		delete(l.wrong, address)
	}
	delete(l.wrong, both)
	if len(l.proven) >= remembered {
		clear(l.proven)
	}
	l.proven[[2]string{user, address}] = true
}
