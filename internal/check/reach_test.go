package check_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/catalogue"
	"postern/internal/check"
	"postern/internal/entra"
	"postern/internal/mail"
	"postern/internal/outbound"
)

// town is a network of its own: every host of Microsoft's, on loopback, and nothing else.
type town struct {
	at    map[string]string // name:port → where it is served
	ca    string            // of all of them
	heard []string          // what mail servers were told
	mu    sync.Mutex
}

func (w *town) hear(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, strings.TrimSpace(line))
}

// mails serves a mail host with a certificate of the given issuer.
func (w *town) mails(t *testing.T, address, issuer string, d dialogue) {
	t.Helper()
	host, _, _ := net.SplitHostPort(address)
	d.host, d.issuer, d.heard = host, issuer, w.hear
	up := serve(t, d)
	w.at[address] = up.address
	w.ca += up.pem
}

func (w *town) webs(t *testing.T, site website) {
	t.Helper()
	up := site.serve(t)
	for host := range strings.FieldsSeq(site.host) {
		w.at[host+":443"] = up.address
	}
	w.ca += up.pem
}

const ownIssuer = "Microsoft Test Issuer"

// build makes the town of the global cloud, with one site for all web hosts.
func build(t *testing.T, site website) *town {
	t.Helper()
	w := &town{at: map[string]string{}}
	site.host = "login.microsoftonline.com graph.microsoft.com login.microsoft.com login.windows.net graph.windows.net outlook.office.com outlook.office365.com"
	w.webs(t, site)
	for _, host := range []string{"smtp.office365.com:587", "smtp-hve.office365.com:587", "smtp-legacy.office365.com:587"} {
		w.mails(t, host, ownIssuer, smtpServer())
	}
	w.mails(t, "outlook.office365.com:993", ownIssuer, imapServer())
	w.mails(t, "outlook.office365.com:995", ownIssuer, pop3Server())
	return w
}

func (w *town) dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, ok := w.at[address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("connection refused")}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

func (w *town) lookUp(_ context.Context, host string) ([]string, error) {
	for address := range w.at {
		if name, _, _ := net.SplitHostPort(address); name == host {
			return []string{"192.0.2.1"}, nil
		}
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// stroll is a check of the town's network until something about it is changed.
type stroll struct {
	target check.NetworkTarget
	deps   check.Deps
}

func (w *town) stroll(t *testing.T) *stroll {
	t.Helper()
	c, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := entra.CloudByName("global")
	if err != nil {
		t.Fatal(err)
	}
	cloud.CA = w.ca
	return &stroll{
		target: check.NetworkTarget{Name: "global", Cloud: cloud},
		deps:   check.Deps{Catalogue: c, Web: outbound.Network{Direct: "*"}, Dial: w.dial, LookupHost: w.lookUp, Now: now, HelloName: "postern.example"},
	}
}

func (s *stroll) run(t *testing.T) check.NetworkReport {
	t.Helper()
	return check.Network(t.Context(), s.target, s.deps, nil)
}

func host(t *testing.T, r check.NetworkReport, name string, port int) check.HostReport {
	t.Helper()
	i := slices.IndexFunc(r.Hosts, func(h check.HostReport) bool { return h.Name == name && h.Port == port })
	if i < 0 {
		t.Fatalf("%s:%d is not on the list", name, port)
	}
	return r.Hosts[i]
}

func TestANetworkThatLetsEverythingThrough(t *testing.T) {
	t.Parallel()
	w := build(t, microsoft())
	s := w.stroll(t)
	var heard []string
	r := check.Network(t.Context(), s.target, s.deps, func(h check.HostReport) { heard = append(heard, h.Name) })
	if !r.OK || r.Headline != "Every host that is needed works" || r.Clock.Status != check.OK {
		t.Errorf("%s\n%s", r.Headline, r.Clock.Text())
	}
	var order []string
	tested := 0
	for _, h := range r.Hosts {
		order = append(order, h.Name)
		listed := strings.HasPrefix(h.Name, "*.") || h.NeededBy == check.Browser
		switch {
		case listed && (h.Status != check.Skipped || len(h.Stages) != 0 || !strings.Contains(h.Summary, "Not tested: ") || h.Required):
			t.Errorf("%+v", h)
		case !listed && h.Status != check.OK:
			t.Error(h.Text())
		case !listed:
			tested++
			if !strings.Contains(h.Summary, "by "+ownIssuer) {
				t.Errorf("nobody is told who issued the certificate: %s", h.Summary)
			}
		}
	}
	if !slices.Equal(heard, order) || tested != len(w.at) {
		t.Errorf("%d of %d hosts were tested; heard of %q", tested, len(w.at), heard)
	}
	for _, line := range w.heard {
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "EHLO", "STARTTLS", "CAPA", "QUIT":
		default:
			if !strings.HasSuffix(line, "CAPABILITY") && !strings.HasSuffix(line, "LOGOUT") {
				t.Errorf("a mail server was told %q", line)
			}
		}
	}
}

// TestTheListOfEachCloud has the hosts of the reference, and asks only for what is used.
func TestTheListOfEachCloud(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		uses     []check.Purpose
		required []string
		listed   []string
	}{
		"global": {nil, []string{"login.microsoftonline.com:443", "smtp.office365.com:587", "outlook.office365.com:993", "outlook.office365.com:995"},
			[]string{"smtp-hve.office365.com:587", "graph.microsoft.com:443", "*.msauth.net:443", "*.mail.protection.outlook.com:25", "microsoft.com:443", "login.live.com:443"}},
		"usgov": {[]check.Purpose{check.Graph}, []string{"login.microsoftonline.us:443", "graph.microsoft.us:443"}, []string{"outlook.office365.us:587", "*.auth.microsoft.us:443"}},
		"dod":   {[]check.Purpose{check.Send}, []string{"login.microsoftonline.us:443", "outlook-dod.office365.us:587"}, []string{"dod-graph.microsoft.us:443"}},
		"china": {[]check.Purpose{check.IMAP}, []string{"login.partner.microsoftonline.cn:443", "partner.outlook.cn:993"}, []string{"smtp-legacy.partner.outlook.cn:587"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud, err := entra.CloudByName(name)
			if err != nil {
				t.Fatal(err)
			}
			var required, all []string
			for _, h := range check.AllowList(cloud, "", c.uses) {
				address := mail.Server{Host: h.Name, Port: h.Port}.Address()
				if slices.Contains(all, address) {
					t.Errorf("%s is listed twice", address)
				}
				all = append(all, address)
				if h.Required {
					required = append(required, address)
				}
				if h.For == "" || h.NeededBy == "" {
					t.Errorf("%+v", h)
				}
			}
			if !slices.Equal(required, c.required) {
				t.Errorf("required are %q, want %q", required, c.required)
			}
			for _, want := range c.listed {
				if !slices.Contains(all, want) {
					t.Errorf("%s is missing", want)
				}
			}
		})
	}
	custom := entra.Cloud{Name: entra.Custom, Authority: "https://id.lab.example:8443/realms/x/.well-known/openid-configuration", SMTP: mail.Server{Host: "smtp.lab.example", Port: 25, TLS: mail.STARTTLS}}
	if list := check.AllowList(custom, "", nil); len(list) != 2 || list[0].Name != "id.lab.example" || list[0].Port != 8443 || list[1].Name != "smtp.lab.example" {
		t.Errorf("a custom cloud needs %+v", list)
	}
}

// TestANetworkThatIsInTheWay changes one thing at a time.
func TestANetworkThatIsInTheWay(t *testing.T) {
	t.Parallel()
	site := func(change func(*website)) website {
		m := microsoft()
		change(&m)
		return m
	}
	for _, c := range []struct {
		name    string
		site    website
		change  func(*testing.T, *town, *stroll)
		host    string
		port    int
		status  check.Status
		summary string
		next    string
		ok      bool
	}{
		{"no name", microsoft(), func(_ *testing.T, w *town, _ *stroll) { delete(w.at, "smtp.office365.com:587") },
			"smtp.office365.com", 587, check.Fail, "dns: smtp.office365.com has no address", "name server", false},
		{"no way through the firewall", microsoft(), func(_ *testing.T, w *town, _ *stroll) { delete(w.at, "outlook.office365.com:993") },
			"outlook.office365.com", 993, check.Fail, "tcp: outlook.office365.com:993 does not take a connection", "firewall on this side", false},
		{"an optional host", microsoft(), func(_ *testing.T, w *town, _ *stroll) { delete(w.at, "smtp-hve.office365.com:587") },
			"smtp-hve.office365.com", 587, check.Fail, "dns: ", "", true},
		{"which somebody uses", microsoft(), func(_ *testing.T, w *town, s *stroll) {
			delete(w.at, "smtp-hve.office365.com:587")
			s.target.Uses = []check.Purpose{check.HVE}
		}, "smtp-hve.office365.com", 587, check.Fail, "dns: ", "", false},
		{"a trusted proxy looks into TLS", site(func(m *website) { m.issuer = "Nosy Gateway CA" }), nil,
			"login.microsoftonline.com", 443, check.Warn, "by Nosy Gateway CA, which issues none for Microsoft: a proxy on the way looks into TLS", "exempt login.microsoftonline.com", true},
		{"an unknown proxy looks into TLS", site(func(m *website) { m.issuer = "Nosy Gateway CA" }), func(_ *testing.T, _ *town, s *stroll) { s.target.Cloud.CA = "" },
			"login.microsoftonline.com", 443, check.Fail, "with a certificate of its own, by Nosy Gateway CA, which is not trusted here", "ca_file", false},
		{"it looks into mail too", microsoft(), func(t *testing.T, w *town, s *stroll) {
			w.mails(t, "smtp.office365.com:587", "Nosy Gateway CA", smtpServer())
			s.target.Cloud.CA = w.ca
		}, "smtp.office365.com", 587, check.Warn, "tls: The certificate for smtp.office365.com is by Nosy Gateway CA", "mail break off", true},
		{"a certificate of another", microsoft(), func(_ *testing.T, w *town, _ *stroll) {
			w.at["outlook.office365.com:993"] = w.at["smtp-legacy.office365.com:587"]
			w.at["login.microsoftonline.com:443"] = w.at["outlook.office365.com:995"]
		}, "login.microsoftonline.com", 443, check.Fail, "tls: The certificate is not for login.microsoftonline.com, but for outlook.office365.com", "", false},
		{"a portal answers", site(func(m *website) { m.status = http.StatusFound }), nil,
			"login.microsoftonline.com", 443, check.Fail, "https: login.microsoftonline.com answers (status 302), but not as a sign-in host does", "portal", false},
		{"Graph is in trouble", site(func(m *website) {
			m.graph = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		}), nil, "graph.microsoft.com", 443, check.Warn, "in trouble itself (status 503)", "later", true},
		{"Graph hangs up", site(func(m *website) {
			m.graph = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}), nil, "graph.microsoft.com", 443, check.Fail, "https: graph.microsoft.com does not answer an HTTPS request", "must reach graph.microsoft.com", true},
		{"mail is looked into and cut", microsoft(), func(t *testing.T, w *town, s *stroll) {
			w.mails(t, "smtp.office365.com:587", ownIssuer, smtpServer().with("EHLO", "250 hello"))
			s.target.Cloud.CA = w.ca
		}, "smtp.office365.com", 587, check.Fail, "greeting: smtp.office365.com:587 does not answer as a server for send does", "inspects SMTP", false},
		{"a bundle that is none", microsoft(), func(_ *testing.T, _ *town, s *stroll) { s.target.Cloud.CA = "nothing" },
			"smtp.office365.com", 587, check.Fail, "CA bundle is not usable", "BEGIN CERTIFICATE", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := build(t, c.site)
			s := w.stroll(t)
			if c.change != nil {
				c.change(t, w, s)
			}
			r := s.run(t)
			h := host(t, r, c.host, c.port)
			if h.Status != c.status || !strings.Contains(h.Summary, c.summary) || !strings.Contains(h.Next, c.next) || r.OK != c.ok {
				t.Errorf("%s%s\nwant %s … %s …\nnext … %s …", h.Text(), r.Headline, c.status, c.summary, c.next)
			}
			if named := strings.Contains(r.Headline, h.Name); named == c.ok {
				t.Errorf("the headline is %q", r.Headline)
			}
		})
	}
}

func TestTheNetworkCheckMeasuresTheClock(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]check.Status{time.Minute: check.OK, -3 * time.Minute: check.Warn, 6 * time.Minute: check.Fail, -time.Hour: check.Fail} {
		site := microsoft()
		site.skew = skew
		r := build(t, site).stroll(t).run(t)
		if r.Clock.Status != want || r.OK != (want != check.Fail) || (want == check.Fail) != (r.Headline == r.Clock.Summary) {
			t.Errorf("%s: %s%s", skew, r.Clock.Text(), r.Headline)
		}
	}
}

// TestTheReportInJSON holds its shape.
func TestTheReportInJSON(t *testing.T) {
	t.Parallel()
	w := build(t, microsoft())
	delete(w.at, "smtp-hve.office365.com:587")
	b, err := json.Marshal(w.stroll(t).run(t))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Cloud, Headline string
		OK              *bool
		Started         time.Time
		Clock           struct{ Name, Status, Summary string }
		Hosts           []map[string]any
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if r.Cloud != "global" || r.Headline == "" || r.OK == nil || !r.Started.Equal(now()) || r.Clock.Name != "clock" || r.Clock.Status != "ok" {
		t.Errorf("%+v", r)
	}
	for _, h := range r.Hosts {
		for _, key := range []string{"host", "port", "for", "required", "needed_by", "status", "took_ns", "summary", "stages"} {
			if h[key] == nil {
				t.Errorf("%v has no %q", h["host"], key)
			}
		}
		if (h["status"] == "fail") != (h["next"] != nil) {
			t.Errorf("%v says %v next", h["host"], h["next"])
		}
	}
}

func TestAStoppedNetworkCheckEnds(t *testing.T) {
	t.Parallel()
	s := build(t, microsoft()).stroll(t)
	ctx, stop := context.WithCancel(t.Context())
	s.deps.LookupHost = func(ctx context.Context, _ string) ([]string, error) {
		stop()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if r := check.Network(ctx, s.target, s.deps, nil); r.OK || !strings.Contains(r.Hosts[0].Summary, "The check was stopped") {
		t.Errorf("%s\n%s", r.Headline, r.Hosts[0].Text())
	}
}
