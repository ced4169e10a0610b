package openai

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// TestKeyInNoField: an upstream that repeats what it was sent, as a server for
// testing or a proxy does, tells no client the key, in no kind of reply.
func TestKeyInNoField(t *testing.T) {
	percent := url.QueryEscape(testKey)
	echoed := map[string]string{
		"Authorization": "Bearer " + testKey, "X-Api-Key": testKey, "X-Request-Id": "Bearer " + testKey, "X-Debug": "{\"authorization\":\"Bearer " + testKey + "\"}",
		"X-Upper": strings.ToUpper(testKey), "X-Lower": strings.ToLower(testKey), "X-Percent": "k=" + percent, "X-Percent-Lower": strings.ToLower(percent),
		"X-Basic": "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+testKey)), "X-Basic-2": base64.URLEncoding.EncodeToString([]byte("us:" + testKey + "\n")),
		"X-Basic-3": base64.StdEncoding.EncodeToString([]byte(testKey)), "X-Twice": testKey + "," + testKey,
		"Location": "https://elsewhere.example/?key=" + percent, "Content-Type": "", "X-Ratelimit-Remaining-Requests": "9", "Access-Control-Allow-Origin": "*",
	}
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		op                      llm.Operation
		stream                  bool
	}{
		{"unary", "application/json", `{}`, 200, llm.Chat, false},
		{"streamed", "text/event-stream", "data: {}\n\ndata: [DONE]\n\n", 200, llm.Chat, true},
		{"pieces", "audio/mpeg", "abc", 200, llm.Passthrough, false},
		{"created", "application/json", `{}`, 201, llm.Passthrough, false},
		{"redirection", "text/plain", "", 302, llm.Passthrough, false},
		{"error", "application/json", `{"error":{"message":"m"}}`, 400, llm.Chat, false},
		{"error of passthrough", "application/json", `{"error":{"message":"m"}}`, 404, llm.Passthrough, false},
	} {
		h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
			for name, value := range echoed {
				w.Header()[http.CanonicalHeaderKey(name)] = []string{value}
			}
			w.Header().Set("Content-Type", c.contentType)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}), nil)
		req := chat(`{}`, c.stream)
		req.Op = c.op
		out, err := serve(t, h, req)
		head := out.head
		if c.status >= 400 {
			e := wantError(t, out, err, c.status, "upstream_error")
			head.Header = e.Reply.Header
		} else if err != nil {
			t.Fatal(err)
		}
		for _, f := range head.Header {
			low := strings.ToLower(fmt.Sprint(f))
			for _, part := range []string{"secret", "0123", "c2vjcmv0", "nly3jldc", "zwnyzxq"} { // the last three are base64 of "secret"
				if strings.Contains(low, part) {
					t.Errorf("%s: %v", c.name, f)
				}
			}
		}
		for name, want := range map[string]string{
			"Authorization": "", "X-Api-Key": "", "Access-Control-Allow-Origin": "", "X-Request-Id": "Bearer [redacted]", "X-Twice": "[redacted],[redacted]",
			"X-Ratelimit-Remaining-Requests": "9", "Content-Type": c.contentType,
			"Location": map[bool]string{true: "https://elsewhere.example/?key=[redacted]"}[c.status == 201 || c.status == 302],
		} {
			if got := head.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, name, got, want)
			}
		}
	}
}

// TestKeyAsAFieldsName: nor does it stand for a name.
func TestKeyAsAFieldsName(t *testing.T) {
	const key = "sk-Plain0123456789"
	h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()[http.CanonicalHeaderKey(key)] = []string{"1"}
		w.Header()["X-"+http.CanonicalHeaderKey(key)+"-Seen"] = []string{"1"}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}), func(c *Config, _ *upstream.Config, _ *upstream.StreamConfig) { c.APIKey = llm.NewSecret(key) })
	out, err := serve(t, h, chat(`{}`, false))
	if err != nil || strings.Contains(strings.ToLower(fmt.Sprint(out.head.Header)), "plain") {
		t.Errorf("%v %v", out.head.Header, err)
	}
}

// TestFieldsOfConnection: what Connection names is for the connection only.
func TestFieldsOfConnection(t *testing.T) {
	h := newHandler(t, says(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close, x-hop\r\nConnection: X-Other\r\nX-Hop: 1\r\nX-Other: 2\r\nX-Kept: 3\r\nContent-Length: 2\r\n\r\n{}"), nil)
	out, err := serve(t, h, chat(`{}`, false))
	if err != nil || out.head.Get("X-Hop")+out.head.Get("X-Other")+out.head.Get("X-Kept") != "3" {
		t.Errorf("%v %v", out.head.Header, err)
	}
}

// TestClientFieldsAllocations: where there is nothing to redact it costs none.
func TestClientFieldsAllocations(t *testing.T) {
	h := newHandler(t, "http://127.0.0.1:1/v1", nil)
	fields := []llm.Field{
		{Name: "Content-Type", Value: "application/json"}, {Name: "Connection", Value: "keep-alive"}, {Name: "Openai-Processing-Ms", Value: "12"},
		{Name: "X-Request-Id", Value: "req_0123456789abcdef0123456789abcdef"}, {Name: "X-Long", Value: strings.Repeat(`sk-%\ `, 50)},
	}
	header := make([]llm.Field, len(fields))
	if n := testing.AllocsPerRun(100, func() {
		copy(header, fields)
		if kept := h.clientFields(header, 200); len(kept) != 4 {
			t.Fatal(kept)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkClientFields is the head of one of OpenAI's replies.
func BenchmarkClientFields(b *testing.B) {
	h := newHandler(b, "http://127.0.0.1:1/v1", nil)
	fields := []llm.Field{
		{Name: "Date", Value: "Mon, 23 Nov 2026 10:00:00 GMT"}, {Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: "700"},
		{Name: "Connection", Value: "keep-alive"}, {Name: "Access-Control-Expose-Headers", Value: "X-Request-ID"}, {Name: "Openai-Organization", Value: "user-0123456789abcdef01234567"},
		{Name: "Openai-Processing-Ms", Value: "412"}, {Name: "Openai-Version", Value: "2020-10-01"}, {Name: "X-Ratelimit-Limit-Requests", Value: "10000"},
		{Name: "X-Ratelimit-Remaining-Requests", Value: "9999"}, {Name: "X-Request-Id", Value: "req_0123456789abcdef0123456789abcdef"},
		{Name: "Strict-Transport-Security", Value: "max-age=31536000; includeSubDomains; preload"}, {Name: "Cf-Cache-Status", Value: "DYNAMIC"},
		{Name: "Set-Cookie", Value: "__cf_bm=" + strings.Repeat("a", 80) + "; path=/; HttpOnly; Secure"}, {Name: "Server", Value: "cloudflare"}, {Name: "Cf-Ray", Value: "9a0123456789abcd-FRA"},
		{Name: "Alt-Svc", Value: `h3=":443"; ma=86400`},
	}
	header := make([]llm.Field, len(fields))
	b.ReportAllocs()
	for b.Loop() {
		copy(header, fields)
		h.clientFields(header, 200)
	}
}
