package fetch

import (
	"cmp"
	"fmt"
	"time"

	"postern/internal/extract"
	"postern/internal/handover"
)

// Sample is what one of a task's templates makes of a sample message, or what is wrong
// with it.
type Sample struct {
	What string // path, name, argument 1
	Text string
	Err  error
}

// Samples fills in every template of a task.
func (t Task) Samples() (all []Sample) {
	path := func(what, text string) {
		p, err := handover.ParsePath(text)
		s := Sample{What: what, Err: err}
		if err == nil {
			s.Text = p.Preview(extract.SafeName)
		}
		all = append(all, s)
	}
	if t.Handover.Directory != "" {
		path("path", cmp.Or(t.Handover.Path, "{filename}"))
	}
	if o := t.Handover.Object; o != nil {
		path("name", cmp.Or(o.Name, handover.ObjectName))
	}
	if c := t.Handover.Command; c != nil {
		for i, text := range c.Args {
			p, err := handover.Parse(text)
			s := Sample{What: fmt.Sprintf("argument %d", i+1), Err: err}
			if err == nil {
				s.Text = p.Text(handover.Sample())
			}
			all = append(all, s)
		}
	}
	return all
}

// Times are the next times that a task is due by its schedule, at most n; none when it
// is only run by hand, or nothing says when mail arrives.
func (s Schedule) Times(now time.Time, n int) (times []time.Time) {
	if s.Every <= 0 && s.Cron == "" {
		return nil
	}
	for at := s.Next(now); len(times) < n && !at.IsZero(); at = s.Next(at) {
		times = append(times, at)
	}
	return times
}
