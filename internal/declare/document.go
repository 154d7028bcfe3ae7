// Package declare turns a YAML document into what Postern should have, and what
// Postern has into a document: app registrations, accounts, devices, tasks and alert
// routes.
//
// Applying is idempotent: what is already so is left alone, what is not named is
// left alone too. Secrets are given by reference ({env:}, {file:}) or as {value:},
// and are never written out again. The package stores nothing itself.
package declare

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"postern/internal/fault"
	"postern/internal/fetch"
	"postern/internal/mail"
	"postern/internal/secret"
)

// Document is the whole file.
type Document struct {
	Apps     []App     `yaml:"apps,omitempty"`
	Accounts []Account `yaml:"accounts,omitempty"`
	Devices  []Device  `yaml:"devices,omitempty"`
	Tasks    []Task    `yaml:"tasks,omitempty"`
	Alerts   []Alert   `yaml:"alerts,omitempty"`
}

// App is an app registration. One of nothing but name and cloud only says where the
// servers are, for accounts with an app password.
type App struct {
	Name           string     `yaml:"name"`
	Tenant         string     `yaml:"tenant,omitempty"`
	ClientID       string     `yaml:"client_id,omitempty"`
	Packed         *SecretRef `yaml:"packed,omitempty"`          // CrushFTP's user name; fills in client_id, secret and tenant
	Secret         *SecretRef `yaml:"secret,omitempty"`          // absent: keep the stored one
	SecretExpires  string     `yaml:"secret_expires,omitempty"`  // 2027-05-01
	Certificate    *SecretRef `yaml:"certificate,omitempty"`     // PEM; not secret, but given the same three ways
	CertificateKey *SecretRef `yaml:"certificate_key,omitempty"` // PEM; absent: keep the stored one
	Cloud          string     `yaml:"cloud,omitempty"`           // global, usgov, dod, china, custom
	Custom         *Custom    `yaml:"custom,omitempty"`          // with cloud: custom
	HVEScope       string     `yaml:"hve_scope,omitempty"`       // delegated scope of High Volume Email; absent: SMTP.Send
}

// Custom is a cloud of the operator's own: any OpenID provider, any mail server.
type Custom struct {
	Authority string       `yaml:"authority"`
	Portal    string       `yaml:"portal,omitempty"`
	Outlook   string       `yaml:"outlook,omitempty"`  // resource that names the delegated mail scopes
	AppOnly   string       `yaml:"app_only,omitempty"` // resource of client credentials
	Graph     string       `yaml:"graph,omitempty"`
	SMTP      *mail.Server `yaml:"smtp,omitempty"`
	HVE       *mail.Server `yaml:"hve,omitempty"`
	IMAP      *mail.Server `yaml:"imap,omitempty"`
	POP3      *mail.Server `yaml:"pop3,omitempty"`
	CA        *SecretRef   `yaml:"ca,omitempty"` // PEM bundle; not secret, but given the same three ways
}

// Account is a mailbox and how Postern signs in to it.
type Account struct {
	Name       string     `yaml:"name"`
	App        string     `yaml:"app"`
	Mailbox    string     `yaml:"mailbox"`
	SignIn     string     `yaml:"sign_in,omitempty"`  // delegated (default), application, password, app_password
	Password   *SecretRef `yaml:"password,omitempty"` // with password and app_password; absent: keep the stored one
	Purposes   []string   `yaml:"purposes"`           // send, imap, pop3, graph, hve
	Shared     bool       `yaml:"shared,omitempty"`
	GiveTokens bool       `yaml:"give_tokens,omitempty"` // `postern token` may print its access tokens

	Transport string `yaml:"transport,omitempty"` // auto (default), smtp, hve, graph
	Simulate  bool   `yaml:"simulate,omitempty"`  // its mail is accepted, and sent to nobody

	Limits *mail.Limits `yaml:"limits,omitempty"` // absent: those the server is known for

	InternalDomains []string `yaml:"internal_domains,omitempty"` // with hve: the tenant's own beside the mailbox's
}

// Device is a program's local login, and what it may do.
type Device struct {
	Name      string     `yaml:"name"`
	Account   string     `yaml:"account"`
	Password  *SecretRef `yaml:"password,omitempty"`   // absent: keep, or make one and show it once
	Senders   []string   `yaml:"senders,omitempty"`    // may be used as sender beside the account's mailbox
	From      string     `yaml:"from,omitempty"`       // another sender: refuse (default), rewrite
	Networks  []string   `yaml:"networks,omitempty"`   // where it may come from; absent: anywhere
	NoLogin   bool       `yaml:"no_login,omitempty"`   // needs no login from its networks, at listed_listen
	MaxSize   fetch.Size `yaml:"max_size,omitempty"`   // 10MB; absent: max_message
	PerMinute int        `yaml:"per_minute,omitempty"` // messages; absent: no cap
	Doors     []string   `yaml:"doors,omitempty"`      // smtp, imap, pop3; absent: smtp
	Mailboxes []string   `yaml:"mailboxes,omitempty"`  // it may also read, at imap and pop3
	Disabled  bool       `yaml:"disabled,omitempty"`
}

// SecretRef says where a secret is; exactly one field is set.
type SecretRef struct {
	Env   string      `yaml:"env,omitempty"`
	File  string      `yaml:"file,omitempty"`
	Value secret.Text `yaml:"-"`
	line  int
}

// UnmarshalYAML takes {env: NAME}, {file: PATH} or {value: TEXT}.
func (r *SecretRef) UnmarshalYAML(n *yaml.Node) error {
	bad := fmt.Errorf("line %d: a secret is given as {env: NAME}, {file: PATH} or {value: TEXT}", n.Line)
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[1].Kind != yaml.ScalarNode || n.Content[1].Value == "" {
		return bad
	}
	r.line = n.Line
	switch v := n.Content[1].Value; n.Content[0].Value {
	case "env":
		r.Env = v
	case "file":
		r.File = v
	case "value":
		r.Value = secret.New(v)
	default:
		return bad
	}
	return nil
}

// Read finds the secret. One trailing line end of a file is dropped.
func (r *SecretRef) Read(getenv func(string) (string, bool)) (secret.Text, error) {
	s, err := r.raw(getenv)
	if r.File != "" {
		s = secret.New(strings.TrimRight(s.Reveal(), "\r\n"))
	}
	return s, err
}

// raw is every octet of it: a certificate in DER may end in anything.
func (r *SecretRef) raw(getenv func(string) (string, bool)) (secret.Text, error) {
	switch {
	case r.Env != "":
		v, ok := getenv(r.Env)
		if !ok || v == "" {
			return secret.Text{}, fmt.Errorf("line %d: environment variable %s is not set", r.line, r.Env)
		}
		return secret.New(v), nil
	case r.File != "":
		b, err := os.ReadFile(r.File)
		if err != nil {
			return secret.Text{}, fmt.Errorf("line %d: %w", r.line, err)
		}
		return secret.New(string(b)), nil
	}
	return r.Value, nil
}

// trimmed finds a secret that never begins or ends with a blank: pasted ones do.
func (r *SecretRef) trimmed(getenv func(string) (string, bool)) (secret.Text, error) {
	s, err := r.Read(getenv)
	s = secret.New(strings.TrimSpace(s.Reveal()))
	if err == nil && s.Empty() {
		err = fmt.Errorf("line %d: it is empty", r.line)
	}
	return s, err
}

// Parse reads a document strictly. name is used in errors, which are
// fault.Invalid and read "name: line N: what is wrong; allowed: …".
func Parse(name string, r io.Reader) (Document, error) {
	var doc Document
	raw, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return doc, fault.Wrap(fault.Invalid, "read "+name, err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return doc, invalid(name, err)
	}
	if root.Kind == 0 {
		return doc, fault.New(fault.Invalid, "apply", "%s: the document is empty; allowed: apps, accounts, devices, tasks, alerts", name)
	}
	if err := strict(root.Content[0], reflect.TypeFor[Document]()); err != nil {
		return doc, invalid(name, err)
	}
	if err := root.Decode(&doc); err != nil {
		return doc, invalid(name, err)
	}
	return doc, nil
}

func invalid(name string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var te *yaml.TypeError
	if errors.As(err, &te) {
		text = strings.Join(te.Errors, "; ")
	}
	return fault.New(fault.Invalid, "apply", "%s: %s", name, text)
}

// strict refuses keys that the type does not have, with their line. (The
// library's own KnownFields names the Go type and not what is allowed.)
func strict(n *yaml.Node, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.ScalarNode:
		return readable(n, t)
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, c := range n.Content {
			if err := strict(c, t.Elem()); err != nil {
				return err
			}
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct && t != reflect.TypeFor[SecretRef]():
		for i := 0; i+1 < len(n.Content); i += 2 {
			f, ok := field(t, n.Content[i].Value)
			if !ok {
				return fmt.Errorf("line %d: %q is not a key here; allowed: %s", n.Content[i].Line, n.Content[i].Value, strings.Join(keys(t), ", "))
			}
			if err := strict(n.Content[i+1], f); err != nil {
				return err
			}
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Slice:
		return fmt.Errorf("line %d: a list is wanted here (lines that begin with \"- \")", n.Line)
	}
	return nil
}

// readable has words of their own kind say what is wrong with them; the library would
// not tell the line.
func readable(n *yaml.Node, t reflect.Type) error {
	word, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	if !ok {
		return nil
	}
	if err := word.UnmarshalText([]byte(n.Value)); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}

func keys(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		switch name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); {
		case options == "inline":
			out = append(out, keys(t.Field(i).Type)...)
		case name != "" && name != "-":
			out = append(out, name)
		}
	}
	return out
}

func field(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == key && key != "" {
			return t.Field(i).Type, true
		}
		if options == "inline" {
			if f, ok := field(t.Field(i).Type, key); ok {
				return f, true
			}
		}
	}
	return nil, false
}

// Write writes the document as YAML.
func (d Document) Write(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("# Made by `postern export`. Secrets stay in the database: where none is written\n" +
		"# below, `postern apply` keeps the stored one. To set one, add a reference, e.g.\n" +
		"#   secret: {env: CLIENT_SECRET}    password: {file: /run/secrets/printer}\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(d); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
