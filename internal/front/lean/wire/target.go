package wire

import (
	"net/netip"
	"net/url"
	"strings"
)

// cutTarget fills in what the target says: an absolute path, an http or https URI,
// or * (RFC 9112 section 3.2).
func (h *Head) cutTarget() *Refusal {
	t := h.Target
	if t == "*" {
		h.Path = t
		return nil
	}
	if t[0] == '/' {
		path, query, _ := strings.Cut(t, "?")
		if plainPath(path) {
			h.Path, h.RawQuery = path, query
			return nil
		}
	}
	u, err := url.ParseRequestURI(t)
	if err != nil {
		return malformed("The target is no path and no URI.")
	}
	if t[0] != '/' {
		// A name and a password before the host are there to deceive (RFC 9110 section
		// 4.2.4), and there is no http URI without a host (section 4.2.1).
		if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || !isHost(u.Host) {
			return malformed("The target is no path and no http URI.")
		}
		h.Host = u.Host
	}
	h.Path, h.RawPath, h.RawQuery = u.Path, u.RawPath, u.RawQuery
	return nil
}

// plainPath reports whether a path stands for itself, so that its decoded form is
// the same and is written so.
func plainPath(s string) bool {
	for i := range len(s) {
		if class[s[i]]&plain == 0 {
			return false
		}
	}
	return true
}

// isHost reports whether s is a host, with or without a port (RFC 9110 section 7.2,
// RFC 3986 section 3.2.2). An empty one is none.
func isHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.IndexByte(s[i:], ']') < 0 {
		host, port = s[:i], s[i+1:]
	}
	if len(port) > 5 {
		return false
	}
	number := 0
	for i := range len(port) {
		if !digit(port[i]) {
			return false
		}
		number = number*10 + int(port[i]-'0')
	}
	if number > 65535 || len(host) == 0 {
		return false
	}
	if host[0] == '[' {
		if host[len(host)-1] != ']' || strings.IndexByte(host, '%') >= 0 {
			return false
		}
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		return err == nil && a.Is6()
	}
	for i := 0; i < len(host); i++ {
		switch {
		case class[host[i]]&hostname != 0:
		case host[i] == '%' && i+2 < len(host) && hexDigit(host[i+1]) >= 0 && hexDigit(host[i+2]) >= 0:
			i += 2
		default:
			return false
		}
	}
	return true
}

func hexDigit(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
