package bridge

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// offer is what a server says it can do, as of a time.
type offer struct {
	words []string // IMAP: capabilities; POP3: lines of CAPA
	at    time.Time
}

// believed is for how long an offer is not asked for again.
const believed = time.Hour

type key struct {
	account  string
	protocol Protocol
}

// learnt remembers what servers offer: after the login by account, because it is what a
// client is told before it; before the login by server, because it says how to sign in.
type learnt struct {
	mu     sync.Mutex
	after  map[key]offer
	before map[string]offer
}

func (l *learnt) keep(account string, p Protocol, words []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after[key{account, p}] = offer{words, time.Now()}
}

func (l *learnt) of(account string, p Protocol) ([]string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.after[key{account, p}]
	return o.words, ok && time.Since(o.at) < believed
}

func (l *learnt) keepBefore(server string, words []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before[server] = offer{words, time.Now()}
}

func (l *learnt) ofBefore(server string) ([]string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.before[server]
	return o.words, ok && time.Since(o.at) < believed
}

// common is what all accounts have that ever signed in, so that it is true of whoever
// signs in next; before the first one did, it is the least there is.
func (l *learnt) common(p Protocol) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	some := false
	for k, o := range l.after {
		switch {
		case k.protocol != p:
		case !some:
			all, some = slices.Clone(o.words), true
		default:
			all = slices.DeleteFunc(all, func(w string) bool { return !slices.Contains(o.words, w) })
		}
	}
	switch {
	case some:
		return all
	case p == POP3:
		return []string{"TOP", "UIDL"}
	}
	return []string{"IMAP4rev1"}
}

// passable is what an upstream's capabilities are to a client: all of them but how to
// sign in, which is our part, and what would make the connection unreadable for us.
func passable(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool {
		w = strings.ToUpper(w)
		for _, ours := range []string{"AUTH=", "COMPRESS="} {
			if strings.HasPrefix(w, ours) {
				return true
			}
		}
		return slices.Contains([]string{"STARTTLS", "LOGINDISABLED", "SASL-IR"}, w)
	})
}

// passablePOP3 is the same for the lines of CAPA.
func passablePOP3(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		word, _, _ := strings.Cut(strings.ToUpper(line), " ")
		return slices.Contains([]string{"SASL", "STLS", "USER", "IMPLEMENTATION", "RESP-CODES", "AUTH-RESP-CODE"}, word)
	})
}
