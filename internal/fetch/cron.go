package fetch

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // Windows and bare containers have none

	"github.com/netresearch/go-cron"
)

// cron reads the expression: five fields, or @hourly and its like.
func (s Schedule) cron() (cron.Schedule, error) {
	zone, err := s.location()
	if err != nil {
		return nil, err
	}
	if strings.Contains(s.Cron, "=") || strings.HasPrefix(s.Cron, "@every") || strings.HasPrefix(s.Cron, "@reboot") {
		return nil, fmt.Errorf("cron: %q is not five fields; use every for an interval, and zone for a time zone", s.Cron)
	}
	schedule, err := cron.StandardParser().Parse("CRON_TZ=" + zone.String() + " " + s.Cron)
	if err != nil {
		return nil, fmt.Errorf("cron: %w; allowed: minute hour day month weekday, as in \"0 6 * * 1-5\", or @daily", err)
	}
	if schedule.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("cron: %q never comes", s.Cron)
	}
	return schedule, nil
}

func (s Schedule) location() (*time.Location, error) {
	if s.Zone == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil || s.Zone == "Local" {
		return nil, fmt.Errorf("zone: %q is not known; allowed: names as Europe/Berlin", s.Zone)
	}
	return zone, nil
}

// watchPoll is how often a watched mailbox is looked into all the same: a server may
// forget to tell.
const watchPoll = 5 * time.Minute

// manual reports that the task is only run by hand.
func (s Schedule) manual() bool { return s.Every <= 0 && s.Cron == "" && !s.Watch }

// Next is when a task is due that last ran, or was made, at a time; zero when it is
// only run by hand.
func (s Schedule) Next(last time.Time) time.Time {
	switch {
	case s.Every > 0:
		return last.Add(time.Duration(s.Every))
	case s.Cron == "" && s.Watch:
		return last.Add(watchPoll)
	case s.Cron == "":
		return time.Time{}
	}
	c, err := s.cron()
	if err != nil {
		return time.Time{} // it was checked when the task was saved
	}
	next := c.Next(last)
	if s.Zone == "" {
		return next
	}
	if left := s.leftOut(last); left.After(last) && left.Before(next) {
		return left
	}
	return next
}

// leftOut is when the next time is made up for that no clock of the zone shows, because
// it is put forward over it; zero when the next time is none of these. The library passes
// such a time over, and with it a day.
func (s Schedule) leftOut(last time.Time) time.Time {
	zone, err := s.location()
	if err != nil {
		return time.Time{}
	}
	clocks, err := Schedule{Cron: s.Cron}.cron()
	if err != nil {
		return time.Time{}
	}
	shown := clocks.Next(sameIn(time.UTC, last.In(zone)))
	t := sameIn(zone, shown)
	switch ahead := sameIn(time.UTC, t).Sub(shown); {
	case ahead > 0:
		return t
	case ahead < 0: // of the two times that it may be, time.Date took the earlier
		return t.Add(-ahead)
	}
	return time.Time{}
}

// sameIn is the time at which the clocks of another zone show what t shows.
func sameIn(zone *time.Location, t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}
