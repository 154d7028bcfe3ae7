package login

import (
	"crypto/rand"
	"html/template"
	"math/big"
	"net/http"
	"strings"
	"time"

	"postern/internal/sim365/world"
)

// deviceLife is how long a device code waits for its person.
const deviceLife = 15 * time.Minute

// deviceCode starts the device flow (RFC 8628 §3.2).
func (s *Server) deviceCode(w http.ResponseWriter, r *http.Request) {
	if f := postForm(r); f != nil {
		s.answer(w, r, f)
		return
	}
	if s.struck(w, r, "token", "devicecode", "", func(f *failure) { s.answer(w, r, f) }) {
		return
	}
	d, f := s.newDevice(r)
	if f != nil {
		s.answer(w, r, f)
		return
	}
	page := s.config.Authority + "/common/oauth2/deviceauth"
	writeJSON(w, http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": d.raw, "verification_uri": page,
		"expires_in": int(deviceLife.Seconds()), "interval": max(int(s.config.DeviceInterval.Seconds()), 1),
		"message": "To sign in, use a web browser to open the page " + page + " and enter the code " + d.userCode + " to authenticate.",
	})
}

func (s *Server) newDevice(r *http.Request) (*device, *failure) {
	re, f := s.realm(r)
	if f != nil {
		return nil, f
	}
	app, f := s.app(re, r.PostForm.Get("client_id"))
	if f != nil {
		return nil, f
	}
	if r.PostForm.Get("scope") == "" {
		return nil, aadsts(900144, "scope")
	}
	q, f := s.delegated(r.PostForm.Get("scope"), app, re.name)
	if f != nil {
		return nil, f
	}
	d := &device{raw: "GAQABIQ" + world.Random(200), userCode: userCode(), clientID: app.ClientID, realm: re, scopes: q, expires: s.world.Now().Add(deviceLife)}
	s.world.Remember(d.raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	for raw, old := range s.devices {
		if s.world.Now().Sub(old.expires) > deviceLife {
			delete(s.devices, raw)
		}
	}
	s.devices[d.raw] = d
	return d, nil
}

// userCode makes nine characters that nobody mistakes for another.
func userCode() string {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	b := make([]byte, 9)
	for i := range b {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(letters)))) // crypto/rand never fails
		b[i] = letters[n.Int64()]
	}
	return string(b)
}

// devicePage is where the person types the user code.
func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	v := view{Title: "Enter code to allow access", Action: template.URL(r.URL.Path), Code: r.URL.Query().Get("otc")}
	if r.Method == http.MethodGet {
		s.show(w, http.StatusOK, "code", v)
		return
	}
	d, ok := s.waitingDevice(r.PostFormValue("otc"))
	if !ok {
		v.Complaint = "That code didn't work. Check the code and try again."
		s.show(w, http.StatusOK, "code", v)
		return
	}
	app, f := s.app(d.realm, d.clientID)
	if f != nil {
		s.ownPage(w, r, f)
		return
	}
	s.begin(w, r, s.deviceFlow(d, app))
}

// waitingDevice finds a live device code nobody has answered yet.
func (s *Server) waitingDevice(userCode string) (device, bool) {
	userCode = strings.ToUpper(strings.TrimSpace(userCode))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.userCode == userCode && d.grant == nil && !d.denied && s.world.Now().Before(d.expires) {
			return *d, true
		}
	}
	return device{}, false
}

func (s *Server) deviceFlow(d device, app world.App) *flow {
	return &flow{
		realm: d.realm, app: app, scopes: d.scopes, prompt: "select_account", confirm: true,
		succeed: func(w http.ResponseWriter, _ *http.Request, u world.User) {
			g := s.newGrant(app, u, d.scopes)
			s.decide(d.raw, func(d *device) { d.grant = &g })
			s.show(w, http.StatusOK, "notice", view{Title: app.Name, Text: "You have signed in to the " + app.Name + " application on your device. You may now close this window."})
		},
		refuse: func(w http.ResponseWriter, r *http.Request, f *failure) {
			s.decide(d.raw, func(d *device) { d.denied = true })
			if f.number != 65004 {
				s.ownPage(w, r, f)
				return
			}
			s.show(w, http.StatusOK, "notice", view{Title: app.Name, Text: "You cancelled the sign-in. You may now close this window."})
		},
	}
}

func (s *Server) decide(raw string, f func(*device)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[raw]; d != nil {
		f(d)
	}
}
