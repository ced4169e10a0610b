package front

import (
	"net/netip"
	"strconv"
	"strings"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// sender is who sent a request, as far as that shows without a key.
type sender uint8

const (
	ownMachine  sender = iota // a program on this machine, or a person at its browser
	foreignPage               // a web page of another site, in whoever's browser
	behindProxy               // whoever a reverse proxy serves
	elsewhere                 // another machine
	foreignName               // it asks for a name that anybody may have made to lead here
)

// senderOf tells who sent a request. A browser on this machine sends what a page
// from anywhere tells it to, and says so: then the page's Origin is not this
// server, or Sec-Fetch-Site is more than a person with an address or this
// server's own page. Where the page's name was made to lead here (DNS rebinding)
// the Host is that name. Programs send neither field. What is not known to be
// harmless is taken for the worst: odd spellings and repeated fields are.
//
// A page is told from all else first, because --insecure lets all else in.
func senderOf(q *engine.Request) sender {
	site := ""
	if values := q.Header.Values("Sec-Fetch-Site"); len(values) > 0 {
		site = values[0]
		byHand := site == "none" && reads(q.Method)
		if len(values) > 1 || site != "same-origin" && !byHand {
			return foreignPage
		}
	}
	if values := q.Header.Values("Origin"); len(values) > 0 && (len(values) > 1 || !ownOrigin(q, values[0])) {
		// No page can say same-origin, but a proxy can have changed the Host since.
		if len(values) > 1 || site != "same-origin" || values[0] == "null" {
			return foreignPage
		}
		return behindProxy
	}
	if !q.Header.Each(func(name string, values []string) bool {
		return !ofProxy(name) || name == llm.LoopField && llm.HopsAlone(values)
	}) {
		return behindProxy
	}
	peer, err := netip.ParseAddrPort(q.Remote)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return elsewhere
	}
	// Over HTTP/2 a Host may stand beside :authority, which is q.Host.
	if second := q.Header.Values("Host"); !loopbackAuthority(q.Host) || len(second) > 0 && (len(second) > 1 || !loopbackAuthority(second[0])) {
		return foreignName
	}
	return ownMachine
}

// ownOrigin reports whether an Origin is that of the server itself under the
// name that it is asked for by.
func ownOrigin(q *engine.Request, origin string) bool {
	scheme := "http://"
	if q.TLS {
		scheme = "https://"
	}
	return len(origin) > len(scheme) && strings.EqualFold(origin[:len(scheme)], scheme) && strings.EqualFold(origin[len(scheme):], q.Host)
}

// ofProxy reports whether only a proxy sends a field. name is canonical.
func ofProxy(name string) bool {
	switch name {
	case "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Host", "X-Original-Forwarded-For",
		"True-Client-Ip", "Cf-Connecting-Ip", llm.LoopField:
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded")
}

// loopbackAuthority reports whether a Host is localhost or an address of
// loopback, with or without a port. Names below localhost are none: what they
// lead to is up to a resolver.
func loopbackAuthority(host string) bool {
	if name, port, ok := cutPort(host); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	bare, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		if bare, bracketed = strings.CutSuffix(bare, "]"); !bracketed {
			return false
		}
	}
	// The first byte rules out all names, for whose faults memory would be taken.
	if bare == "" || !bracketed && (bare[0] < '0' || bare[0] > '9') {
		return false
	}
	ip, err := netip.ParseAddr(bare)
	return err == nil && ip.Zone() == "" && ip.Is6() == bracketed && ip.Unmap().IsLoopback()
}

// cutPort takes the port off, which stands behind the last colon where that is
// no part of an address in brackets.
func cutPort(host string) (name, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}

// admit lets everybody pass where a key is asked for later, and without keys
// only who is on this machine. With --insecure others are served too, but not
// the pages that a person on some machine happens to look at: a browser would
// send their requests from inside whatever network keeps strangers out.
func (st *state) admit(q *engine.Request) error {
	if len(st.keys.sums) > 0 {
		return nil
	}
	who := senderOf(q)
	if who == ownMachine || st.cfg.Insecure && who != foreignPage {
		return nil
	}
	return errNotLocal(q, who)
}

// errNotLocal refuses a request that is not from this machine.
func errNotLocal(q *engine.Request, who sender) error {
	const without = "The gateway has no API key configured and so serves only programs on its own machine. "
	const key = "configure a key under server.api_keys (sluice key hash)"
	switch who {
	case foreignPage:
		return llm.Errorf(403, "web_page_refused", without+
			"This request is a web page's, or a link's on one: any page could use up the upstream's key. To look at the gateway type its address into the browser; "+
			"to let a page in, %s and name its origin under server.cors_origins.", key)
	case behindProxy:
		return llm.Errorf(403, "proxy_refused", without+
			"This request has come through a proxy, whose clients may be anywhere. To serve them %s, or start with --insecure to serve whoever the proxy lets through.", key)
	case elsewhere:
		return llm.Errorf(403, "remote_refused", without+
			"This request has come from another one. To serve it %s, or start with --insecure to serve everybody.", key)
	default:
		return llm.Errorf(403, "host_refused", without+
			"This request asks for the host %q. Ask for localhost, 127.0.0.1 or [::1]; to be reached by another name %s, or start with --insecure to serve everybody.",
			clip(q.Host, maxHostShown), key)
	}
}

// maxHostShown bounds what an error quotes of a Host, in bytes.
const maxHostShown = 100

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
