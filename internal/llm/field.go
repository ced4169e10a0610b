package llm

import (
	"slices"
	"strconv"
	"strings"
)

// HopByHop reports whether a field is for one connection and goes no further, in
// either direction (RFC 9110, 7.6.1, and what older versions of HTTP had). So are
// the fields that Connection names: see Nominates. name is in any case.
func HopByHop(name string) bool {
	switch len(name) { // the same letters mean the same field: most names are told by their length
	case 2:
		return strings.EqualFold(name, "Te")
	case 7:
		return strings.EqualFold(name, "Upgrade") || strings.EqualFold(name, "Trailer")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Http2-Settings")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// FieldValue reports whether v may be the value of a field: it has no control character but
// tabs (RFC 9110 section 5.5). It looks at eight bytes at a time.
func FieldValue[T string | []byte](v T) bool {
	const each, top = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(v); i += 8 {
		b := v[i : i+8]
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		del := w ^ 0x7f*each // has a zero byte for each 0x7f
		// Either has the high bit of a byte that is below ' ', or 0x7f.
		if ((w-' '*each)&^w|(del-each)&^del)&top != 0 && !fieldValue(b) { // it may be a tab
			return false
		}
	}
	return fieldValue(v[i:])
}

// fieldValue is FieldValue byte by byte.
func fieldValue[T string | []byte](v T) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// ForProxy reports whether a field is between a proxy and the next one to it
// (RFC 9110, 11.7). name is canonical.
func ForProxy(name string) bool {
	return name == "Proxy-Authenticate" || name == "Proxy-Authorization" || name == "Proxy-Authentication-Info"
}

// OfTransport reports whether a field of a request is said by whoever sends it,
// and is never passed on: what is for the connection, whom the request is for, how
// its body is framed, how its reply may be coded. name is canonical.
func OfTransport(name string) bool {
	return HopByHop(name) || name == "Host" || name == "Content-Length" || name == "Expect" || name == "Accept-Encoding"
}

// passing are the fields of a request that only name or trace a call: they do not change
// what it is answered with.
var passing = [...]string{"Accept", "Content-Type", "User-Agent", "Idempotency-Key", "Traceparent", "Tracestate", "X-Request-Id", "X-Client-Request-Id"}

// PassingFields lists the fields of requests that Passing is true for. All of them reach upstreams.
func PassingFields() []string { return slices.Clone(passing[:]) }

// Passing reports whether a field of a request only names or traces a call. name is canonical.
func Passing(name string) bool {
	for i := range passing {
		if passing[i] == name {
			return true
		}
	}
	return false
}

// ConnectionOptions gives the values of a header's Connection fields as one list.
func ConnectionOptions(header []Field) (options string) {
	for i := range header {
		switch f := &header[i]; {
		case f.Name != "Connection":
		case options == "":
			options = f.Value
		default:
			options += "," + f.Value
		}
	}
	return options
}

// Nominates reports whether a list of Connection's options names a field, which
// then is for the one connection (RFC 9110, 7.6.1).
func Nominates(options, name string) bool {
	if options == "" || options == "keep-alive" {
		return false // as a rule
	}
	for option := range strings.SplitSeq(options, ",") {
		if strings.EqualFold(strings.Trim(option, " \t"), name) {
			return true
		}
	}
	return false
}

// ForClient reports whether a client may see a field of an upstream's reply.
// name is canonical; status is the reply's. It is asked where a reply comes in,
// so that nothing else is stored, and where one leaves, as what is stored may be
// older than the list.
//
// A field passes that says something about the reply: what it is, how long it is
// good for, what the account may still do. One does not that
//
//   - belongs to the upstream's connection;
//   - speaks for the upstream's site, where the client sees the gateway's: who
//     may read it or frame it, what its pages may do, what is kept for it, where
//     its faults are reported, where else it is to be found;
//   - has a browser, or a proxy in front of the gateway, do something of its own
//     accord: log in, load, go elsewhere;
//   - holds credentials, which a reply can only be repeating;
//   - is the gateway's own to give.
func ForClient(name string, status int) bool {
	if HopByHop(name) || ForProxy(name) {
		return false
	}
	switch name {
	case "Content-Length", "Date", "Server",
		"Content-Security-Policy", "Content-Security-Policy-Report-Only", "X-Content-Security-Policy", "X-Webkit-Csp", "X-Frame-Options", "X-Xss-Protection",
		"X-Permitted-Cross-Domain-Policies", "X-Dns-Prefetch-Control", "X-Download-Options", "Timing-Allow-Origin", "Origin-Agent-Cluster",
		"Permissions-Policy", "Permissions-Policy-Report-Only", "Feature-Policy", "Document-Policy", "Document-Policy-Report-Only", "Require-Document-Policy",
		"Document-Isolation-Policy", "Document-Isolation-Policy-Report-Only", "Integrity-Policy", "Integrity-Policy-Report-Only", "Referrer-Policy",
		"Strict-Transport-Security", "Public-Key-Pins", "Public-Key-Pins-Report-Only", "Expect-Ct", "Expect-Staple",
		"Set-Cookie", "Set-Cookie2", "Clear-Site-Data", "P3p", "Activate-Storage-Access", "Set-Login", "Set-Txn",
		"Accept-Ch", "Accept-Ch-Lifetime", "Critical-Ch", "Service-Worker-Allowed", "Use-As-Dictionary", "No-Vary-Search", "Supports-Loading-Mode", "Speculation-Rules",
		"Nel", "Report-To", "Reporting-Endpoints", "Observe-Browsing-Topics",
		"Alt-Svc", "Alternates", "Link", "Refresh", "Sourcemap", "X-Sourcemap", "X-Ua-Compatible",
		"Www-Authenticate", "Optional-Www-Authenticate", "Authentication-Info", "Authentication-Control", "Dpop-Nonce",
		"Authorization", "Cookie", "Cookie2", "X-Api-Key", "Api-Key", "X-Goog-Api-Key",
		"X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url",
		"X-Cache", "X-Cache-Key":
		return false
	case "Location":
		// Where else it has no meaning (RFC 9110, 10.2.2), and on 202 it is where to ask again.
		return status == 201 || status == 202 || status >= 300 && status < 400
	case "":
		return false
	}
	switch name[0] {
	case 'A':
		return !strings.HasPrefix(name, "Access-Control-") && !strings.HasPrefix(name, "Attribution-Reporting-")
	case 'C':
		return !strings.HasPrefix(name, "Cross-Origin-")
	case 'S':
		return !strings.HasPrefix(name, "Sec-Session-") && !strings.HasPrefix(name, "Secure-Session-")
	case 'X':
		return !strings.HasPrefix(name, "X-Accel-") && !strings.HasPrefix(name, "X-Sluice-")
	}
	return true
}

// TakesGzip reports whether a client takes gzip: Accept-Encoding has to name it, and not
// with q=0 (RFC 9110, 12.5.3).
func TakesGzip(header []Field) bool {
	for _, f := range header {
		if f.Name != "Accept-Encoding" {
			continue
		}
		for e := range strings.SplitSeq(f.Value, ",") {
			coding, weight, _ := strings.Cut(e, ";")
			_, q, _ := strings.Cut(weight, "=")
			n, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") && (weight == "" || err == nil && n > 0) {
				return true
			}
		}
	}
	return false
}
