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

// sameHost reports whether an address that is listened on is reached as a host.
func sameHost(own, host string) bool {
	const local = "localhost"
	at, _ := netip.ParseAddr(own)
	to, _ := netip.ParseAddr(host)
	at, to = at.Unmap(), to.Unmap()
	back := to.IsLoopback() || strings.EqualFold(host, local)
	switch {
	case own == "" || at.IsValid() && at.IsUnspecified():
		return back || to.IsValid() && to.IsUnspecified()
	case strings.EqualFold(own, local):
		return back
	case strings.EqualFold(host, local):
		return at.IsLoopback()
	case at.IsValid():
		return at == to
	default:
		return strings.EqualFold(own, host)
	}
}
