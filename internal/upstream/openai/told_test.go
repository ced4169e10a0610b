package openai

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/upstream/credentials"
)

const overloaded = "data: {\"error\":{\"message\":\"The engine is overloaded.\",\"type\":\"server_error\",\"code\":\"overloaded\"}}\n\n"

// TestToldLater: an error that comes after the first event passes as it came, is the
// upstream's failure, and the stream ends as its upstream ended it.
func TestToldLater(t *testing.T) {
	const chunked = okHead + "Transfer-Encoding: chunked\r\n\r\n"
	created := "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n"
	failed := "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"Slow down.\"}}}\n\n"
	incomplete := "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}}\n\n"
	for _, c := range []struct {
		name, reply, want string
		op                llm.Operation
		status            int
		code              string
		ended             bool
	}{
		{"ended", chunked + chunk(event+overloaded) + "0\r\n\r\n", event + overloaded, llm.Chat, 503, "overloaded", true},
		{"in another packet", chunked + chunk(event) + chunk(overloaded+last) + "0\r\n\r\n", event + overloaded + last, llm.Chat, 503, "overloaded", true},
		{"closed", okHead + "\r\n" + event + overloaded, event + overloaded, llm.Chat, 503, "overloaded", true},
		{"cut", chunked + chunk(event+overloaded), event + overloaded, llm.Chat, 503, "overloaded", false},
		{"no blank line", chunked + chunk(event+overloaded[:len(overloaded)-2]) + "0\r\n\r\n", event + overloaded[:len(overloaded)-2], llm.Chat, 503, "overloaded", true},
		{"response", chunked + chunk(created+failed) + "0\r\n\r\n", created + failed, llm.Response, 429, "rate_limit_exceeded", true},
		{"response, then cut", chunked + chunk(created+failed), created + failed, llm.Response, 429, "rate_limit_exceeded", true}, // its last event
		{"incomplete", chunked + chunk(created+incomplete) + "0\r\n\r\n", created + incomplete, llm.Response, 502, "server_error", true},
		{"the key", chunked + chunk(event+"data: {\"error\":{\"message\":\"bad key "+testKey+"\"}}\n\n") + "0\r\n\r\n",
			event + "data: {\"error\":{\"message\":\"bad key [redacted]\"}}\n\n", llm.Chat, 502, "upstream_error", true},
		{"passthrough", chunked + chunk(event+"event: error\ndata: x\n\n") + "0\r\n\r\n", event + "event: error\ndata: x\n\n", llm.Passthrough, 502, "upstream_error", true},
	} {
		req := chat(`{}`, true)
		req.Op = c.op
		out, err := serve(t, newHandler(t, says(t, c.reply), nil), req)
		e, ok := err.(*llm.Error) // it is the type itself that is promised
		if !ok {
			t.Fatalf("%s: %v", c.name, err)
		}
		if out.text() != c.want || out.starts != 1 || out.failed != 1 {
			t.Errorf("%s: sent %q, %d events marked", c.name, out.text(), out.failed)
		}
		if e.Fault != llm.Told || e.Ended != c.ended || e.Status != c.status || e.Code != c.code || e.Upstream != "up" || e.Message == "" {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

// TestToldFirst: an error that is the first event is the reply, since the head has
// not gone out.
func TestToldFirst(t *testing.T) {
	for _, c := range []struct {
		event  string
		status int
		code   string
		body   string // "" where the error is written anew
	}{
		{overloaded, 503, "overloaded", overloaded[6 : len(overloaded)-2]},
		{": wait\n\n" + overloaded, 503, "overloaded", overloaded[6 : len(overloaded)-2]},
		{"data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n", 429, "upstream_error", `{"error":{"message":"m","code":429}}`},
		{"data: {\"error\":{\"message\":\"m\",\"status_code\":418}}\n\n", 418, "upstream_error", `{"error":{"message":"m","status_code":418}}`},
		{"data: {\"error\":{\"message\":\"m\",\"code\":200}}\n\n", 502, "upstream_error", `{"error":{"message":"m","code":200}}`},
		{"data: {\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"param\":\"p\"}}\n\n", 400, "upstream_error", `{"error":{"message":"m","type":"invalid_request_error","param":"p"}}`},
		{"data: {\"error\":{\"message\":\"key " + testKey + "\",\"type\":\"x\"}}\n\n", 502, "upstream_error", `{"error":{"message":"key [redacted]","type":"x"}}`},
		{"data: {\"error\":\"quota exceeded\",\"code\":\"insufficient_quota\"}\n\n", 429, "insufficient_quota", ""},
		{"event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\",\"param\":null}\n\n", 429, "rate_limit_exceeded", ""},
		{"event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"invalid_prompt\",\"message\":\"m\"}}}\n\n", 400, "invalid_prompt", ""},
		{"event: error\ndata: out of memory\n\n", 502, "upstream_error", ""},
	} {
		out, err := serve(t, newHandler(t, says(t, okHead+"\r\n"+c.event+last), nil), chat(`{}`, true))
		e := wantError(t, out, err, c.status, c.code)
		if out.starts != 0 || e.Fault != llm.Told || e.Unprocessed || e.Advice != llm.DoNotRetry || e.Message == "" {
			t.Errorf("%q: started %d times, %+v", c.event, out.starts, e)
		}
		body := ""
		if e.Reply != nil {
			body = string(e.Reply.Body)
		}
		if body != c.body || strings.Contains(e.Message, testKey) {
			t.Errorf("%q: the reply is %q, the message %q", c.event, body, e.Message)
		}
	}
}

// TestToldThenLeft: a client that leaves at the error does not make it its own.
func TestToldThenLeft(t *testing.T) {
	h := newHandler(t, script(t, func(c net.Conn, gone <-chan struct{}) {
		_, _ = io.WriteString(c, okHead+"Transfer-Encoding: chunked\r\n\r\n"+chunk(event+overloaded))
		<-gone
	}), nil)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	out := &sink{onSend: func(int) error { leave(); return nil }}
	err := h.Serve(ctx, chat(`{}`, true), out)
	if e, ok := err.(*llm.Error); !ok || e.Fault != llm.Told || e.Ended || e.Code != "overloaded" { // see above
		t.Errorf("%v", err)
	}
}

// FuzzTold: whatever an event holds, the error is one that a client can be told.
func FuzzTold(f *testing.F) {
	f.Add([]byte(overloaded[6:]))
	f.Add([]byte(`{"response":{"error":{"code":"x"}},"error":{"code":599,"param":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := told(data, "up", credentials.Of(llm.NewSecret(testKey), nil, nil))
		if e.Status < 400 || e.Status > 599 || e.Message == "" || len(e.Message) > maxErrorText+8 || e.Type == "" || e.Code == "" || e.Fault != llm.Told {
			t.Errorf("%+v", e)
		}
	})
}
