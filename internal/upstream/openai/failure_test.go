package openai

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// replies gives a handler of an upstream with one answer.
func replies(t testing.TB, status int, contentType, body string, header ...string) *Handler {
	return newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}), nil)
}

func TestRecordedErrors(t *testing.T) { testkit.Each(t, testErrors) }

func testErrors(t *testing.T, in testkit.Inputs) {
	whole, own := 0, 0
	for i, p := range in.Errors(t) {
		t.Run(fmt.Sprintf("%d-%d", i, p.Status), func(t *testing.T) {
			h := replies(t, p.Status, p.Header["content-type"], p.Response)
			out, err := serve(t, h, chat(`{}`, i%2 == 0))
			e, ok := err.(*llm.Error) // it is the type itself that is promised
			if !ok || e.Status != p.Status || e.Upstream != "up" || out.starts != 0 {
				t.Fatalf("%+v, started %d times", err, out.starts)
			}
			if e.Message == "" || strings.Contains(e.Message, "no explanation") {
				t.Errorf("no message from %s", p.Response)
			}
			var asOpenAI struct {
				Error struct{ Message *string }
			}
			if json.Unmarshal([]byte(p.Response), &asOpenAI) == nil && asOpenAI.Error.Message != nil {
				whole++
				if e.Reply == nil || string(e.Reply.Body) != p.Response {
					t.Errorf("body became %+v", e.Reply)
				}
			} else {
				own++
				if e.Reply != nil {
					t.Errorf("body %s was passed on", e.Reply.Body)
				}
			}
			if e.Unprocessed != (p.Status == 429 || p.Status == 503) {
				t.Errorf("unprocessed %v", e.Unprocessed)
			}
		})
	}
	t.Logf("%d bodies passed on whole, %d turned into Sluice's own", whole, own)
}

func TestErrorShapes(t *testing.T) {
	long := strings.Repeat("é", 2000)
	tests := []struct {
		contentType, body, message, code string
		reply                            bool
	}{
		{"application/json", `{"error":{"message":"m","type":"t","param":"p","code":"c"}}`, "m", "c", true},
		{"text/plain", ` {"error":{"message":"m","code":429}} `, "m", "upstream_error", true},
		{"application/json", `{"error":{"message":"m","type":"","code":""}}`, "m", "upstream_error", true},
		{"application/json", `{"error":"model not found"}`, "model not found", "upstream_error", false},
		{"application/json", `{"detail":"Invalid API Key"}`, "Invalid API Key", "upstream_error", false},
		{"application/json", `{"detail":[{"loc":["body"],"msg":"field required"}]}`, "field required", "upstream_error", false},
		{"application/json", `[{"error":{"message":"in a list"}}]`, "in a list", "upstream_error", false},
		{"application/json", `{"errors":[{"message":"e0"}]}`, "e0", "upstream_error", false},
		{"application/json", `{"error":{"message":"cut`, "Upstream `up` answered with status 400 and no explanation.", "upstream_error", false},
		{"application/json", `{"error":{}}`, "Upstream `up` answered with status 400 and no explanation.", "upstream_error", false},
		{"text/html", `<h1>502 Bad Gateway</h1>`, "Upstream `up` answered with status 400 and no explanation.", "upstream_error", false},
		{"text/plain; charset=utf-8", "  slow down\n", "slow down", "upstream_error", false},
		{"text/plain", "\xff\xfe", "Upstream `up` answered with status 400 and no explanation.", "upstream_error", false},
		{"text/plain", long, long[:1022] + "…", "upstream_error", false},
		{"application/json", ``, "Upstream `up` answered with status 400 and no explanation.", "upstream_error", false},
	}
	for i, test := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			out, err := serve(t, replies(t, 400, test.contentType, test.body), chat(`{}`, false))
			e := wantError(t, out, err, 400, test.code)
			if e.Message != test.message || e.Type == "" || (e.Reply != nil) != test.reply {
				t.Errorf("message %q, reply %v", e.Message, e.Reply)
			}
			if test.reply && string(e.Reply.Body) != test.body {
				t.Errorf("body %s", e.Reply.Body)
			}
		})
	}
}

func TestErrorFields(t *testing.T) {
	h := replies(t, 429, "application/json", `{"error":{"message":"m"}}`,
		"Retry-After", "7", "X-Request-Id", "req_1", "Set-Cookie", "c=1", "Www-Authenticate", "Bearer "+testKey, "X-Debug", "Bearer "+testKey)
	out, err := serve(t, h, chat(`{}`, true))
	e := wantError(t, out, err, 429, "upstream_error")
	if e.RetryAfter != 7*time.Second || !e.Unprocessed || e.Type != llm.TypeRateLimit {
		t.Errorf("%+v", e)
	}
	head := llm.Head{Header: e.Reply.Header}
	if head.Get("X-Request-Id") != "req_1" || head.Get("Set-Cookie") != "" || head.Get("Www-Authenticate") != "" || head.Get("X-Debug") != "Bearer [redacted]" {
		t.Errorf("header %v", e.Reply.Header)
	}
}

// TestAdvice: what an upstream says of trying again is known even where its body
// is of no use.
func TestAdvice(t *testing.T) {
	for value, want := range map[string]llm.Advice{"true": llm.SendAgain, " False ": llm.DoNotRetry, "": llm.NoAdvice, "1": llm.NoAdvice} {
		out, err := serve(t, replies(t, 503, "text/html", "<html>", "X-Should-Retry", value), chat(`{}`, true))
		if e := wantError(t, out, err, 503, "upstream_error"); e.Advice != want || e.Reply != nil {
			t.Errorf("%q: %+v", value, e)
		}
	}
}

func TestErrorBodyCutStalledOrLarge(t *testing.T) {
	cut := newHandler(t, says(t, "HTTP/1.1 503 x\r\nContent-Type: application/json\r\nRetry-After: 2\r\nContent-Length: 90\r\n\r\n{\"error\":{\"message\":\"m\"}}"), nil)
	out, err := serve(t, cut, chat(`{}`, false))
	if e := wantError(t, out, err, 503, "upstream_error"); e.RetryAfter != 2*time.Second || e.Reply != nil || e.Err == nil {
		t.Errorf("%+v", e)
	}
	large := replies(t, 500, "application/json", `{"error":{"message":"`+strings.Repeat("x", 2<<20)+`"}}`)
	out, err = serve(t, large, chat(`{}`, false))
	if e := wantError(t, out, err, 500, "upstream_error"); e.Reply != nil || len(e.Message) > 2000 {
		t.Errorf("reply %v, message of %d bytes", e.Reply != nil, len(e.Message))
	}
	if testing.Short() {
		return
	}
	stalled := newHandler(t, script(t, func(c net.Conn, gone <-chan struct{}) {
		_, _ = io.WriteString(c, "HTTP/1.1 500 x\r\nContent-Length: 90\r\n\r\n{")
		<-gone
	}), nil)
	out, err = serve(t, stalled, chat(`{}`, false))
	wantError(t, out, err, 500, "upstream_error")
}

func TestNoUpstream(t *testing.T) {
	out, err := serve(t, newHandler(t, "http://"+testkit.Vacant(t), nil), chat(`{}`, false))
	if e := wantError(t, out, err, 502, "upstream_unreachable"); !e.Unprocessed || out.starts != 0 || e.Message != "Upstream `up` could not be reached." {
		t.Errorf("%+v", e)
	}
}

func TestKeyReachesNoClient(t *testing.T) {
	quoted, err := json.Marshal("key " + testKey + " is wrong")
	if err != nil {
		t.Fatal(err)
	}
	escaped := strings.ReplaceAll(string(quoted), "/", `\/`)
	for _, body := range []string{
		`{"error":{"message":` + string(quoted) + `}}`, `{"error":{"message":` + escaped + `}}`,
		`{"detail":` + escaped + `}`, `{"error":{"message":"m","` + testKey + `":1}}`, "wrong " + testKey,
	} {
		out, err := serve(t, replies(t, 401, "text/plain", body), chat(`{}`, false))
		e := wantError(t, out, err, 401, "upstream_error")
		told := e.Error() + e.Message
		if e.Reply != nil {
			told += string(e.Reply.Body)
			if jsonscan.Validate(e.Reply.Body, 9) != nil {
				t.Errorf("no longer JSON: %s", e.Reply.Body)
			}
		}
		if strings.Contains(told, "secret+0123") || strings.Contains(told, `secret\u002b`) || !strings.Contains(told, "[redacted]") {
			t.Errorf("told %s", told)
		}
	}
}
