package llm

import (
	"strings"
	"testing"
)

// TestOfOneConnection: which fields go no further than one connection, which
// than one proxy, and which of a request's are said by whoever sends it.
func TestOfOneConnection(t *testing.T) {
	type kinds struct{ hop, proxy, transport bool }
	hop, proxy, transport, no := kinds{true, false, true}, kinds{proxy: true}, kinds{transport: true}, kinds{}
	for name, want := range map[string]kinds{
		"Connection": hop, "Proxy-Connection": hop, "Keep-Alive": hop, "Te": hop, "Trailer": hop, "Transfer-Encoding": hop, "Upgrade": hop, "Http2-Settings": hop,
		"Proxy-Authenticate": proxy, "Proxy-Authorization": proxy, "Proxy-Authentication-Info": proxy,
		"Host": transport, "Content-Length": transport, "Expect": transport, "Accept-Encoding": transport,
		"": no, "Tx": no, "Referer": no, "Connected-": no, "Content-Encoding": no, "X-Request-Number": no, "Authorization": no,
	} {
		if got := (kinds{HopByHop(name), ForProxy(name), OfTransport(name)}); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
		if HopByHop(strings.ToLower(name)) != want.hop || HopByHop(strings.ToUpper(name)) != want.hop {
			t.Errorf("%q: its case changes what it is", name)
		}
		if (want.hop || want.proxy) && ForClient(name, 200) {
			t.Errorf("%q: a client sees it", name)
		}
	}
}

func TestNominates(t *testing.T) {
	header := []Field{{"Connection", "close, x-a"}, {"X-A", "1"}, {"Connection", "\tX-B\t,,X-C "}}
	options := ConnectionOptions(header)
	for name, want := range map[string]bool{"X-A": true, "X-B": true, "X-C": true, "Close": true, "X": false, "X-D": false, "X-A, X-B": false} {
		if Nominates(options, name) != want {
			t.Errorf("%q names %q: %v", options, name, !want)
		}
	}
	if Nominates("keep-alive", "X-A") || Nominates("", "X-A") || ConnectionOptions(header[1:2]) != "" {
		t.Error("something is named by nothing")
	}
	for _, header := range [][]Field{{{"X-A", "1"}}, {{"Connection", "keep-alive"}}, {{"Connection", "close, x-a"}}} {
		if n := testing.AllocsPerRun(100, func() { Nominates(ConnectionOptions(header), "X-B") }); n > 0 {
			t.Errorf("%v: %v allocations", header, n)
		}
	}
}

func TestForClient(t *testing.T) {
	for name, want := range map[string]bool{
		"Content-Type": true, "Content-Encoding": true, "Content-Disposition": true, "Content-Range": true, "Content-Language": true, "Accept-Ranges": true,
		"Cache-Control": true, "Etag": true, "Last-Modified": true, "Expires": true, "Age": true, "Vary": true, "Retry-After": true, "Retry-After-Ms": true, "Via": true,
		"Openai-Processing-Ms": true, "Openai-Version": true, "Openai-Organization": true, "X-Request-Id": true, "X-Ratelimit-Remaining-Tokens": true, "X-Should-Retry": true,
		"Server-Timing": true, "Cf-Ray": true, "X-Content-Type-Options": true, "Deprecation": true, "Sunset": true, "Operation-Location": true, "X-Anything": true, "Allow": true,
		"Sec-Websocket-Accept": true, "Cross-Region": true, "Access": true, "X": true,

		"Access-Control-Allow-Origin": false, "Access-Control-Allow-Credentials": false, "Access-Control-Anything-New": false, "Timing-Allow-Origin": false,
		"Cross-Origin-Opener-Policy": false, "Cross-Origin-Embedder-Policy-Report-Only": false, "Cross-Origin-Resource-Policy": false,
		"Content-Security-Policy": false, "Permissions-Policy": false, "Referrer-Policy": false, "X-Frame-Options": false, "Service-Worker-Allowed": false,
		"Set-Cookie": false, "Set-Cookie2": false, "Strict-Transport-Security": false, "Clear-Site-Data": false, "Alt-Svc": false, "Nel": false, "Report-To": false,
		"Refresh": false, "Link": false, "Sourcemap": false, "Www-Authenticate": false, "Authentication-Info": false, "Proxy-Authenticate": false,
		"Authorization": false, "X-Api-Key": false, "Api-Key": false, "Cookie": false, "X-Accel-Redirect": false, "X-Accel-Buffering": false, "X-Sendfile": false,
		"Connection": false, "Transfer-Encoding": false, "Content-Length": false, "Server": false, "Date": false, "X-Cache": false, "X-Sluice-Upstream": false, "": false,
	} {
		if got := ForClient(name, 200); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	for status, want := range map[int]bool{200: false, 201: true, 202: true, 204: false, 302: true, 307: true, 400: false, 500: false} {
		if got := ForClient("Location", status); got != want {
			t.Errorf("Location with %d: %v", status, got)
		}
	}
}

func TestTakesGzip(t *testing.T) {
	for value, want := range map[string]bool{
		"gzip": true, "deflate, GZip;q=0.5": true, "br,gzip ; q=1": true, "": false, "gzip;q=0": false, "gzip;q=x": false, "*": false, "identity": false,
	} {
		if got := TakesGzip([]Field{{Name: "Accept", Value: "gzip"}, {Name: "Accept-Encoding", Value: value}}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

// Each byte of a value counts, wherever it stands.
func TestFieldValue(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := []byte(strings.Repeat("~", n))
				b[at] = byte(c)
				want := c >= ' ' && c != 0x7f || c == '\t'
				if FieldValue(b) != want || FieldValue(string(b)) != want {
					t.Fatalf("%q: %v, %v", b, FieldValue(b), FieldValue(string(b)))
				}
			}
		}
	}
}
