package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"postern/internal/bridge"
)

// bridgeGauges are the figures of the IMAP and POP3 doors.
type bridgeGauges struct{ sessions, logins, renewals, octets *prometheus.Desc }

func newBridgeGauges() bridgeGauges {
	return bridgeGauges{
		sessions: prometheus.NewDesc("postern_bridge_sessions", "IMAP and POP3 sessions now; stranger is who has not signed in yet.", []string{"protocol"}, nil),
		logins:   prometheus.NewDesc("postern_bridge_logins_total", "Logins at the IMAP and POP3 doors: opened, refused, unopened (right, but the mailbox did not open), turned_away (too many connections).", []string{"outcome"}, nil),
		renewals: prometheus.NewDesc("postern_bridge_renewals_total", "Tokens that ended within an IMAP session: renewed, or the session ended.", []string{"outcome"}, nil),
		octets:   prometheus.NewDesc("postern_bridge_octets_total", "Octets from (in) and to (out) IMAP and POP3 clients.", []string{"direction"}, nil),
	}
}

func (g bridgeGauges) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.sessions, g.logins, g.renewals, g.octets} {
		ch <- d
	}
}

func (g bridgeGauges) collect(ch chan<- prometheus.Metric, s bridge.Stats) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(v), label)
	}
	send(g.sessions, prometheus.GaugeValue, int64(s.IMAP), "imap")
	send(g.sessions, prometheus.GaugeValue, int64(s.POP3), "pop3")
	send(g.sessions, prometheus.GaugeValue, int64(s.Strangers), "stranger")
	send(g.logins, prometheus.CounterValue, s.Logins, "opened")
	send(g.logins, prometheus.CounterValue, s.Refused, "refused")
	send(g.logins, prometheus.CounterValue, s.Unopened, "unopened")
	send(g.logins, prometheus.CounterValue, s.TurnedAway, "turned_away")
	send(g.renewals, prometheus.CounterValue, s.Renewed, "renewed")
	send(g.renewals, prometheus.CounterValue, s.Unrenewed, "ended")
	send(g.octets, prometheus.CounterValue, s.In, "in")
	send(g.octets, prometheus.CounterValue, s.Out, "out")
}
