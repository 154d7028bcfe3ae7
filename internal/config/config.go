// Package config reads what Postern must know before it can open its database:
// listeners, database, master key, public URL, logging. Everything else lives in
// that database and is changed with apply, the pages or the API.
//
// Every key can stand in one TOML file, in the environment as POSTERN_KEY, and on
// the command line as --key; the later beats the earlier. The package yields a
// plain struct and opens nothing.
package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Config is everything `postern serve` is told from outside.
type Config struct {
	DataDir        string      `toml:"data_dir" default:"postern-data" help:"directory for the database, large bodies, the certificate and the master key"`
	Database       string      `toml:"database" help:"PostgreSQL URL for several nodes (empty: SQLite in data_dir)"`
	MasterKey      secret.Text `toml:"master_key" help:"master key itself, for those who keep it in the environment (empty: master_key_file)"`
	MasterKeyFile  string      `toml:"master_key_file" help:"file with the master key (empty: data_dir/master.key, made on first start)"`
	MasterKeyURL   string      `toml:"master_key_url" help:"cloud key service that holds the master key: awskms://, gcpkms://, azurekeyvault:// or hashivault:// (empty: master_key_file)"`
	Proxy          Proxy       `toml:"proxy" help:"http://, https:// or socks5:// proxy for token and Graph requests, name and password included (empty: HTTPS_PROXY)"`
	NoProxy        string      `toml:"no_proxy" help:"who is reached past the proxy: hosts, .domains, addresses and networks, comma separated"`
	CAFile         string      `toml:"ca_file" help:"certificate authorities in PEM, believed beside the system's"`
	PublicURL      URL         `toml:"public_url" default:"http://localhost:9090" help:"address under which browsers reach Postern; the redirect URI follows from it"`
	WebListen      Listen      `toml:"web_listen" default:":9090" help:"host:port of the web pages"`
	SMTPListen     Listen      `toml:"smtp_listen" default:":587" help:"host:port of the SMTP door (STARTTLS); \"off\" closes it"`
	SMTPSListen    Listen      `toml:"smtps_listen" default:"off" help:"host:port of the SMTP door with TLS from the first octet (:465)"`
	ListedListen   Listen      `toml:"listed_listen" default:"off" help:"host:port of the SMTP door for machines that cannot log in (:25); they need a device with no_login and networks"`
	LegacyListen   Listen      `toml:"legacy_listen" default:"off" help:"host:port of an SMTP door for old machines that know TLS 1.0 or 1.1 only; the log and the metrics say who still uses it"`
	Hostname       string      `toml:"hostname" help:"name the SMTP door answers with (empty: the machine's)"`
	HTTPSListen    Listen      `toml:"https_listen" default:"off" help:"host:port of the web pages over TLS (:443), with the certificate of the SMTP doors"`
	TrustedProxies Networks    `toml:"trusted_proxies" help:"addresses and networks of reverse proxies before the web pages, comma separated: their X-Forwarded-For is believed"`
	AcmeHosts      Hosts       `toml:"acme_hosts" help:"hostnames to get a certificate for over ACME, comma separated (empty: none); needs acme_listen or https_listen"`
	AcmeDirectory  string      `toml:"acme_directory" default:"https://acme-v02.api.letsencrypt.org/directory" help:"the ACME authority; using it means agreeing to its terms"`
	AcmeEmail      string      `toml:"acme_email" help:"where the ACME authority writes to (empty: nowhere)"`
	AcmeListen     Listen      `toml:"acme_listen" default:"off" help:"host:port where the ACME authority asks by http-01; it asks at port 80 of every acme_hosts. off: it asks by tls-alpn-01 at https_listen, its port 443"`
	TLSCert        string      `toml:"tls_cert" help:"certificate file in PEM (empty: a self-signed one in data_dir)"`
	TLSKey         string      `toml:"tls_key" help:"key file of tls_cert in PEM"`
	MaxMessage     Size        `toml:"max_message" default:"150MB" help:"largest message the SMTP door takes"`
	AlertQueueAge  Span        `toml:"alert_queue_age" default:"1h" help:"age of the oldest waiting message of an account that is told as queue_old; \"off\": none is"`
	AlertDiskFree  Size        `toml:"alert_disk_free" default:"1GB" help:"free space in data_dir below which disk_low is told"`
	Simulate       Switch      `toml:"simulate" default:"off" help:"on: mail is accepted, queued and paced as ever, and sent to nobody"`
	ResendWindow   Span        `toml:"resend_window" default:"10m" help:"a message that a device hands in again within this time, because the answer got lost, is not queued again; \"off\": it is"`
	KeepMessages   Span        `toml:"keep_messages" default:"30d" help:"how long finished messages are remembered: delivered ones, and failed ones whose sender was told; \"off\": for ever"`
	KeepAudit      Span        `toml:"keep_audit" default:"365d" help:"how long the audit log is kept; \"off\": for ever"`
	SessionIdle    Lasting     `toml:"session_idle" default:"12h" help:"a login to the pages ends when it was not used for so long"`
	SessionLife    Lasting     `toml:"session_life" default:"7d" help:"and in any case after so long"`
	OIDCAuthority  string      `toml:"oidc_authority" default:"https://login.microsoftonline.com" help:"where people may sign in to the pages: Entra's host, or the whole address of a provider's openid-configuration"`
	OIDCTenant     string      `toml:"oidc_tenant" help:"Entra tenant whose people may sign in to the pages: GUID or domain (another provider has none)"`
	OIDCClientID   string      `toml:"oidc_client_id" help:"client id of the app for signing in to the pages (empty: by password only)"`
	OIDCSecret     secret.Text `toml:"oidc_client_secret" help:"its client secret, for those who keep it in the environment"`
	OIDCSecretFile string      `toml:"oidc_client_secret_file" help:"file with its client secret"`
	OIDCAllow      string      `toml:"oidc_allow" help:"who may come in, as what: role:APP-ROLE=admin, group:GUID=operator, domain:contoso.com=viewer, user:jane@contoso.com=admin (empty: users whom an administrator added)"`
	LogLevel       LogLevel    `toml:"log_level" default:"info" help:"debug, info, warn or error"`
	LogFormat      LogFormat   `toml:"log_format" default:"auto" help:"auto, text or json"`

	IMAPListen    Listen `toml:"imap_listen" default:"off" help:"host:port of the IMAP door (STARTTLS, :143)"`
	IMAPSListen   Listen `toml:"imaps_listen" default:"off" help:"host:port of the IMAP door with TLS from the first octet (:993)"`
	POP3Listen    Listen `toml:"pop3_listen" default:"off" help:"host:port of the POP3 door (STLS, :110)"`
	POP3SListen   Listen `toml:"pop3s_listen" default:"off" help:"host:port of the POP3 door with TLS from the first octet (:995)"`
	BridgeMost    Count  `toml:"bridge_sessions" default:"4000" help:"IMAP and POP3 sessions at the same time"`
	BridgePerBox  Count  `toml:"bridge_per_mailbox" default:"10" help:"IMAP and POP3 sessions at the same time in one mailbox; Exchange is said to allow 20 connections, of which fetch tasks may have 8"`
	BridgePerHost Count  `toml:"bridge_per_host" default:"100" help:"connections of one address that have not signed in to IMAP or POP3 yet"`

	CheckEvery      Span `toml:"check_every" default:"24h" help:"how often every account's connection is checked, spread over that time; \"off\": never by itself"`
	AlertTaskSilent Span `toml:"alert_task_silent" default:"1h" help:"how long after it was due a task may be without a successful run before task_silent is told; \"off\": it is not"`

	from map[string]string // where a key's value is from; absent: its default. No key, so it stays the last
}

// Key describes one setting, for flags and documentation.
type Key struct {
	Name    string // as in the file: data_dir
	Default string
	Help    string
	Secret  bool // may hold a password, and so is no flag: it would stand in the process list
}

// Env is the key's name in the environment.
func (k Key) Env() string { return "POSTERN_" + strings.ToUpper(k.Name) }

// Flag is the key's name on the command line.
func (k Key) Flag() string { return strings.ReplaceAll(k.Name, "_", "-") }

// Keys lists every setting in the order of the struct.
func Keys() []Key {
	t := reflect.TypeFor[Config]()
	keys := make([]Key, 0, t.NumField())
	for i := range t.NumField() {
		tag, kind := t.Field(i).Tag, t.Field(i).Type
		if !t.Field(i).IsExported() {
			continue
		}
		keys = append(keys, Key{
			Name: tag.Get("toml"), Default: tag.Get("default"), Help: tag.Get("help"),
			Secret: kind == reflect.TypeFor[secret.Text]() || kind == reflect.TypeFor[Proxy](),
		})
	}
	return keys
}

// Load reads the file (skipped when path is ""), then the environment, then the
// flags that were given, and validates the whole. Errors are fault.Invalid and
// name file, line, key and what would be allowed.
func Load(path string, getenv func(string) (string, bool), flags map[string]string) (Config, error) {
	var c Config
	for _, k := range Keys() {
		if k.Default != "" {
			if err := c.set(k.Name, k.Default); err != nil {
				return c, fmt.Errorf("default of %s: %w", k.Name, err)
			}
		}
	}
	if path != "" {
		if err := c.readFile(path); err != nil {
			return c, err
		}
	}
	for _, k := range Keys() {
		if v, ok := getenv(k.Env()); ok {
			if err := c.set(k.Name, v); err != nil {
				return c, fault.New(fault.Invalid, "environment", "%s: %w", k.Env(), err)
			}
			c.note(k.Name, k.Env())
		}
		if v, ok := flags[k.Name]; ok {
			if err := c.set(k.Name, v); err != nil {
				return c, fault.New(fault.Invalid, "command line", "--%s: %w", k.Flag(), err)
			}
			c.note(k.Name, "--"+k.Flag())
		}
	}
	return c, c.validate()
}

func (c *Config) validate() error {
	switch {
	case c.DataDir == "":
		return fault.New(fault.Invalid, "configuration", "data_dir is empty").WithHint("name a directory that Postern may write to")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fault.New(fault.Invalid, "configuration", "tls_cert and tls_key go together: one is set and the other is not")
	case len(c.AcmeHosts) > 0 && c.TLSCert != "":
		return fault.New(fault.Invalid, "configuration", "acme_hosts and tls_cert exclude each other")
	case len(c.AcmeHosts) == 0 && !c.AcmeListen.Off():
		return fault.New(fault.Invalid, "configuration", "acme_listen is for nothing without acme_hosts")
	case len(c.AcmeHosts) > 0 && c.AcmeListen.Off() && c.HTTPSListen.Off():
		return fault.New(fault.Invalid, "configuration", "acme_hosts needs a listener where the authority may ask: acme_listen or https_listen").
			WithHint("set acme_listen to :80, or https_listen to :443")
	case len(c.AcmeHosts) > 0 && !strings.HasPrefix(c.AcmeDirectory, "https://"):
		return fault.New(fault.Invalid, "configuration", "acme_directory: %q is not usable; allowed: https://host/path", c.AcmeDirectory)
	case c.MasterKeyURL != "" && (c.MasterKeyFile != "" || !c.MasterKey.Empty()):
		return fault.New(fault.Invalid, "configuration", "master_key_url, master_key_file and master_key exclude each other")
	case c.OIDCSecretFile != "" && !c.OIDCSecret.Empty():
		return fault.New(fault.Invalid, "configuration", "oidc_client_secret and oidc_client_secret_file exclude each other")
	case c.OIDCClientID == "" && (c.OIDCAllow != "" || c.OIDCTenant != "" || c.OIDCSecretFile != "" || !c.OIDCSecret.Empty()):
		return fault.New(fault.Invalid, "configuration", "oidc_client_id is empty, so the other oidc_ keys are for nothing")
	case c.Database != "" && !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://"):
		return fault.New(fault.Invalid, "configuration", "database: allowed is a URL like postgres://user@host/name, or nothing for SQLite")
	}
	return c.portsApart()
}

// portsApart refuses two listeners at one port, which only the start would find out.
func (c *Config) portsApart() error {
	type listener struct{ key, host, port string }
	everywhere := []string{"", "0.0.0.0", "::"}
	v, seen := reflect.ValueOf(*c), []listener{}
	for i, k := range Keys() {
		at, is := v.Field(i).Interface().(Listen)
		if !is || at.Off() {
			continue
		}
		host, port, _ := net.SplitHostPort(at.String()) // whose form was checked
		for _, other := range seen {
			if other.port == port && port != "0" && (other.host == host || slices.Contains(everywhere, host) || slices.Contains(everywhere, other.host)) {
				return fault.New(fault.Invalid, "configuration", "%s and %s cannot both have port %s", other.key, k.Name, port).
					WithHint("give one of them another port, or \"off\"")
			}
		}
		seen = append(seen, listener{k.Name, host, port})
	}
	return nil
}

func (c *Config) readFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fault.Wrap(fault.Invalid, "configuration file", err)
	}
	dec := toml.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	c.noteFile(path, b)
	return describe(path, b, dec.Decode(c))
}

// describe turns the library's error into "file:line:column: key: what is wrong".
func describe(path string, file []byte, err error) error {
	if err == nil {
		return nil
	}
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var lines []string
		for _, e := range missing.Errors {
			row, col := e.Position()
			lines = append(lines, fmt.Sprintf("%s:%d:%d: %q is not a key; allowed: %s", path, row, col, strings.Join(e.Key(), "."), allowed()))
		}
		return fault.New(fault.Invalid, "configuration", "%s", strings.Join(lines, "\n"))
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		row, col := dec.Position()
		key, words := strings.Join(dec.Key(), "."), strings.TrimPrefix(dec.Error(), "toml: ")
		if unquoted(file, key) {
			words = "a text in quotes is wanted" // the library's words name Go's types
		}
		if key != "" {
			key += ": "
		}
		return fault.New(fault.Invalid, "configuration", "%s:%d:%d: %s%s", path, row, col, key, words)
	}
	return fault.New(fault.Invalid, "configuration", "%s: %w", path, err)
}

// unquoted reports whether a key's value in the file is something else than text,
// as all values here are.
func unquoted(file []byte, key string) bool {
	var values map[string]any
	if toml.Unmarshal(file, &values) != nil {
		return false
	}
	v, given := values[key]
	_, text := v.(string)
	return given && !text
}

func allowed() string {
	var names []string
	for _, k := range Keys() {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// set gives one key its value from text.
func (c *Config) set(name, value string) error {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") != name {
			continue
		}
		f := reflect.ValueOf(c).Elem().Field(i)
		if u, ok := f.Addr().Interface().(encoding.TextUnmarshaler); ok {
			return u.UnmarshalText([]byte(value))
		}
		f.SetString(value)
		return nil
	}
	return fmt.Errorf("%q is not a key; allowed: %s", name, allowed())
}

// Example is a commented file with every key at its default.
func Example() string {
	var b strings.Builder
	b.WriteString("# Postern. Every key may also be given as POSTERN_KEY or --key.\n")
	for _, k := range Keys() {
		fmt.Fprintf(&b, "\n# %s\n# %s = %s\n", k.Help, k.Name, strconv.Quote(k.Default))
	}
	return b.String()
}
