package handover

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"postern/internal/fault"
)

// guard refuses connections to addresses at which clouds hand out their machines'
// credentials. It sees what a name stands for at the moment of connecting, so that no
// name can change its meaning in between.
func guard(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return refuseLinkLocal(host)
}

func refuseLinkLocal(host string) error {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return nil //nolint:nilerr // it is a name: judged when it is connected to
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
	return fault.New(fault.NeedsAdmin, callWebhook, "%s is an address where clouds keep their machines' credentials", ip).
		WithHint("set url to the receiver's own address; if that is it, set link_local")
}

// headerSafe is an id as a header may hold it: what is not plain becomes its digest.
func headerSafe(id string) string {
	if id != "" && len(id) <= 200 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@+=") == "" {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
