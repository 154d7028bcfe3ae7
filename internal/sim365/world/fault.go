package world

import (
	"slices"
	"strings"
)

// Arm makes a fault wait for its requests and returns its id. Times of zero
// means once.
func (w *World) Arm(f Fault) string {
	if f.ID == "" {
		f.ID = NewID()
	}
	if f.Times == 0 {
		f.Times = 1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, f)
	return f.ID
}

// Disarm takes a fault away; an unknown id is no error.
func (w *World) Disarm(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = slices.DeleteFunc(w.faults, func(f Fault) bool { return f.ID == id })
}

// Faults lists what is still armed.
func (w *World) Faults() []Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.faults)
}

// Strike asks whether something goes wrong here and now. The oldest matching
// fault strikes, and loses one of its Times.
func (w *World) Strike(where, stage, mailbox string) (Fault, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, f := range w.faults {
		if !f.matches(where, stage, mailbox) {
			continue
		}
		if f.Times > 0 {
			w.faults[i].Times--
		}
		if w.faults[i].Times == 0 {
			w.faults = slices.Delete(w.faults, i, i+1)
		}
		w.counters["fault"]++
		return f, true
	}
	return Fault{}, false
}

func (f Fault) matches(where, stage, mailbox string) bool {
	return f.Where == where &&
		(f.Stage == "" || f.Stage == "any" || f.Stage == stage) &&
		(f.Mailbox == "" || strings.EqualFold(f.Mailbox, mailbox))
}
