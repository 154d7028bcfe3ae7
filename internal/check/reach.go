package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/outbound"
)

// NetworkTarget is a cloud whose hosts are tried.
type NetworkTarget struct {
	Name   string // to tell several apart: global, or "custom, app lab"
	Cloud  entra.Cloud
	Tenant string    // whose metadata a custom sign-in host is asked for; "" for any
	Uses   []Purpose // what the accounts are for; nil when nobody knows
}

// HostReport is how one entry of the allow-list fares.
type HostReport struct {
	Host
	Status  Status        `json:"status"` // skipped: it is only listed
	Took    time.Duration `json:"took_ns"`
	Summary string        `json:"summary"`
	Next    string        `json:"next,omitempty"`
	Stages  []Stage       `json:"stages"`

	skew  time.Duration
	dated bool
}

// NetworkReport is a whole list.
type NetworkReport struct {
	Cloud    string       `json:"cloud"`
	Started  time.Time    `json:"started"`
	OK       bool         `json:"ok"` // every required host works, and the clock is right
	Headline string       `json:"headline"`
	Hosts    []HostReport `json:"hosts"`
	Clock    Stage        `json:"clock"`
}

// How many hosts are tried at a time, and how long one may take.
const (
	atOnce       = 6
	hostPatience = 45 * time.Second
)

// Network tries every host of the target's allow-list that this machine needs, several
// at a time. onHost, when given, hears of each in the order of the list, from one
// goroutine. What is sent is a TLS handshake and a request for a public document, or a
// mail server's greeting and its list of abilities: no mailbox and no secret.
func Network(ctx context.Context, t NetworkTarget, d Deps, onHost func(HostReport)) NetworkReport {
	d = d.withDefaults()
	hosts := AllowList(t.Cloud, t.Tenant, t.Uses)
	r := NetworkReport{Cloud: t.Name, Started: d.Now().UTC(), OK: true, Clock: unknownTime()}
	turns, results := make(chan struct{}, atOnce), make([]chan HostReport, len(hosts))
	var all sync.WaitGroup
	for i, h := range hosts {
		results[i] = make(chan HostReport, 1)
		all.Go(func() {
			turns <- struct{}{}
			results[i] <- h.try(ctx, t, d)
			<-turns
		})
	}
	defer all.Wait()
	for i := range hosts {
		h := <-results[i]
		r.add(h)
		if onHost != nil {
			onHost(h)
		}
	}
	r.conclude()
	return r
}

func unknownTime() Stage {
	return Stage{Name: StageClock, Status: Skipped, Summary: "Not compared: the sign-in host does not say what time it is."}
}

func (r *NetworkReport) add(h HostReport) {
	if h.signIn && h.dated {
		r.Clock = clockStage(h.Name, h.skew)
		r.Clock.Name = StageClock
	}
	r.Hosts = append(r.Hosts, h)
}

// conclude makes the headline.
func (r *NetworkReport) conclude() {
	var missing []string
	for _, h := range r.Hosts {
		if h.Required && h.Status == Fail {
			missing = append(missing, h.address())
		}
	}
	switch {
	case len(missing) > 0:
		r.OK, r.Headline = false, "These hosts are needed and do not work: "+strings.Join(missing, ", ")
	case r.Clock.Status == Fail:
		r.OK, r.Headline = false, r.Clock.Summary
	default:
		r.Headline = "Every host that is needed works"
	}
}

// try tests one entry, or says why it is only listed.
func (h Host) try(ctx context.Context, t NetworkTarget, d Deps) HostReport {
	switch {
	case h.NeededBy == Browser:
		return HostReport{Host: h, Status: Skipped, Stages: []Stage{}, Summary: "Not tested: the person who signs in needs it, in a browser that may be elsewhere."}
	case h.wildcard():
		return HostReport{Host: h, Status: Skipped, Stages: []Stage{}, Summary: "Not tested: it stands for many names. Allow it as it is, where the firewall can."}
	}
	ctx, cancel := context.WithTimeout(ctx, hostPatience)
	defer cancel()
	c := &checking{
		Target: Target{Purpose: h.purpose, Server: mail.Server{Host: h.Name, Port: h.Port, TLS: h.mode}, Cloud: t.Cloud},
		Deps:   d, report: Report{OK: true},
	}
	defer c.close()
	if t.Cloud.Name != entra.Custom {
		c.issuers = microsoftIssuers()
	}
	began := d.Now()
	for _, s := range h.plan(c) {
		c.perform(ctx, s)
	}
	r := summarize(h, c.finish().Stages)
	r.Took, r.skew, r.dated = d.Now().Sub(began), c.web.answer.skew, c.web.answer.dated
	return r
}

// plan is the way up to the host's first answer.
func (h Host) plan(c *checking) []step {
	if h.purpose == Graph {
		c.web.signIn = h.signIn
		return c.reachWeb("https://" + c.Server.Address() + h.path)
	}
	var err error
	if c.RootCAs, err = outbound.Roots(c.Web.CA, c.Cloud.CA); err != nil {
		return []step{{StageTLS, func(context.Context) Stage { return c.failure(err, "The cloud's CA bundle is not usable.") }}}
	}
	return c.reachMail()
}

// summarize makes one line of the stages: the first that failed, or what they warn of,
// or what TLS and the answer were.
func summarize(h Host, stages []Stage) HostReport {
	r := HostReport{Host: h, Status: OK, Stages: stages}
	for _, want := range []Status{Fail, Warn} {
		if i := slices.IndexFunc(stages, func(s Stage) bool { return s.Status == want }); i >= 0 {
			r.Status, r.Next = want, stages[i].Next
			r.Summary = fmt.Sprintf("%s: %s", stages[i].Name, stages[i].Summary)
			return r
		}
	}
	for _, s := range stages {
		if s.Name == StageTLS || s.Name == StageProxy {
			r.Summary = strings.TrimSpace(r.Summary + " " + s.Summary)
		}
	}
	return r
}

func (h Host) address() string { return mail.Server{Host: h.Name, Port: h.Port}.Address() }

// Text is the entry as lines to read, each with its line end.
func (r HostReport) Text() string {
	need := "optional"
	switch {
	case r.NeededBy == Browser:
		need = "browser"
	case r.Required:
		need = "required"
	}
	var b strings.Builder
	if r.Status == Skipped {
		fmt.Fprintf(&b, "%-7s  %-8s  %s  %s\n", "listed", need, r.address(), r.For)
		return b.String()
	}
	fmt.Fprintf(&b, "%-7s  %-8s  %s  %s (%d ms)\n", r.Status, need, r.address(), r.For, r.Took.Milliseconds())
	for _, line := range []string{r.Summary, r.Next} {
		if line != "" {
			fmt.Fprintf(&b, "%19s%s\n", "", line)
		}
	}
	return b.String()
}

// Text is what follows the hosts: what "listed" means, the clock and the verdict.
func (r NetworkReport) Text() string {
	return "listed: not tested. A name with * stands for many; allow it as it is. What the browser needs is needed\n" +
		"        where the person who signs in sits.\n" + r.Clock.Text() + r.Headline + "\n"
}
