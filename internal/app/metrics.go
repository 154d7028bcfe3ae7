package app

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postern/internal/fault"
	"postern/internal/relay"
	"postern/internal/vault"
)

// metrics serves /metrics in Prometheus' format.
func (a *App) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		a.counters.logins, a.counters.alerts, a.counters.told, a.counters.signIns, a.counters.checks, newGauges(a))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// counters are counted where things happen.
type counters struct{ logins, alerts, told, signIns, checks *prometheus.CounterVec }

func newCounters() counters {
	return counters{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_device_logins_total", Help: "Logins of devices by TLS version: below TLS 1.2 they need the legacy listener.",
		}, []string{"device", "tls"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_alerts_total", Help: "Alerts raised by this process.",
		}, []string{"kind"}),
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_alert_tries_total", Help: "Tries of this process to tell an alert, by route and outcome: told, retry, failed.",
		}, []string{"route", "outcome"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_sign_ins_total", Help: "Sign-ins and admin consents that ended on this node's pages, by way and outcome.",
		}, []string{"way", "outcome"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_checks_total", Help: "Connection checks that this process made by itself, by purpose and outcome: good, failed.",
		}, []string{"purpose", "outcome"}),
	}
}

// tallied counts how sign-ins end, and writes the good ones down.
type tallied struct {
	*vault.Vault
	app *App
}

func (t tallied) FinishSignIn(ctx context.Context, q url.Values, browser string) (vault.Result, error) {
	r, err := t.Vault.FinishSignIn(ctx, q, browser)
	way := "browser"
	if r.Consented {
		way = "consent"
	}
	return r, t.end(ctx, way, r, err)
}

func (t tallied) AwaitDevice(ctx context.Context, d vault.DeviceSignIn) (vault.Result, error) {
	r, err := t.Vault.AwaitDevice(ctx, d)
	return r, t.end(ctx, "code", r, err)
}

// end counts a sign-in. Who signed in is who did it: a one-time link needs no user of ours.
func (t tallied) end(ctx context.Context, way string, r vault.Result, err error) error {
	outcome := "good"
	if err != nil {
		outcome = fault.KindOf(err).String()
	}
	t.app.counters.signIns.WithLabelValues(way, outcome).Inc()
	if err != nil {
		return err
	}
	return t.app.SignedIn(ctx, "microsoft:"+r.SignedInAs, r)
}

// gauges reads counts where they are kept, when they are asked for.
type gauges struct {
	app       *App
	queue     *prometheus.Desc
	accounts  *prometheus.Desc
	messages  *prometheus.Desc
	upstreams *prometheus.Desc
	inFlight  *prometheus.Desc
	expires   *prometheus.Desc
	paced     *prometheus.Desc
	good      *prometheus.Desc
	checked   *prometheus.Desc
	bridge    bridgeGauges
}

func newGauges(a *App) *gauges {
	return &gauges{
		app:       a,
		queue:     prometheus.NewDesc("postern_queue_messages", "Messages in the queue by state.", []string{"state"}, nil),
		accounts:  prometheus.NewDesc("postern_accounts", "Accounts by state.", []string{"state"}, nil),
		messages:  prometheus.NewDesc("postern_messages_total", "What happened to messages since the start of this process.", []string{"event"}, nil),
		upstreams: prometheus.NewDesc("postern_upstream_connections_total", "Upstream connections since the start of this process.", []string{"event"}, nil),
		inFlight:  prometheus.NewDesc("postern_messages_in_flight", "Messages being sent now.", nil, nil),
		expires:   prometheus.NewDesc("postern_expires_timestamp_seconds", "When a secret, certificate, grant or way to sign in ends.", []string{"kind", "subject"}, nil),
		paced:     prometheus.NewDesc("postern_paced_until_timestamp_seconds", "Until when an account's mail waits for one of Microsoft's limits.", []string{"account"}, nil),
		bridge:    newBridgeGauges(),
		good:      prometheus.NewDesc("postern_check_good", "Whether an account's last connection check was good.", []string{"account", "purpose"}, nil),
		checked:   prometheus.NewDesc("postern_check_timestamp_seconds", "When an account's connection was last checked.", []string{"account", "purpose"}, nil),
	}
}

// Describe sends what Collect may send.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.queue, g.accounts, g.messages, g.upstreams, g.inFlight, g.expires, g.paced, g.good, g.checked} {
		ch <- d
	}
	g.bridge.describe(ch)
}

// Collect reads the counts. A database that does not answer in time costs its own
// figures only.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	if counts, err := g.app.Store.Counts(ctx); err == nil {
		for _, s := range []relay.State{relay.Queued, relay.Delivering, relay.Delivered, relay.Failed, relay.Simulated} {
			gauge(g.queue, float64(counts[s]), string(s))
		}
	}
	if all, err := g.app.Vault.Accounts(ctx); err == nil {
		states := map[string]int{}
		for _, acct := range all {
			states[string(acct.State)]++
		}
		for s, n := range states {
			gauge(g.accounts, float64(n), s)
		}
	}
	if ends, err := g.app.Vault.Radar(ctx); err == nil {
		seen := map[[2]string]bool{} // the nearest end comes first
		for _, e := range ends {
			if key := [2]string{e.Kind, e.Subject}; seen[key] {
				continue
			} else {
				seen[key] = true
			}
			gauge(g.expires, float64(e.At.Unix()), e.Kind, e.Subject)
		}
	}
	if paces, err := g.app.Store.Paces(ctx, g.app.Store.Now()); err == nil {
		for _, p := range paces {
			gauge(g.paced, float64(p.Until.Unix()), p.Account)
		}
	}
	if all, err := g.app.Store.Healths(ctx); err == nil {
		for _, h := range all {
			v := 0.0
			if h.Good {
				v = 1
			}
			gauge(g.good, v, h.Account, h.Purpose)
			gauge(g.checked, float64(h.At.Unix()), h.Account, h.Purpose)
		}
	}
	if b := g.app.bridge.Load(); b != nil {
		g.bridge.collect(ch, b.Stats())
	}
	s := g.app.Relay.Stats()
	count(g.messages, s.Accepted, "accepted")
	count(g.messages, s.Delivered, "delivered")
	count(g.messages, s.Deferred, "deferred")
	count(g.messages, s.Failed, "failed")
	count(g.messages, s.Simulated, "simulated")
	count(g.messages, g.app.turned.Load(), "turned_away")
	count(g.upstreams, s.Opened, "opened")
	count(g.upstreams, s.Reused, "reused")
	gauge(g.inFlight, float64(s.InFlight))
}
