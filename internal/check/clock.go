package check

import (
	"context"
	"fmt"
	"time"

	"postern/internal/secret"
)

// How far this machine's clock may be off before it is told of, and before sign-ins
// and certificates can be refused for it.
const (
	clockNotable = 2 * time.Minute
	clockWrong   = 5 * time.Minute
)

// compareClocks asks the sign-in host for the time. It only warns: what a wrong clock
// breaks is for the later stages to find out.
func (c *checking) compareClocks(ctx context.Context) Stage {
	address := signInMetadata(c.Cloud, c.Tenant)
	host := webServer(address).Host
	if host == "" {
		return Stage{Status: Skipped, Summary: "Not compared: no sign-in host is known."}
	}
	a, err := c.get(ctx, address, secret.Text{})
	if err != nil || !a.dated {
		return Stage{Status: Skipped, Summary: fmt.Sprintf("Not compared: %s does not say what time it is.", host)}
	}
	st := clockStage(host, a.skew)
	if st.Status == Fail {
		st.Status = Warn
	}
	c.doubt(StageClock, st)
	return st
}

// clockStage says how this machine's clock compares with a host's, which is ahead by skew.
func clockStage(host string, skew time.Duration) Stage {
	off := skew.Abs()
	if off <= clockNotable {
		return Stage{Status: OK, Summary: fmt.Sprintf("This machine's clock agrees with %s, to within %s.", host, count(int(off/time.Second)+1, "second", "seconds"))}
	}
	side := "behind"
	if skew < 0 {
		side = "ahead of"
	}
	st := Stage{
		Status: Warn, Summary: fmt.Sprintf("This machine's clock is %s %s that of %s.", roughly(off), side, host),
		Next: "Set this machine's clock by NTP: beyond 5 minutes sign-ins and certificates are refused for it.",
	}
	if off > clockWrong {
		st.Status = Fail
	}
	return st
}

func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return minutes(d.Round(time.Minute))
	case d < 48*time.Hour:
		return count(int(d.Round(time.Hour)/time.Hour), "hour", "hours")
	}
	return count(int(d/(24*time.Hour)), "day", "days")
}
