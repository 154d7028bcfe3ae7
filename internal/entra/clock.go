package entra

import (
	"fmt"
	"net/http"
	"time"
)

// tolerated is how far two clocks may be apart before anybody is told.
const tolerated = 2 * time.Minute

// skewOf is how far the provider's clock is ahead of ours, as its answer's Date says
// (RFC 9110 section 6.6.1); 0 when it does not.
func skewOf(resp *http.Response, now time.Time) time.Duration {
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return theirs.Sub(now)
}

// clockHint tells of a clock that is off; "" when it is not enough to matter.
func clockHint(skew time.Duration) string {
	if skew.Abs() <= tolerated {
		return ""
	}
	side := "behind"
	if skew < 0 {
		side = "ahead of"
	}
	return fmt.Sprintf("this machine's clock is %s %s Microsoft's; set it by NTP", roughly(skew.Abs()), side)
}

func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
