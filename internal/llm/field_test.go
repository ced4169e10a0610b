package llm

import "testing"

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
