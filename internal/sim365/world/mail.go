package world

import (
	"slices"
	"strings"
)

// Keep records a message. Mailbox is lower-cased; an empty Received becomes now.
func (w *World) Keep(s Stored) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Mailbox = strings.ToLower(s.Mailbox)
	if s.Received.IsZero() {
		s.Received = w.Now()
	}
	if s.Session != "" && !s.Confirmed {
		w.unread[s.Session] = append(w.unread[s.Session], len(w.kept))
	}
	w.kept = append(w.kept, s)
}

// Confirm marks the session's messages: its client spoke again after our 250.
func (w *World) Confirm(session string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.unread[session] {
		w.kept[i].Confirmed = true
	}
	delete(w.unread, session)
}

// Messages lists what was kept for a mailbox in a folder, oldest first. The
// bytes are shared: do not change them.
func (w *World) Messages(mailbox, folder string) []Stored {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Stored
	for _, s := range w.kept {
		if strings.EqualFold(s.Mailbox, mailbox) && s.Folder == folder {
			out = append(out, s)
		}
	}
	return out
}

// AllMessages lists everything kept, oldest first.
func (w *World) AllMessages() []Stored {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.kept)
}

// Bump counts something that tests want to know happened: "refresh", "token",
// "smtp_auth", "fault" …
func (w *World) Bump(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counters[what]++
}

// Count returns a named counter.
func (w *World) Count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counters[what]
}
