package sim365

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"postern/internal/sim365/exchange"
	"postern/internal/sim365/world"
)

// maxBody bounds a control request: a message of Microsoft's largest size.
const maxBody = 150 << 20

// control is the API that moves the simulated world from outside: policies,
// faults, people, mail. It is served without a password, to this machine only.
type control struct{ sim *Sim }

func (c control) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", c.about)
	m.HandleFunc("GET /state", c.state)
	m.HandleFunc("POST /tenants", c.addTenant)
	m.HandleFunc("PATCH /tenants/{id}", c.patchTenant)
	m.HandleFunc("POST /users", c.addUser)
	m.HandleFunc("PATCH /users/{id}", c.patchUser)
	m.HandleFunc("POST /users/{id}/revoke", c.revoke)
	m.HandleFunc("POST /apps", c.addApp)
	m.HandleFunc("PATCH /apps/{id}", c.patchApp)
	m.HandleFunc("GET /mailboxes/{mailbox}", c.mailbox)
	m.HandleFunc("PATCH /mailboxes/{mailbox}", c.patchMailbox)
	m.HandleFunc("GET /mailboxes/{mailbox}/messages", c.folder)
	m.HandleFunc("POST /mailboxes/{mailbox}/messages", c.deliver)
	m.HandleFunc("GET /messages", c.messages)
	m.HandleFunc("GET /faults", c.faults)
	m.HandleFunc("POST /faults", c.arm)
	m.HandleFunc("DELETE /faults/{id}", c.disarm)
	m.HandleFunc("PUT /lives", c.lives)
	m.HandleFunc("PUT /clock", c.clock)
	m.HandleFunc("POST /tokens/expire", c.expire)
	m.HandleFunc("POST /keys/rotate", c.rotate)
	m.HandleFunc("GET /counters/{name}", c.counter)
	return fromHere(m)
}

// fromHere keeps web pages of other sites out: they can reach loopback through a
// visitor's browser, but not without an Origin or a foreign Host.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); (host != "localhost" && (ip == nil || !ip.IsLoopback())) || r.Header.Get("Origin") != "" {
			reply(w, http.StatusForbidden, map[string]string{"error": "only programs on this machine may call the control API"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func (c control) about(w http.ResponseWriter, _ *http.Request) {
	s := c.sim
	reply(w, http.StatusOK, map[string]any{
		"authority": s.Authority(), "graph": s.Graph(), "smtp": s.SMTP(), "hve": s.HVE(), "imap": s.IMAP(), "pop3": s.POP3(), "ca": s.CAPEM(),
	})
}

func (c control) state(w http.ResponseWriter, _ *http.Request) {
	world := c.sim.World
	reply(w, http.StatusOK, map[string]any{
		"tenants": each(world.Tenants(), tenantDocOf), "users": each(world.Users(), userDocOf),
		"apps": each(world.Apps(), appDocOf), "faults": each(world.Faults(), faultDocOf),
	})
}

func (c control) addTenant(w http.ResponseWriter, r *http.Request) {
	var d tenantDoc
	if read(w, r, &d) {
		reply(w, http.StatusCreated, tenantDocOf(c.sim.World.AddTenant(d.tenant())))
	}
}

// patchTenant takes the policy switches alone, without the tenant around them.
func (c control) patchTenant(w http.ResponseWriter, r *http.Request) {
	patch(w, r, func(into func(any) error) bool {
		return c.sim.World.UpdateTenant(r.PathValue("id"), func(t *world.Tenant) {
			p := t.Policy
			if into(&p) == nil {
				t.Policy = p
			}
		})
	})
}

func (c control) addUser(w http.ResponseWriter, r *http.Request) {
	var d userDoc
	if read(w, r, &d) {
		reply(w, http.StatusCreated, userDocOf(c.sim.World.AddUser(d.user(world.User{}))))
	}
}

func (c control) patchUser(w http.ResponseWriter, r *http.Request) {
	patch(w, r, func(into func(any) error) bool {
		return c.sim.World.UpdateUser(r.PathValue("id"), func(u *world.User) {
			d := userDocOf(*u)
			if into(&d) == nil {
				*u = d.user(*u)
			}
		})
	})
}

func (c control) revoke(w http.ResponseWriter, r *http.Request) {
	done(w, c.sim.World.RevokeSessions(r.PathValue("id")))
}

func (c control) addApp(w http.ResponseWriter, r *http.Request) {
	var d appDoc
	if read(w, r, &d) {
		reply(w, http.StatusCreated, appDocOf(c.sim.World.AddApp(d.app(world.App{}))))
	}
}

func (c control) patchApp(w http.ResponseWriter, r *http.Request) {
	patch(w, r, func(into func(any) error) bool {
		return c.sim.World.UpdateApp(r.PathValue("id"), func(a *world.App) {
			d := appDocOf(*a)
			if into(&d) == nil {
				*a = d.app(*a)
			}
		})
	})
}

func (c control) mailbox(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, c.sim.World.Policy(r.PathValue("mailbox")))
}

func (c control) patchMailbox(w http.ResponseWriter, r *http.Request) {
	patch(w, r, func(into func(any) error) bool {
		c.sim.World.SetPolicy(r.PathValue("mailbox"), func(p *world.MailboxPolicy) {
			changed := *p
			changed.HVEApps, changed.SendAs = slices.Clone(p.HVEApps), slices.Clone(p.SendAs) // JSON writes through slices and pointers
			if p.SMTPAuthDisabled != nil {
				changed.SMTPAuthDisabled = new(*p.SMTPAuthDisabled)
			}
			if into(&changed) == nil {
				*p = changed
			}
		})
		return true
	})
}

// messages lists everything that was ever submitted or delivered, in order;
// ?raw=1 adds the bytes.
func (c control) messages(w http.ResponseWriter, r *http.Request) {
	list := each(c.sim.World.AllMessages(), messageDocOf)
	for i := range list {
		if r.URL.Query().Get("raw") == "" {
			list[i].Raw = ""
		}
	}
	reply(w, http.StatusOK, list)
}

// folder lists what lies in a mailbox's folder now: ?folder=, INBOX by default;
// ?raw=1 adds the bytes.
func (c control) folder(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	list := each(c.sim.Exchange.Folder(r.PathValue("mailbox"), orElse(q.Get("folder"), exchange.Inbox)), itemDocOf)
	for i := range list {
		if q.Get("raw") == "" {
			list[i].Raw = ""
		}
	}
	reply(w, http.StatusOK, list)
}

// deliver puts the body, an RFC 5322 message, into the mailbox's INBOX.
func (c control) deliver(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = c.sim.Deliver(r.PathValue("mailbox"), raw)
	}
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	done(w, true)
}

func (c control) faults(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, each(c.sim.World.Faults(), faultDocOf))
}

func (c control) arm(w http.ResponseWriter, r *http.Request) {
	var d faultDoc
	if read(w, r, &d) {
		reply(w, http.StatusCreated, map[string]string{"id": c.sim.World.Arm(d.fault())})
	}
}

func (c control) disarm(w http.ResponseWriter, r *http.Request) {
	c.sim.World.Disarm(r.PathValue("id"))
	done(w, true)
}

func (c control) lives(w http.ResponseWriter, r *http.Request) {
	var d struct {
		Access  span `json:"access"`
		Refresh span `json:"refresh"`
	}
	if read(w, r, &d) {
		c.sim.World.SetLives(time.Duration(d.Access), time.Duration(d.Refresh))
		done(w, true)
	}
}

func (c control) clock(w http.ResponseWriter, r *http.Request) {
	var d struct {
		Ahead span `json:"ahead"`
	}
	if read(w, r, &d) {
		c.sim.SetClockAhead(time.Duration(d.Ahead))
		done(w, true)
	}
}

func (c control) expire(w http.ResponseWriter, _ *http.Request) {
	c.sim.World.ExpireTokens()
	done(w, true)
}

func (c control) rotate(w http.ResponseWriter, _ *http.Request) {
	c.sim.World.RotateKeys()
	done(w, true)
}

func (c control) counter(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, map[string]int{"count": c.sim.World.Count(r.PathValue("name"))})
}

// read decodes the whole body, or answers 400 itself.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = decode(body, into)
	}
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	}
	return err == nil
}

// patch lets update decode the body over what is there now, under the world's
// lock; update reports whether there was anything.
func patch(w http.ResponseWriter, r *http.Request, update func(into func(any) error) bool) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		found := update(func(v any) error {
			err = decode(body, v)
			return err
		})
		if err == nil {
			done(w, found)
			return
		}
	}
	reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func done(w http.ResponseWriter, found bool) {
	if !found {
		reply(w, http.StatusNotFound, map[string]string{"error": "there is no such thing"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer is gone: nobody to tell
}

func each[T, D any](in []T, doc func(T) D) []D {
	out := make([]D, 0, len(in))
	for _, v := range in {
		out = append(out, doc(v))
	}
	return out
}
