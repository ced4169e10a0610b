package front

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

const contentPath = "/v1beta/models/m:streamGenerateContent"

// TestArray: a stream of Google's API for which no events are asked is a JSON array, each of whose
// elements leaves when it is whole, and one that failed is closed and yet never looks whole.
func TestArray(t *testing.T) {
	failure := func() error {
		e := llm.Errorf(502, "upstream_cut", "cut")
		e.Upstream = "up"
		return e
	}
	told := func(ended bool) error {
		e := llm.Errorf(503, "x", "told")
		e.Fault, e.Ended, e.Upstream = llm.Told, ended, "up"
		return e
	}
	const cut = `{"error":{"code":502,"message":"cut","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"UPSTREAM_CUT","domain":"sluice"}]}}`
	unfit := func(what string) string {
		return `{"error":{"code":502,"message":"The model service answered with ` + what + `.","status":"UNAVAILABLE",` +
			`"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"UNEXPECTED_REPLY","domain":"sluice"}]}}`
	}
	pieces := func(length int64, all ...string) func(llm.Sink) error {
		return func(out llm.Sink) error {
			err := out.Start(&llm.Head{Status: 200, Kind: llm.Pieces, Length: length, Upstream: "up", Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}})
			for i := 0; i < len(all) && err == nil; i++ {
				err = out.Send(events(all[i]))
			}
			return err
		}
	}
	failed := []llm.Event{{Raw: []byte("data: {\"error\":{}}\n\n"), Failed: true}}
	for _, c := range []struct {
		name   string
		serve  func(out llm.Sink) error
		want   string
		status int
		broken bool
	}{
		{"events", func(out llm.Sink) error {
			return errors.Join(startStream(out), out.Send(events("data: {\"a\":1}\r\n\r\n", ": c\n\n")), out.Send(events("data: {\ndata: \"b\":2}\n\n", "data: [DONE]\n\n")))
		}, "[{\"a\":1}\n,\r\n{\n\"b\":2}\n]", 200, false},
		{"none", startStream, "[]", 200, false},
		{"whole", func(out llm.Sink) error { return sendUnary(out, "{\n\"a\":1}") }, "[{\n\"a\":1}\n]", 200, false},
		{"list", func(out llm.Sink) error { return sendUnary(out, `[{"a":1}]`) }, `[{"a":1}]`, 200, false},
		{"cut", func(out llm.Sink) error {
			return errors.Join(startStream(out), out.Send(events("data: {}\n\n")), failure())
		}, "[{}\n,\r\n" + cut + "\n]", 200, true},
		{"told", func(out llm.Sink) error {
			return errors.Join(startStream(out), out.Send(failed), told(true))
		}, "[{\"error\":{}}\n]", 200, false},
		{"told and cut", func(out llm.Sink) error {
			return errors.Join(startStream(out), out.Send(failed), told(false))
		}, "[{\"error\":{}}\n]", 200, true},
		{"error", func(llm.Sink) error { return failure() }, "[" + cut + "]", 502, false},
		{"theirs", func(llm.Sink) error {
			return &llm.Error{Status: 429, Reply: &llm.ErrorReply{Body: []byte("{\n  \"error\": {}\n}\n")}}
		}, "[{\n  \"error\": {}\n}]", 429, false},
		{"their list", func(llm.Sink) error {
			return &llm.Error{Status: 429, Reply: &llm.ErrorReply{Body: []byte("[{\"error\": {}}\n]\n")}}
		}, "[{\"error\": {}}\n]\n", 429, false},
		{"no event", func(out llm.Sink) error {
			return errors.Join(startStream(out), out.Send(events("data: {\"a\":1}\n\n", "data: {oops\n\n", "data: {}\n\n")))
		}, "[{\"a\":1}\n,\r\n" + unfit("an event that is not JSON") + "\n]", 200, true},
		{"other values", func(out llm.Sink) error {
			return errors.Join(startStream(out), out.Send(events("data: 1\n\n", "data: [2]\n\n")))
		}, "[1\n,\r\n[2]\n]", 200, false},
		{"object in pieces", pieces(10, "\n {\"a\":", "1}"), `[{"a":1}]`, 200, false},
		{"list in pieces", pieces(11, " ", "[{\"a\":", "1}]"), `[{"a":1}]`, 200, false},
		{"cut in pieces", func(out llm.Sink) error { return errors.Join(pieces(99, "{\"a\":1}")(out), failure()) }, `[{"a":1}`, 200, true},
		{"no JSON", pieces(-1, "<html>"), "[" + unfit("something that is neither an event stream nor JSON") + "]", 502, false},
		{"nothing", pieces(-1), "[" + unfit("nothing") + "]", 502, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(seen, 1)
			s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
				if req.RawQuery != "alt=sse" || !req.Stream || !req.Closed {
					t.Errorf("it is asked for with %q, stream %v, closed %v", req.RawQuery, req.Stream, req.Closed)
				}
				return c.serve(out)
			}, Options{Observers: []perf.Observer{seen}})
			for _, e := range engines {
				resp, err := e.client(t, s).Do(newRequest(t, t.Context(), "POST", s.url(contentPath), "{}"))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if c.broken != brokenOff(err) || !c.broken && err != nil || resp.StatusCode != c.status || c.want != "" && string(body) != c.want {
					t.Errorf("%s: %d %q, %v", e.name, resp.StatusCode, body, err)
				}
				var list []json.RawMessage
				if err := json.Unmarshal(body, &list); err != nil && c.name != "cut in pieces" {
					t.Errorf("%s: %q is no array", e.name, body)
				}
				if got := resp.Header.Get("Content-Type"); !isJSON(got) {
					t.Errorf("%s: %q", e.name, got)
				}
				if x := seen.next(t); x.BytesOut != int64(len(body)) && c.status == 200 {
					t.Errorf("%s: %d bytes are told of %d", e.name, x.BytesOut, len(body))
				}
			}
		})
	}
}

// TestArrayAsItGoes: each element is there when it is whole, and so is white space while the
// model thinks.
func TestArrayAsItGoes(t *testing.T) {
	for _, e := range engines {
		heard, more := make(chan struct{}), make(chan struct{})
		s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
			<-heard
			if err := errors.Join(startStream(out), out.Send(events("data: {\"a\":1}\n\n"))); err != nil {
				return err
			}
			<-more
			return out.Send(events("data: {\"b\":2}\n\n"))
		}, func(_ *Config, sc *StreamConfig) { sc.Heartbeat = time.Millisecond })
		resp, err := e.client(t, s).Do(newRequest(t, t.Context(), "POST", s.url(contentPath+"?$alt=json%3Benum-encoding%3Dint"), "{}"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		next := func(want string) {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
				t.Fatalf("%s: %q, %v, want %q", e.name, got, err, want)
			}
		}
		next("[\n")
		close(heard)
		var got byte = '\n'
		for got == '\n' {
			one := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, one); err != nil {
				t.Fatal(err)
			}
			got = one[0]
		}
		next("\"a\":1}\n")
		close(more)
		next(",\r\n{\"b\":2}\n]")
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("%s: %q, %v", e.name, rest, err)
		}
	}
}

// TestListAfterHeartbeat: a list that comes when the stream has begun is told element by element,
// in both forms, and one that is none ends as a broken stream: nothing of it is lost.
func TestListAfterHeartbeat(t *testing.T) {
	for _, c := range []struct {
		alt, body, want string
		broken          bool
	}{
		{"", `[{"a":1}, {"b":[2]}]`, `[{"a":1},{"b":[2]}]`, false},
		{"", "[ ]", "[]", false},
		{"", `{"a":1}`, `[{"a":1}]`, false},
		{"", `[{"a":1}`, "UNEXPECTED_REPLY", true},
		{"", `oops`, "UNEXPECTED_REPLY", true},
		{"?alt=sse", "[{\"a\":1},\n{\"b\":[2]}]", "data: {\"a\":1}\n\ndata: {\"b\":[2]}\n\n", false},
		{"?alt=sse", `{"a":1}`, "data: {\"a\":1}\n\n", false},
		{"?alt=sse", `[{"a":1}`, "UNEXPECTED_REPLY", true},
	} {
		heard := make(chan struct{})
		s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
			<-heard
			return sendUnary(out, c.body)
		}, func(_ *Config, sc *StreamConfig) { sc.Heartbeat = time.Millisecond })
		resp, err := h1(t, s).Do(newRequest(t, t.Context(), "POST", s.url(contentPath+c.alt), "{}"))
		if err != nil {
			t.Fatal(err)
		}
		close(heard) // its head is there, and so is a heartbeat
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		got := strings.ReplaceAll(string(body), ": keep-alive\n\n", "")
		if c.alt == "" {
			var list bytes.Buffer
			if err := json.Compact(&list, body); err != nil {
				t.Errorf("%s: %q is no array", c.body, body)
			}
			got = list.String()
		}
		if c.broken != brokenOff(err) || !c.broken && err != nil || got != c.want && !(c.broken && strings.Contains(got, c.want)) {
			t.Errorf("%s %s: %q, %v", c.alt, c.body, body, err)
		}
	}
}

// TestForms: which form a stream has is told by alt, and what else stands in the query goes on.
func TestForms(t *testing.T) {
	asked := make(chan string, 1)
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		asked <- req.RawQuery
		return errors.Join(startStream(out), out.Send(events("data: {}\n\n")))
	}, Options{}, func(c *Config, _ *StreamConfig) { c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("secret")}} })
	const array, stream = "[{}\n]", "data: {}\n\n"
	for _, c := range []struct{ query, want, passed string }{
		{"", array, "alt=sse"},
		{"?alt=json", array, "alt=sse"},
		{"?alt=json;enum-encoding=int&x=1", array, "x=1&alt=sse"},
		{"?x=%20&%24alt=json%3benum-encoding%3dint&key=secret", array, "x=%20&alt=sse"},
		{"?alt=sse", stream, "alt=sse"},
		{"?$alt=sse&x=1", stream, "$alt=sse&x=1"},
		{"?alt=sse%3Benum-encoding%3Dint", stream, "alt=sse"},
		{"?x=1&$alt=sse;enum-encoding=int", stream, "x=1&alt=sse"},
		{"?alt=proto", "", ""},
		{"?alt=sse&alt=json", "", ""},
		{"?alt=%zz", "", ""},
	} {
		req := newRequest(t, t.Context(), "POST", s.url(contentPath+c.query), "{}")
		req.Header.Set("X-Goog-Api-Key", "secret")
		resp, text := do(t, h1(t, s), req)
		if c.want == "" {
			if resp.StatusCode != 400 || !strings.Contains(text, `"status":"INVALID_ARGUMENT"`) {
				t.Errorf("%s: %d %s", c.query, resp.StatusCode, text)
			}
			continue
		}
		if resp.StatusCode != 200 || text != c.want {
			t.Errorf("%s: %d %q", c.query, resp.StatusCode, text)
		} else if got := <-asked; got != c.passed {
			t.Errorf("%s is handed on as %s, want %s", c.query, got, c.passed)
		}
	}
	// One whose key is not known is told so in the same form.
	if resp, text := do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(contentPath), "{}")); resp.StatusCode != 401 || !strings.HasPrefix(text, `[{"error":{"code":401,`) || !strings.HasSuffix(text, "}]") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestSlowArray: what waits for a client that reads slowly is merged, and is an array with all of
// the text all the same.
func TestSlowArray(t *testing.T) {
	const total = 60_000
	sent := make(chan struct{}, total)
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := startStream(out); err != nil {
			return err
		}
		for i := range total {
			if err := out.Send(events(fmt.Sprintf("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":%q}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\"}\r\n\r\n", string(rune('a'+i%26))))); err != nil {
				return err
			}
			sent <- struct{}{}
		}
		return nil
	}, func(_ *Config, sc *StreamConfig) { sc.BufferBytes = 64 << 10 })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", contentPath)
	testkit.Until(t, "something was merged", func() bool { return s.stats.merged.Load() > 0 })
	_ = c.SetReadDeadline(time.Now().Add(2 * patience))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Candidates []struct {
			Content struct{ Parts []struct{ Text string } }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range list {
		for _, p := range e.Candidates[0].Content.Parts {
			for _, r := range p.Text {
				if r != rune('a'+n%26) {
					t.Fatalf("%q is character %d", r, n)
				}
				n++
			}
		}
	}
	if n != total || len(list) >= total || len(sent) != total {
		t.Errorf("%d characters of %d in %d elements, %d sent", n, total, len(list), len(sent))
	}
}
