package sim365

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"postern/internal/sim365/exchange"
	"postern/internal/sim365/world"
)

// What the control API reads and writes. Secrets go in, never out.

type tenantDoc struct {
	ID      string             `json:"id"`
	Domains []string           `json:"domains"`
	Policy  world.TenantPolicy `json:"policy"`
}

func tenantDocOf(t world.Tenant) tenantDoc { return tenantDoc(t) }

func (d tenantDoc) tenant() world.Tenant { return world.Tenant(d) }

type userDoc struct {
	TenantID    string `json:"tenant_id"`
	UPN         string `json:"upn"`
	ObjectID    string `json:"object_id"`
	DisplayName string `json:"display_name"`
	Password    string `json:"password,omitempty"`
	AppPassword string `json:"app_password,omitempty"`
	Disabled    bool   `json:"disabled"`
	Locked      bool   `json:"locked"`
	MFA         bool   `json:"mfa"`
	HVE         bool   `json:"hve"`
	Admin       bool   `json:"admin"`
}

func userDocOf(u world.User) userDoc {
	return userDoc{
		TenantID: u.TenantID, UPN: u.UPN, ObjectID: u.ObjectID, DisplayName: u.DisplayName,
		Disabled: u.Disabled, Locked: u.Locked, MFA: u.MFA, HVE: u.HVE, Admin: u.Admin,
	}
}

// user is the document over what was there: an absent password stays.
func (d userDoc) user(old world.User) world.User {
	return world.User{
		TenantID: d.TenantID, UPN: d.UPN, ObjectID: d.ObjectID, DisplayName: d.DisplayName,
		Password: orElse(d.Password, old.Password), AppPassword: orElse(d.AppPassword, old.AppPassword),
		Disabled: d.Disabled, Locked: d.Locked, MFA: d.MFA, HVE: d.HVE, Admin: d.Admin,
	}
}

type appDoc struct {
	ClientID      string            `json:"client_id"`
	HomeTenant    string            `json:"home_tenant"`
	MultiTenant   bool              `json:"multi_tenant"`
	Name          string            `json:"name"`
	Secret        string            `json:"secret,omitempty"`
	SecretExpired bool              `json:"secret_expired"`
	SecretID      string            `json:"secret_id"`
	Certificate   []byte            `json:"certificate,omitempty"` // DER in base64
	PublicClient  bool              `json:"public_client"`
	RedirectURIs  []string          `json:"redirect_uris"`
	Disabled      bool              `json:"disabled"`
	Permissions   []string          `json:"permissions"`
	AdminConsent  map[string]bool   `json:"admin_consent"`
	Registered    map[string]bool   `json:"registered"`
	FullAccess    map[string]bool   `json:"full_access"`
	UserConsent   map[string]string `json:"user_consent"`
}

// appDocOf shares nothing with the app, for JSON decodes into maps and slices in place.
func appDocOf(a world.App) appDoc {
	d := appDoc(a)
	d.Secret = ""
	d.RedirectURIs, d.Permissions, d.Certificate = slices.Clone(a.RedirectURIs), slices.Clone(a.Permissions), slices.Clone(a.Certificate)
	d.AdminConsent, d.Registered = maps.Clone(a.AdminConsent), maps.Clone(a.Registered)
	d.FullAccess, d.UserConsent = maps.Clone(a.FullAccess), maps.Clone(a.UserConsent)
	return d
}

func (d appDoc) app(old world.App) world.App {
	a := world.App(d)
	a.Secret = orElse(a.Secret, old.Secret)
	return a
}

type faultDoc struct {
	ID      string          `json:"id"`
	Where   string          `json:"where"`
	Stage   string          `json:"stage,omitempty"`
	Mailbox string          `json:"mailbox,omitempty"`
	Kind    world.FaultKind `json:"kind"`
	Code    string          `json:"code,omitempty"`
	Delay   span            `json:"delay,omitempty"`
	Times   int             `json:"times"`
}

func faultDocOf(f world.Fault) faultDoc {
	return faultDoc{f.ID, f.Where, f.Stage, f.Mailbox, f.Kind, f.Code, span(f.Delay), f.Times}
}

func (d faultDoc) fault() world.Fault {
	return world.Fault{ID: d.ID, Where: d.Where, Stage: d.Stage, Mailbox: d.Mailbox, Kind: d.Kind, Code: d.Code, Delay: time.Duration(d.Delay), Times: d.Times}
}

// messageDoc is one event of the world: a submission, a delivery.
type messageDoc struct {
	Mailbox   string    `json:"mailbox"`
	Folder    string    `json:"folder"` // "" for mail to somebody outside
	From      string    `json:"from"`
	To        []string  `json:"to"`
	Received  time.Time `json:"received"`
	Size      int       `json:"size"`
	Confirmed bool      `json:"confirmed"`
	Via       string    `json:"via"`
	Raw       string    `json:"raw,omitempty"`
}

func messageDocOf(m world.Stored) messageDoc {
	return messageDoc{
		Mailbox: m.Mailbox, Folder: m.Folder, From: m.From, To: m.To, Received: m.Received,
		Size: len(m.Raw), Confirmed: m.Confirmed, Via: m.Via, Raw: string(m.Raw),
	}
}

// itemDoc is one message as it lies in a folder now.
type itemDoc struct {
	UID      uint32    `json:"uid"`
	Flags    []string  `json:"flags"`
	Received time.Time `json:"received"`
	Size     int       `json:"size"`
	Raw      string    `json:"raw,omitempty"`
}

func itemDocOf(m exchange.Message) itemDoc {
	return itemDoc{UID: m.UID, Flags: m.Flags, Received: m.Received, Size: len(m.Raw), Raw: string(m.Raw)}
}

// span is a duration as people write it: "1m30s".
type span time.Duration

// MarshalText writes "1m30s".
func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads it.
func (s *span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 1m30s", b)
	}
	*s = span(d)
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// decode refuses what it does not know, so that a misspelt switch is not silent.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
