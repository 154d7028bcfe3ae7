package declare

import (
	"context"
	"encoding/pem"
	"time"

	"postern/internal/entra"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/secret"
	"postern/internal/vault"
)

// Export writes down what is there, without any secret.
func (a Applier) Export(ctx context.Context) (Document, error) {
	var doc Document
	apps, err := a.Vault.Apps(ctx)
	if err != nil {
		return doc, err
	}
	for _, v := range apps {
		doc.Apps = append(doc.Apps, AppOf(v))
	}
	accounts, err := a.Vault.Accounts(ctx)
	if err != nil {
		return doc, err
	}
	for _, v := range accounts {
		doc.Accounts = append(doc.Accounts, AccountOf(v))
	}
	devices, err := a.Devices.Devices(ctx)
	if err != nil {
		return doc, err
	}
	for _, v := range devices {
		doc.Devices = append(doc.Devices, DeviceOf(v))
	}
	tasks, err := a.Tasks.Tasks(ctx)
	if err != nil {
		return doc, err
	}
	for _, v := range tasks {
		doc.Tasks = append(doc.Tasks, exportTask(v))
	}
	routes, err := a.Alerts.Routes(ctx)
	if err != nil {
		return doc, err
	}
	for _, v := range routes {
		doc.Alerts = append(doc.Alerts, AlertOf(v))
	}
	return doc, nil
}

// AppOf is an app registration as a document says it, without its secrets.
func AppOf(v vault.App) App {
	d := App{Name: v.Name, Tenant: v.Tenant, ClientID: v.ClientID, Cloud: v.Cloud.Name, HVEScope: v.Cloud.HVEScope}
	if !v.SecretExpires.IsZero() {
		d.SecretExpires = v.SecretExpires.UTC().Format(time.DateOnly)
	}
	if len(v.Certificate) > 0 {
		d.Certificate = &SecretRef{Value: secret.New(string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: v.Certificate})))}
	}
	if v.Cloud.Name == entra.Custom {
		d.Custom = custom(v.Cloud)
	}
	return d
}

// AccountOf is an account as a document says it, without its password.
func AccountOf(v vault.Account) Account {
	d := Account{Name: v.Name, App: v.App, Mailbox: v.Mailbox.String(), SignIn: string(v.Method), Shared: v.Shared, GiveTokens: v.GiveTokens, Limits: v.Limits, Transport: v.Transport, InternalDomains: v.InternalDomains, Simulate: v.Simulate}
	for _, p := range v.Purposes {
		d.Purposes = append(d.Purposes, string(p))
	}
	return d
}

func exportTask(v fetch.Task) Task {
	return Task{Name: v.Name, Account: v.Account, Disabled: v.Disabled, Spec: v.Spec}
}

func custom(c entra.Cloud) *Custom {
	u := &Custom{Authority: c.Authority, Portal: c.Portal, Outlook: c.Outlook, AppOnly: c.AppOnly, Graph: c.Graph,
		SMTP: server(c.SMTP), HVE: server(c.HVE), IMAP: server(c.IMAP), POP3: server(c.POP3)}
	if c.CA != "" {
		u.CA = &SecretRef{Value: secret.New(c.CA)}
	}
	return u
}

func server(s mail.Server) *mail.Server {
	if !s.Set() {
		return nil
	}
	return &s
}

// MarshalYAML writes a reference as it was given. Only CA bundles and certificates,
// which are no secrets, ever carry their value into an export.
func (r SecretRef) MarshalYAML() (any, error) {
	switch {
	case r.Env != "":
		return map[string]string{"env": r.Env}, nil
	case r.File != "":
		return map[string]string{"file": r.File}, nil
	}
	return map[string]string{"value": r.Value.Reveal()}, nil
}
