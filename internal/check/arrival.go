package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/fault"
)

const (
	// arrivalPatience is how long a test message is looked for; most take some seconds.
	arrivalPatience = 60 * time.Second
	// Between two looks passes a third of what has passed already: a mailbox is opened a
	// dozen times at most, and what is told is right as far as anybody cares.
	shortestPause, longestPause = time.Second, 10 * time.Second
)

const lookYourself = "Look whether it arrives: what happens to it from here on is told to the mailbox alone."

// sentOn is what to do about a message that was taken.
func (c *checking) sentOn() string {
	if c.Arrived == nil {
		return lookYourself
	}
	return fmt.Sprintf("Postern looks for it in %s now, for %s at most.", c.TestTo, inSeconds(arrivalPatience))
}

// arrival waits until the test message is where it was sent to. That it is not there says
// nothing against the way out, which is what is checked.
func (c *checking) arrival(ctx context.Context) Stage {
	ctx, cancel := context.WithTimeout(ctx, arrivalPatience-c.Now().Sub(c.sentAt))
	defer cancel()
	for {
		there, err := c.Arrived(ctx, c.messageID)
		passed := c.Now().Sub(c.sentAt)
		switch {
		case there:
			return Stage{Status: OK, Summary: fmt.Sprintf("It arrived in %s after %s.", c.TestTo, inSeconds(passed))}
		case err != nil && ctx.Err() == nil:
			return c.unseen(err)
		}
		wait := time.NewTimer(min(max(passed/3, shortestPause), longestPause))
		select {
		case <-ctx.Done():
			wait.Stop()
			return c.missing(ctx)
		case <-wait.C:
		}
	}
}

// unseen says that nobody could look.
func (c *checking) unseen(err error) Stage {
	st := Stage{Status: Warn, Summary: fmt.Sprintf("Postern could not look into %s: %v", c.TestTo, err), Next: lookYourself}
	if hint := fault.HintOf(err); hint != "" {
		st.Details = []Detail{{"to let Postern look", hint}}
	}
	return st
}

func (c *checking) missing(ctx context.Context) Stage {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Stage{Status: Skipped, Summary: "Nobody waited for it to arrive.", Next: lookYourself}
	}
	return Stage{
		Status: Warn, Summary: fmt.Sprintf("It did not arrive in %s within %s.", c.TestTo, inSeconds(arrivalPatience)),
		Next: fmt.Sprintf("Look into the junk folder of %s and into the quarantine (https://security.microsoft.com/quarantine). It may still come; Exchange's message trace says where it is.", c.TestTo),
	}
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.0f s", max(d, time.Second).Seconds()) }
