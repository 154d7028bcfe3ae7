package fetch

import "time"

// Standing is how a task stands, for people.
type Standing struct {
	Task    Task
	Last    Run  // the zero Run: it has not run yet
	Running bool // somebody has its lock
	// Messages that want somebody; of each sort no more than CountedUpTo are counted.
	Failed, Parked, ActionFailed int
}

// CountedUpTo is how many messages of a sort a [Standing] counts.
const CountedUpTo = 100

// Next is when the task is due by itself, zero when it is not: it is switched off, or is
// only run by hand. A time that is over means now.
func (s Standing) Next() time.Time {
	if s.Task.Disabled || s.Task.Schedule.manual() {
		return time.Time{}
	}
	if due := s.Task.next(s.Last.Started); !due.IsZero() {
		return due
	}
	return s.Task.Created // it has not run yet
}
