package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/fault"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Devices are the programs and machines with a local login, and the doors they come
// through.
type Devices interface {
	Devices(ctx context.Context) ([]door.Device, error)
	Device(ctx context.Context, name string) (door.Device, error)
	DeleteDevice(ctx context.Context, who, name string) error
	SwitchDevice(ctx context.Context, who, name string, on bool) error
	NewDevicePassword(ctx context.Context, who, name string) (secret.Text, error)
	// TestDevice logs in at one of the doors as the device would, and sends nothing.
	TestDevice(ctx context.Context, name, door string, password secret.Text) (check.Report, error)
	// Doors are those that are open; OldTLS are the devices that lately logged in with
	// an old TLS version, and with which.
	Doors() []Door
	OldTLS() map[string]string
}

// Door is an open listener, as a machine elsewhere reaches it.
type Door struct {
	Key  string // of the configuration: smtp_listen
	Host string
	Port int
}

const devicesPath = "/devices"

func (s *Server) devicePlaces() []place {
	return []place{
		{"GET /devices", viewer, s.deviceList},
		{"GET /new/device", admin, s.newDevice},
		{"POST /new/device", admin, s.createDevice},
		{"GET /devices/{name}", viewer, s.devicePage},
		{"POST /devices/{name}", admin, s.changeDevice},
		{"POST /devices/{name}/password", admin, s.replaceDevicePassword},
		{"POST /devices/{name}/test", admin, s.testDevice},
		{"POST /devices/{name}/switch", admin, s.switchDevice},
		{"POST /devices/{name}/delete", admin, s.deleteDevice},
	}
}

// pageRows is how many rows a list shows.
const pageRows = 100

// deviceListPage is the list of devices.
type deviceListPage struct {
	sheet
	Form    form
	Devices []deviceRow
	Next    string // where the next page begins
	Any     bool
}

type deviceRow struct {
	door.Device
	OldTLS string // the version it still speaks
}

func (s *Server) deviceList(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := deviceListPage{sheet: s.sheet(w, r, "Devices", devicesPath), Form: blank(r.URL.Query())}
	all, err := s.Devices.Devices(ctx)
	if err != nil {
		s.trouble(r, &p.sheet, err, "The devices could not be looked up.")
	}
	p.Any = len(all) > 0
	old, text, after := s.Devices.OldTLS(), strings.ToLower(p.Form.Get("q")), p.Form.Get("after")
	for _, d := range all {
		if d.Name <= after || text != "" && !strings.Contains(strings.ToLower(d.Name+"\x00"+d.Account), text) {
			continue
		}
		if len(p.Devices) == pageRows {
			p.Next = devicesPath + "?" + url.Values{"q": {p.Form.Get("q")}, "after": {p.Devices[pageRows-1].Name}}.Encode()
			break
		}
		p.Devices = append(p.Devices, deviceRow{d, old[d.Name]})
	}
	s.show(w, r, http.StatusOK, "devices.html", p)
}

// deviceFormPage is the form that makes a device.
type deviceFormPage struct {
	sheet
	deviceForm
}

// deviceForm is the part that making and changing share.
type deviceForm struct {
	Form     form
	Accounts []choice // empty when there are too many for a list
	New      bool
	More     bool // the rarely needed is open
}

// mostListed is up to how many accounts are a list to choose from.
const mostListed = 200

// newDevice shows the form that makes one.
func (s *Server) newDevice(w http.ResponseWriter, r *http.Request) {
	f := blank(url.Values{"account": {r.URL.Query().Get("account")}, "name": {""}, "from": {"refuse"}, "doors": {door.DoorSMTP}})
	s.showDeviceForm(w, r, http.StatusOK, f)
}

func (s *Server) showDeviceForm(w http.ResponseWriter, r *http.Request, status int, f form) {
	ctx, cancel := s.brief(r)
	defer cancel()
	p := deviceFormPage{sheet: s.sheet(w, r, "New device", devicesPath)}
	p.deviceForm = s.deviceForm(ctx, r, &p.sheet, f)
	p.New = true
	s.show(w, r, status, "devicenew.html", p)
}

func (s *Server) deviceForm(ctx context.Context, r *http.Request, p *sheet, f form) deviceForm {
	d := deviceForm{Form: f, Accounts: s.accountChoices(ctx, r, p, func(vault.Account) bool { return true })}
	if f.Get("account") == "" && len(d.Accounts) == 1 {
		f.Values.Set("account", d.Accounts[0].Value)
	}
	for _, name := range []string{"senders", "networks", "no_login", "max_size", "per_minute", "mailboxes"} {
		d.More = d.More || f.Get(name) != "" || f.Wrong[name] != ""
	}
	d.More = d.More || f.Get("from") == "rewrite" || f.Wrong["password"] != ""
	return d
}

// sends reports whether an account is for sending at all.
func sends(a vault.Account) bool {
	return a.May(vault.Send) || a.May(vault.Graph) || a.May(vault.HVE)
}

// accountChoices are the accounts that fit, to choose from.
func (s *Server) accountChoices(ctx context.Context, r *http.Request, p *sheet, fits func(vault.Account) bool) []choice {
	all, err := s.Vault.Accounts(ctx)
	if err != nil {
		s.trouble(r, p, err, "The accounts could not be looked up; type the name of one.")
	}
	all = slices.DeleteFunc(all, func(a vault.Account) bool { return !fits(a) })
	if len(all) > mostListed {
		return nil
	}
	choices := make([]choice, len(all))
	for i, a := range all {
		choices[i] = choice{Value: a.Name, Label: a.Name + " – " + a.Mailbox.String()}
	}
	return choices
}

// device reads the form as a document would say it.
func (f *form) device(name string) declare.Device {
	d := declare.Device{Name: name, Account: f.Get("account"), From: f.Get("from"), NoLogin: f.Get("no_login") != "",
		Senders: f.Lines("senders"), Networks: f.Lines("networks"), Mailboxes: f.Lines("mailboxes")}
	if doors := f.Values["doors"]; !slices.Equal(doors, []string{door.DoorSMTP}) { // which is what none means
		d.Doors = doors
	}
	f.need("account")
	if text := f.Get("max_size"); text != "" {
		if err := d.MaxSize.UnmarshalText([]byte(text)); err != nil {
			f.wrong("max_size", sentence(err.Error()))
		}
	}
	d.PerMinute = f.count("per_minute")
	if d.NoLogin && len(d.Networks) == 0 {
		f.wrong("networks", "Name the addresses it may come from: without a login nothing else tells it apart.")
	}
	if clear := f.Values.Get("password"); clear != "" {
		d.Password = &declare.SecretRef{Value: secret.New(clear)}
	}
	return d
}

// createDevice makes one and answers with its setup card, which has the password.
func (s *Server) createDevice(w http.ResponseWriter, r *http.Request) {
	f := typed(r)
	f.need("name")
	name := f.Get("name")
	doc := f.device(name)
	if name != "" {
		if _, err := s.Devices.Device(r.Context(), name); err == nil {
			f.wrong("name", "There is a device of this name. Choose another, or change that one.")
		}
	}
	var done []declare.Change
	var err error
	if f.good() {
		if done, err = s.apply(r, declare.Document{Devices: []declare.Device{doc}}); err != nil {
			s.refused(r, &f, err, "name", "account", "senders", "networks", "mailboxes", "password", "from")
		}
	}
	if !f.good() {
		s.showDeviceForm(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	made := secret.New(f.Values.Get("password"))
	if made.Empty() {
		made = done[0].Password
	}
	s.deviceAs(w, r, http.StatusOK, name, deviceShow{made: made, said: "The device is made. Its password is shown this once."})
}

// changeDevice saves the form of an existing one; its password stays.
func (s *Server) changeDevice(w http.ResponseWriter, r *http.Request) {
	f, name := typed(r), r.PathValue("name")
	doc := f.device(name)
	if f.good() {
		now, err := s.Devices.Device(r.Context(), name)
		if err != nil {
			s.failDevice(w, r, err)
			return
		}
		doc.Disabled = now.Disabled // switching has a button of its own: a form that is hours old does not switch
		f.overtaken(deviceValues(now))
	}
	if f.good() {
		if _, err := s.apply(r, declare.Document{Devices: []declare.Device{doc}}); err != nil {
			s.refused(r, &f, err, "account", "senders", "networks", "mailboxes", "from")
		}
	}
	if !f.good() {
		s.deviceAs(w, r, http.StatusUnprocessableEntity, name, deviceShow{form: &f})
		return
	}
	s.done(w, r, devicePath(name), "Saved. It counts from the next message on.")
}

func devicePath(name string) string { return devicesPath + "/" + url.PathEscape(name) }

func (s *Server) replaceDevicePassword(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	fresh, err := s.Devices.NewDevicePassword(r.Context(), s.who(r), name)
	if err != nil {
		s.failDevice(w, r, err)
		return
	}
	s.deviceAs(w, r, http.StatusOK, name, deviceShow{made: fresh, said: "The old password is good no more. The new one is shown this once."})
}

func (s *Server) testDevice(w http.ResponseWriter, r *http.Request) {
	f, name := typed(r), r.PathValue("name")
	password := secret.New(f.Values.Get("password"))
	report, err := s.Devices.TestDevice(r.Context(), name, f.Get("door"), password)
	if errors.Is(err, fault.NotFound) {
		s.failDevice(w, r, err)
		return
	}
	show := deviceShow{test: &report, door: f.Get("door")}
	if err != nil {
		f.refuse(err)
		show.test, show.said = &check.Report{Headline: "The test could not be made. " + f.Why}, ""
	}
	if f.Get("made") != "" { // from the card that showed it: it must not be lost by a test
		show.made = password
	}
	s.deviceAs(w, r, http.StatusOK, name, show)
}

func (s *Server) switchDevice(w http.ResponseWriter, r *http.Request) {
	name, on := r.PathValue("name"), typed(r).Get("on") != ""
	if err := s.Devices.SwitchDevice(r.Context(), s.who(r), name, on); err != nil {
		s.failDevice(w, r, err)
		return
	}
	said := "Switched off: it is let in no more."
	if on {
		said = "Switched on."
	}
	s.done(w, r, devicePath(name), said)
}

func (s *Server) deleteDevice(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.Devices.DeleteDevice(r.Context(), s.who(r), name); err != nil {
		s.failDevice(w, r, err)
		return
	}
	s.done(w, r, devicesPath, "Device "+name+" is deleted. What it handed in goes on its way.")
}

// failDevice says why a device cannot be shown or changed.
func (s *Server) failDevice(w http.ResponseWriter, r *http.Request, err error) {
	s.failThing(w, r, err, "There is no such device", devicesPath)
}
