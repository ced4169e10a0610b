package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// leadsBack reports whether an upstream is this gateway itself, as far as the configuration
// tells: where the base URL that programs are given for the gateway stands in the environment
// in which it is started, it is taken for a service's. Other ways back are found by llm.LoopField.
func (c Config) leadsBack(u Upstream) bool {
	if u.Settings == nil || c.Server.Port == 0 {
		return false
	}
	base, err := u.Settings.Base()
	if err != nil {
		return false
	}
	port := base.Port()
	switch {
	case port != "":
	case base.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return port == strconv.Itoa(c.Server.Port) && sameHost(strings.Trim(c.Server.Host, "[]"), base.Hostname())
}

const local = "localhost"

// isLocal reports whether a host, or the address that it is, is what localhost stands for. A
// service may have any other address of loopback for itself.
func isLocal(host string, addr netip.Addr) bool {
	return strings.EqualFold(host, local) || addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr == netip.IPv6Loopback()
}

// sameHost reports whether an address that is listened on is reached as a host.
func sameHost(own, host string) bool {
	at, _ := netip.ParseAddr(own)
	to, _ := netip.ParseAddr(host)
	at, to = at.Unmap(), to.Unmap()
	if to.IsValid() && to.IsUnspecified() { // the system connects to loopback
		if to = netip.IPv6Loopback(); !strings.Contains(host, ":") {
			to = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	atLocal, toLocal := isLocal(own, at), isLocal(host, to)
	switch {
	case own == "" || at.IsValid() && at.IsUnspecified(): // 0.0.0.0 is no address of IPv6
		return toLocal && !to.IsValid() || to.IsLoopback() && (!at.Is4() || to.Is4())
	case strings.EqualFold(own, local), strings.EqualFold(host, local):
		return atLocal && toLocal
	case at.IsValid():
		return at == to
	default:
		return strings.EqualFold(own, host)
	}
}
