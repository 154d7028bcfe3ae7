package entra

import (
	"cmp"
	"net/url"
	"strings"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Registration is an app registration as Entra needs it in a request.
type Registration struct {
	Cloud    Cloud
	Tenant   string
	ClientID string
	Secret   secret.Text // empty for a public client
	// Certificate proves the app in the secret's place; nil without one.
	Certificate *Certificate
}

// Validate checks all of it before anything is sent anywhere.
func (r Registration) Validate() error {
	if r.ClientID == "" {
		return fault.New(fault.Invalid, "client id", "it is empty").
			WithHint("copy “Application (client) ID” from the app registration's overview page")
	}
	if _, err := r.metadataURL(); err != nil {
		return err
	}
	return ValidateSecret(r.Secret)
}

// Specific reports whether the registration names one organisation, which client
// credentials need (reference section 2.2).
func (r Registration) Specific() bool { return !sharedTenant(r.Tenant) }

const (
	metadataPath  = "/v2.0/.well-known/openid-configuration"
	wholeMetadata = "openid-configuration" // ends an authority that is the metadata's own address
)

// metadataURL is where the endpoints are read. A provider that is not Entra is
// given by the whole address of its metadata and has no tenants.
func (r Registration) metadataURL() (string, error) {
	authority := strings.TrimRight(r.Cloud.Authority, "/")
	if err := checkHTTPS("authority", authority); err != nil {
		return "", err
	}
	own := r.at(metadataPath)
	if own == "" && r.Tenant == "" {
		return authority, nil
	}
	if err := ValidateTenant(r.Tenant); err != nil {
		return "", err
	}
	if own == "" {
		return authority, nil
	}
	return own, nil
}

// at is one of Entra's own addresses; "" for a provider that is not Entra.
func (r Registration) at(path string) string {
	authority := strings.TrimRight(r.Cloud.Authority, "/")
	if strings.HasSuffix(authority, wholeMetadata) {
		return ""
	}
	return authority + "/" + url.PathEscape(r.Tenant) + path
}

func checkHTTPS(what, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fault.New(fault.Invalid, what, "%q is not an https:// address", address)
	}
	return nil
}

// The scopes of reference section 1.3, by what they are for.
const (
	scopeSMTP  = "SMTP.Send"
	scopeIMAP  = "IMAP.AccessAsUser.All"
	scopePOP3  = "POP.AccessAsUser.All"
	scopeGraph = "Mail.Send"
	// scopeItems lets Postern look whether Graph has sent a message before it sends it
	// again, and keep drafts while large messages are uploaded.
	scopeItems = "Mail.ReadWrite"
)

// identityScopes go with every delegated request: who signed in, and a refresh token.
func identityScopes() []string { return append(personScopes(), "offline_access") }

func personScopes() []string { return []string{"openid", "profile", "email"} }

// wanted are a sign-in's scopes: those of an app, or of a person alone.
func wanted(scopes []string, personOnly bool) []string {
	if personOnly {
		return appendOnce(scopes, personScopes()...)
	}
	return appendOnce(scopes, identityScopes()...)
}

// Resource is whom a delegated token for a purpose (send, imap, pop3, graph, hve) is for.
func Resource(cloud Cloud, purpose string) string {
	if purpose == "graph" {
		return strings.TrimRight(cloud.Graph, "/")
	}
	return strings.TrimRight(cloud.Outlook, "/")
}

// Scopes are the delegated scopes for the purposes, each once. Those of two
// resources may stand in one authorize request, never in one token request.
func Scopes(cloud Cloud, purposes []string) []string {
	names := map[string][]string{
		"send": {scopeSMTP}, "imap": {scopeIMAP}, "pop3": {scopePOP3}, "graph": {scopeGraph, scopeItems}, "hve": {cmp.Or(cloud.HVEScope, scopeSMTP)},
	}
	var scopes []string
	for _, p := range purposes {
		for _, name := range names[p] {
			scopes = appendOnce(scopes, Resource(cloud, p)+"/"+name)
		}
	}
	return scopes
}

func appendOnce(list []string, more ...string) []string {
	seen := make(map[string]bool, len(list)+len(more))
	for _, s := range list {
		seen[s] = true
	}
	for _, s := range more {
		if !seen[s] {
			seen[s] = true
			list = append(list[:len(list):len(list)], s)
		}
	}
	return list
}
