package openai

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/upstream"
)

func TestRequestGoesOutAsItCame(t *testing.T) {
	type seen struct {
		uri, auth, body string
		header          http.Header
	}
	got := make(chan seen, 1)
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.RequestURI, r.Header.Get("Authorization"), string(b), r.Header}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	})
	body := "{ \"model\" : \"m\\u0041/x\",\"n\": 1.50e0, \"messages\":[] }"
	start := strings.Index(body, `"m\u`)
	span := llm.Span{Start: start, End: start + len(`"m\u0041/x"`)}
	tests := []struct {
		name, base, upstreamModel, query, wantURI, wantBody string
	}{
		{"same model", "/v1", "mA/x", "", "/v1/chat/completions", body},
		{"other model", "/v1/", "new \"q\"", "", "/v1/chat/completions", strings.Replace(body, `"m\u0041/x"`, `"new \"q\""`, 1)},
		{"unset model", "", "", "a=b%20c", "/chat/completions?a=b%20c", body},
		{"base query", "/openai/d%2Fe?api-version=1", "", "a=b", "/openai/d%2Fe/chat/completions?api-version=1&a=b", body},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler(t, base+test.base, func(c *Config, _ *upstream.Config, _ *upstream.StreamConfig) {
				c.Headers = map[string]string{"x-extra": "mine"}
			})
			req := chat(body, false)
			req.Model, req.UpstreamModel, req.ModelSpan, req.RawQuery = "mA/x", test.upstreamModel, span, test.query
			req.Header = append(req.Header, llm.Field{Name: "X-Extra", Value: "theirs"},
				llm.Field{Name: "Authorization", Value: "Bearer client"}, llm.Field{Name: "Openai-Beta", Value: "b"})
			out, err := serve(t, h, req)
			if err != nil || out.text() != "{}" {
				t.Fatal(out.text(), err)
			}
			s := <-got
			if s.uri != test.wantURI || s.body != test.wantBody || s.auth != "Bearer "+testKey {
				t.Errorf("got %+v", s)
			}
			if fmt.Sprint(s.header["X-Extra"], s.header["Openai-Beta"]) != "[mine] [b]" {
				t.Errorf("header %v", s.header)
			}
		})
	}
}

func TestUnaryAndPieces(t *testing.T) {
	small, large := "{"+strings.Repeat("x", 1000)+"}", strings.Repeat("0123456789abcdef", 200_000)
	tests := []struct {
		name, contentType, body string
		length                  bool
		op                      llm.Operation
		kind                    llm.ReplyKind
	}{
		{"json", "application/json", small, true, llm.Chat, llm.Unary},
		{"json chunked", "Application/JSON; charset=utf-8", small, false, llm.Chat, llm.Unary},
		{"problem json", "application/problem+json", small, true, llm.Chat, llm.Unary},
		{"large", "application/json", large, true, llm.Embedding, llm.Pieces},
		{"large chunked", "application/json", large, false, llm.Embedding, llm.Pieces},
		{"audio", "audio/mpeg", small, true, llm.Passthrough, llm.Pieces},
		{"text", "text/plain", small, true, llm.Chat, llm.Pieces},
		{"html", "text/html", small, true, llm.Passthrough, llm.Pieces},
		{"empty", "application/json", "", true, llm.Passthrough, llm.Unary},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.Header().Set("Set-Cookie", "a=b")
				w.Header().Set("X-Ratelimit-Remaining-Requests", "9")
				if test.length {
					w.Header().Set("Content-Length", fmt.Sprint(len(test.body)))
				} else {
					w.(http.Flusher).Flush()
				}
				_, _ = io.WriteString(w, test.body)
			}), nil)
			for range 2 { // the buffer is used again
				req := chat(`{}`, false)
				req.Op = test.op
				out, err := serve(t, h, req)
				if err != nil || out.text() != test.body {
					t.Fatalf("%d bytes, %v", len(out.text()), err)
				}
				wantLength := int64(len(test.body))
				if test.kind == llm.Pieces && !test.length {
					wantLength = -1
				}
				if out.head.Kind != test.kind || out.head.Length != wantLength || out.head.Upstream != "up" || out.head.Status != 200 {
					t.Errorf("head %+v", out.head)
				}
				if test.kind == llm.Unary && len(out.events) != 1 {
					t.Errorf("%d events", len(out.events))
				}
				if out.head.Get("Set-Cookie") != "" || out.head.Get("Content-Length") != "" || out.head.Get("X-Ratelimit-Remaining-Requests") != "9" {
					t.Errorf("header %v", out.head.Header)
				}
			}
		})
	}
}

func TestStreamWantedButJSONCame(t *testing.T) {
	h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"a":1}`)
	}), nil)
	out, err := serve(t, h, chat(`{}`, true))
	if err != nil || out.head.Kind != llm.Unary || out.text() != `{"a":1}` {
		t.Errorf("%+v %v", out, err)
	}
}

func TestUnaryCut(t *testing.T) {
	h := newHandler(t, says(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":"), nil)
	out, err := serve(t, h, chat(`{}`, false))
	wantError(t, out, err, 502, "upstream_cut")
	if out.starts != 0 {
		t.Error("a cut reply was started")
	}
}

func TestPiecesCut(t *testing.T) {
	h := newHandler(t, says(t, "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 100\r\n\r\nabc"), nil)
	req := chat(`{}`, false)
	req.Op = llm.Passthrough
	out, err := serve(t, h, req)
	wantError(t, out, err, 502, "upstream_cut")
	if out.starts != 1 || out.text() != "abc" {
		t.Errorf("%+v", out)
	}
}

func TestRedirection(t *testing.T) {
	base := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/x", http.StatusTemporaryRedirect)
	})
	out, err := serve(t, newHandler(t, base, nil), chat(`{}`, false))
	e := wantError(t, out, err, 502, "upstream_redirect")
	if strings.Contains(e.Message, "127.0.0.1") {
		t.Error("the message tells where to")
	}
	req := &llm.Request{Op: llm.Passthrough, Method: "GET", Path: "/v1/files/a/content"}
	out, err = serve(t, newHandler(t, base, nil), req)
	if err != nil || out.head.Status != 307 || out.head.Get("Location") == "" {
		t.Errorf("%+v %v", out.head, err)
	}
}

func TestBodyReaderAndHead(t *testing.T) {
	h := newHandler(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method == "DELETE" {
			w.WriteHeader(204)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	}), nil)
	req := &llm.Request{Op: llm.Passthrough, Method: "POST", Path: "/v1/files", BodyReader: bytes.NewReader(make([]byte, 100_000)), BodyLen: -1}
	out, err := serve(t, h, req)
	if err != nil || len(out.text()) != 100_000 {
		t.Errorf("%d bytes, %v", len(out.text()), err)
	}
	for _, method := range []string{"HEAD", "DELETE"} {
		out, err = serve(t, h, &llm.Request{Op: llm.Passthrough, Method: method, Path: "/v1/files/a"})
		if err != nil || out.starts != 1 || out.text() != "" {
			t.Errorf("%s: %+v, %v", method, out, err)
		}
	}
}

// TestConnectionFreeBeforeSend: a client that takes its reply slowly does not
// keep a connection of the upstream's.
func TestConnectionFreeBeforeSend(t *testing.T) {
	h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	}), func(_ *Config, c *upstream.Config, _ *upstream.StreamConfig) {
		c.MaxConnections, c.MaxKeepaliveConnections = 1, 1
	})
	inner := func(int) error {
		_, err := serve(t, h, chat(`{}`, false))
		return err
	}
	if err := h.Serve(t.Context(), chat(`{}`, false), &sink{onSend: inner}); err != nil {
		t.Error(err)
	}
}

func TestClientGoneInSend(t *testing.T) {
	closed := make(chan struct{})
	h := newHandler(t, script(t, func(c net.Conn, _ <-chan struct{}) {
		_, _ = io.WriteString(c, okHead+"\r\ndata: {}\n\n")
		_, _ = c.Read(make([]byte, 1)) // until the other side closes
		close(closed)
	}), nil)
	err := h.Serve(t.Context(), chat(`{}`, true), &sink{onSend: func(int) error { return io.ErrClosedPipe }})
	if err != io.ErrClosedPipe { // as it was given
		t.Errorf("error %v", err)
	}
	<-closed
}

// A whole reply of status 200 that tells of a failure is one: as an error where it
// is nothing else, and as it came where it says what was made up to then.
func TestUnaryTold(t *testing.T) {
	const busy = `{"error":{"message":"too busy","type":"server_error","code":503},"user_id":"u"}`
	for _, c := range []struct {
		name, body string
		op         llm.Operation
		status     int // of the error; 0 for none
		passes     bool
	}{
		{"an error", busy, llm.Chat, 503, false},
		{"an error of the client's", `{"error":{"message":"no","type":"invalid_request_error"}}`, llm.Embedding, 400, false},
		{"an error as text", `{"error":"boom"}`, llm.Completion, 502, false},
		{"a response that failed", `{"id":"r","status":"failed","error":{"code":"server_error","message":"x"},"output":[]}`, llm.Response, 502, true},
		{"a choice that failed", `{"choices":[{"finish_reason":"error","message":{"content":"half"}}]}`, llm.Chat, 502, true},
		{"no error", `{"id":"r","status":"completed","error":null,"output":[]}`, llm.Response, 0, true},
		{"text about one", `{"choices":[{"message":{"content":"{\"error\":{}}"}}]}`, llm.Chat, 0, true},
		{"a member of a member", `{"choices":[{"message":{"error":{}}}]}`, llm.Chat, 0, true},
		{"not a model's", busy, llm.Passthrough, 0, true},
		{"no JSON", "error", llm.Chat, 502, true},
	} {
		h := replies(t, 200, "application/json", c.body)
		req := chat(`{}`, false)
		req.Op = c.op
		out, err := serve(t, h, req)
		e, _ := err.(*llm.Error)
		switch {
		case (e == nil) != (c.status == 0) || err != nil && e == nil:
			t.Errorf("%s: %v", c.name, err)
		case e != nil && (e.Status != c.status || e.Fault != llm.Told || e.Ended != c.passes || e.Upstream != "up"):
			t.Errorf("%s: %+v", c.name, e)
		case c.passes && out.text() != c.body || !c.passes && out.starts != 0:
			t.Errorf("%s: the client got %q", c.name, out.text())
		}
	}
}

// A reply of status 200 that is no answer of a model goes on as it came, and is a
// failure.
func TestUnreadable(t *testing.T) {
	const page = "<!DOCTYPE html><title>Log in</title>"
	for _, c := range []struct {
		contentType, body string
		op                llm.Operation
		failed            bool
	}{
		{"text/html; charset=utf-8", page, llm.Chat, true},
		{"application/json", page, llm.Chat, true},
		{"application/json", "", llm.Chat, true},
		{"application/json", " \n", llm.Response, true},
		{"", "OK", llm.Completion, true},
		{"application/json", `{"choices":[{"message":{"content":"a`, llm.Chat, true},
		{"application/json", `"text"`, llm.Embedding, true},
		{"application/json", "{} \r\n", llm.Chat, false},
		{"application/json", "[]", llm.Embedding, false},
		{"application/json", "\ufeff{}", llm.Chat, false},
		{"application/json", page, llm.Passthrough, false},
		{"text/html", page, llm.Passthrough, false},
	} {
		for _, stream := range []bool{false, true} {
			req := chat(`{}`, stream)
			req.Op = c.op
			out, err := serve(t, replies(t, 200, c.contentType, c.body, "Content-Length", fmt.Sprint(len(c.body))), req)
			e, _ := err.(*llm.Error) // it is the type itself that is promised
			if (e != nil) != c.failed || err != nil && e == nil || out.text() != c.body || out.head.Status != 200 {
				t.Errorf("%s %q, stream %v: %q, %v", c.contentType, c.body, stream, out.text(), err)
			}
			if e != nil && (e.Fault != llm.Told || !e.Ended || e.Status != 502 || out.failed == 0) {
				t.Errorf("%s %q: %+v, %d events marked", c.contentType, c.body, e, out.failed)
			}
		}
	}
}

// A reply whose end is that of its connection is whole where its JSON is, and else
// cut, called for as a stream or not.
func TestUnaryCutWithoutLength(t *testing.T) {
	const whole = ` {"id":"x","choices":[]}` + "\n"
	for _, contentType := range []string{"", "application/json"} {
		for _, stream := range []bool{true, false} {
			for n := range len(whole) {
				out, err := serve(t, newHandler(t, says(t, typed(contentType)+"\r\n"+whole[:n]), nil), chat(`{}`, stream))
				if n < len(whole)-1 {
					wantError(t, out, err, 502, "upstream_cut")
				} else if err != nil || out.text() != whole[:n] {
					t.Errorf("%q: %q %v", whole[:n], out.text(), err)
				}
			}
		}
	}
	// Of another operation nobody knows what is whole.
	req := chat(`{}`, false)
	req.Op = llm.Passthrough
	if out, err := serve(t, newHandler(t, says(t, typed("application/json")+"\r\n"), nil), req); err != nil || out.text() != "" {
		t.Errorf("%q %v", out.text(), err)
	}
}
