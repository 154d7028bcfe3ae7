package webhook

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"postern/internal/fault"
)

const reachFor = 30 * time.Second // for a connection

// Guard has by refuse connections to addresses at which clouds hand out their machines'
// credentials. It sees what a name stands for at the moment of connecting, so that no
// name can change its meaning in between.
func Guard(by *http.Transport) {
	by.DialContext = (&net.Dialer{Timeout: reachFor, Control: judge}).DialContext
}

func judge(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return CheckHost(host)
}

// CheckHost refuses such an address, as fault.NeedsAdmin. A name is judged when it is
// connected to.
func CheckHost(host string) error {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	ip = ip.Unmap().WithZone("")
	elsewhere := []netip.Addr{ // metadata services that are not link-local
		netip.AddrFrom4([4]byte{100, 100, 100, 200}), netip.AddrFrom4([4]byte{168, 63, 129, 16}), netip.MustParseAddr("fd00:ec2::254"),
	}
	bad := ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified()
	for _, e := range elsewhere {
		bad = bad || ip == e
	}
	if !bad {
		return nil
	}
	return fault.New(fault.NeedsAdmin, "call the webhook", "%s is an address where clouds keep their machines' credentials", ip).
		WithHint("give the receiver's own address; a task may say link_local, if that is it")
}
