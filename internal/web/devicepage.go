package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"postern/internal/check"
	"postern/internal/declare"
	"postern/internal/door"
	"postern/internal/secret"
)

// devicePageData is a device with its setup card and the form that changes it.
type devicePageData struct {
	sheet
	deviceForm
	Device  door.Device
	Mailbox string // whose mail it sends
	Doors   []doorLine
	OldTLS  string
	Made    string // the password, when it was just made
	Test    *check.Report
	Door    string // that was tested
}

// deviceShow is what an act adds to the page.
type deviceShow struct {
	form *form // typed, and refused
	made secret.Text
	said string
	test *check.Report
	door string
}

// doorLine is one way in on the setup card.
type doorLine struct {
	Door
	doorWords
}

// doorWords say what a door is to somebody who fills in a printer's form.
type doorWords struct {
	Opens                     string // the door a device must be let open
	Protocol, Encryption, For string
}

func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	s.deviceAs(w, r, http.StatusOK, r.PathValue("name"), deviceShow{})
}

func (s *Server) deviceAs(w http.ResponseWriter, r *http.Request, status int, name string, show deviceShow) {
	ctx, cancel := s.brief(r)
	defer cancel()
	d, err := s.Devices.Device(ctx, name)
	if err != nil {
		s.failDevice(w, r, err)
		return
	}
	p := devicePageData{sheet: s.sheet(w, r, d.Name, devicesPath), Device: d, OldTLS: s.Devices.OldTLS()[name],
		Doors: s.doorsFor(d), Made: show.made.Reveal(), Test: show.test, Door: show.door}
	if show.said != "" {
		p.Note = show.said
	}
	f := shown(deviceValues(d))
	if show.form != nil {
		f = *show.form
	}
	p.deviceForm = s.deviceForm(ctx, r, &p.sheet, f)
	p.Mailbox = s.mailboxOf(ctx, r, &p.sheet, d.Account)
	s.show(w, r, status, "devicepage.html", p)
}

func (s *Server) mailboxOf(ctx context.Context, r *http.Request, p *sheet, account string) string {
	d, err := s.Vault.Describe(ctx, account)
	if err != nil {
		s.trouble(r, p, err, "Whose mail it sends could not be looked up.")
		return ""
	}
	return d.Account.Mailbox.String()
}

// doorsFor are the open doors that a device can use.
func (s *Server) doorsFor(d door.Device) []doorLine {
	var lines []doorLine
	for _, at := range s.Devices.Doors() {
		words := wordsOfDoor(at.Key)
		if !d.Policy.Opens(words.Opens) || at.Key == "listed_listen" && !d.Policy.NoLogin {
			continue
		}
		lines = append(lines, doorLine{at, words})
	}
	return lines
}

// deviceValues are a device's settings as its form has them.
func deviceValues(v door.Device) url.Values {
	d := declare.DeviceOf(v)
	values := url.Values{"name": {d.Name}, "account": {d.Account}, "from": {"refuse"},
		"senders": {strings.Join(d.Senders, "\n")}, "networks": {strings.Join(d.Networks, "\n")},
		"mailboxes": {strings.Join(d.Mailboxes, "\n")}, "doors": {door.DoorSMTP}}
	if len(d.Doors) > 0 {
		values["doors"] = d.Doors
	}
	if d.From != "" {
		values.Set("from", d.From)
	}
	if d.NoLogin {
		values.Set("no_login", "on")
	}
	if d.MaxSize > 0 {
		values.Set("max_size", sizeWords(int64(d.MaxSize)))
	}
	if d.PerMinute > 0 {
		values.Set("per_minute", strconv.Itoa(d.PerMinute))
	}
	return values
}

// Senders are the addresses it may use beside its account's mailbox.
func (p devicePageData) Senders() string {
	words := make([]string, len(p.Device.Senders))
	for i, a := range p.Device.Senders {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// Tested are the doors that a test can go through.
func (p devicePageData) Tested() (lines []doorLine) {
	for _, d := range p.Doors {
		if d.Opens == door.DoorSMTP {
			lines = append(lines, d)
		}
	}
	return lines
}

// Reads reports whether the device opens a door behind which mail is read.
func (p devicePageData) Reads() bool { return len(p.Tested()) < len(p.Doors) }

// CanLogin reports whether any door on the card asks for name and password.
func (p devicePageData) CanLogin() bool {
	for _, d := range p.Doors {
		if d.Key != "listed_listen" {
			return true
		}
	}
	return false
}
