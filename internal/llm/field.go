package llm

import "strings"

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
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Content-Length", "Date", "Server",
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
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization", "Authorization", "Cookie", "Cookie2", "X-Api-Key", "Api-Key", "X-Goog-Api-Key",
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
