package mail

import (
	"fmt"
	"net"
	"strconv"
)

// TLSMode says when a connection becomes encrypted.
type TLSMode string

// The modes. Plain exists for servers on the same machine only; nothing that
// carries a token is ever sent over it.
const (
	STARTTLS TLSMode = "starttls" // RFC 3207, RFC 2595
	Implicit TLSMode = "implicit" // RFC 8314
	Plain    TLSMode = "plain"
)

// UnmarshalText refuses anything but the three modes, and nothing at all, which a
// server that is not set has.
func (m *TLSMode) UnmarshalText(b []byte) error {
	switch v := TLSMode(b); v {
	case STARTTLS, Implicit, Plain, "":
		*m = v
		return nil
	}
	return fmt.Errorf("%q is not a TLS mode; allowed: starttls, implicit, plain", b)
}

// Server is where a mail protocol is spoken.
type Server struct {
	Host string  `json:"host" yaml:"host"`
	Port int     `json:"port" yaml:"port"`
	TLS  TLSMode `json:"tls" yaml:"tls"`
}

// Address is host:port as net.Dial wants it.
func (s Server) Address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Set reports whether a host is known.
func (s Server) Set() bool { return s.Host != "" }
