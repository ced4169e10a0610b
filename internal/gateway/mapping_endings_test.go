package gateway

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice/internal/testkit"
	"sluice/internal/testkit/rpc"
)

// TestMappedStatuses: a status that says that the service did not act on a request lets it
// go elsewhere, and no other does, whatever it is called over HTTP. What the service has
// ended it is not told to stop.
func TestMappedStatuses(t *testing.T) {
	var code atomic.Uint32
	var begun atomic.Bool
	left := uint32(1 << 20) // no status: the call is not ended
	o := new(oracle)
	o.serve = func(r *rpc.Call) error {
		if strings.HasSuffix(r.Method, "Hush") {
			return r.Reply(`{}`)
		}
		if code.Load() == left {
			return r.Wait()
		}
		if begun.Load() {
			_ = r.Reply(`{}`)
		}
		return status.Error(codes.Code(code.Load()), "no")
	}
	addr := rpc.Serve(t, o.answer, "testdata/oracle.proto")
	one := strings.ReplaceAll(oracleYAML, "ADDR", addr)
	_, other, _ := strings.Cut(one, "upstreams:\n")
	_, url := run(t, loadYAML(t, one+strings.Replace(other, "delphi", "dodona", 1)+
		"    http_client: {idle_timeout: 1m, response_header_timeout: 1m}\nroute: {retry: {base_delay: 1ms}, breaker: {failures: 1000, max_ejected: 0}}\n"), io.Discard)
	for _, later := range []bool{false, true} {
		begun.Store(later)
		for c := uint32(1); c <= 17; c++ {
			if c == 17 {
				c = 77 // none that is defined
			}
			code.Store(c)
			want := 1
			if name := codes.Code(c); !later && (name == codes.Unavailable || name == codes.ResourceExhausted) {
				want = 3
			}
			for method, body := range map[string]string{"Consult": askWhole, "Murmur": askStream} {
				before := len(o.asked(method))
				resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				reply, _ := io.ReadAll(resp.Body) // a stream that failed is cut
				_ = resp.Body.Close()
				begun := later && body == askStream
				if n := len(o.asked(method)) - before; n != want || begun != (resp.StatusCode == 200) || !strings.Contains(string(reply), `"message":"no`) {
					t.Errorf("%v, after a message %v: %s was called %d times, want %d: %d %s", codes.Code(c), later, method, n, want, resp.StatusCode, reply)
				}
				if told := resp.Header.Get("X-Should-Retry"); resp.StatusCode >= 500 && resp.StatusCode != 501 && told != "false" {
					t.Errorf("%v, after a message %v: the client is told %q of sending it again", codes.Code(c), later, told)
				}
			}
		}
	}
	// It ended well, without a message.
	code.Store(0)
	begun.Store(false)
	if reached, reply, _ := posted(t, url, "/v1/chat/completions", askWhole); reached != 502 || !strings.Contains(reply, `"code":"upstream_no_message"`) {
		t.Error(reached, reply)
	}
	code.Store(left)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(askWhole))
	if err != nil {
		t.Fatal(err)
	}
	before := len(o.asked("Consult"))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	testkit.Until(t, "the call", func() bool { return len(o.asked("Consult")) > before })
	leave()
	<-gone
	testkit.Until(t, "the abort call", func() bool { return len(o.asked("Hush")) > 0 })
	if n := len(o.asked("Hush")); n != 1 {
		t.Errorf("%d aborts, want one of the call that was left", n)
	}
}

// TestMappedFailureEvents: an event that tells of an error is that error to the client, in
// whatever form it tells, before the first event and after it.
func TestMappedFailureEvents(t *testing.T) {
	var event, before atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, before.Load(), "event: error\ndata: ", event.Load(), "\n\n")
	}))
	defer srv.Close()
	_, url := run(t, loadYAML(t, strings.NewReplacer("protocol: grpc", "protocol: protobuf-http", "http://ADDR", srv.URL).Replace(oracleYAML)+"    stream_reply: sse-base64\n"), io.Discard)
	st, err := proto.Marshal(status.New(codes.ResourceExhausted, "no breath left, of-the-oracle").Proto())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		data   string
		status int
		want   string
	}{
		{`{"message":"it fell asleep","code":404}`, 404, `"message":"it fell asleep","type":"invalid_request_error","param":null,"code":"404"`},
		{`{"error":{"message":"too fast","type":"rate_limit_error","code":"slow_down"}}`, 429, `"message":"too fast","type":"rate_limit_error","param":null,"code":"slow_down"`},
		{`{"error":{"message":"of-the-oracle is wrong","code":"UNAUTHENTICATED"}}`, 401, `"message":"[redacted] is wrong","type":"authentication_error","param":null,"code":"UNAUTHENTICATED"`},
		{`"it fell \u0061sleep"`, 502, `"message":"it fell asleep","type":"server_error","param":null,"code":"upstream_error"`},
		{`it fell asleep`, 502, `"message":"it fell asleep","type":"server_error","param":null,"code":"upstream_error"`},
		{base64.StdEncoding.EncodeToString(st), 429, `"message":"no breath left, [redacted]","type":"rate_limit_error","param":null,"code":"resource_exhausted"`},
		{base64.RawStdEncoding.EncodeToString(st), 429, `"message":"no breath left, [redacted]","type":"rate_limit_error","param":null,"code":"resource_exhausted"`},
		{`{}`, 502, "\"message\":\"Upstream `delphi` answered with an error and no explanation.\""},
	} {
		for _, words := range []string{"", "data: CgNJdCA=\n\n"} {
			event.Store(test.data)
			before.Store(words)
			want := test.status
			code, reply, _ := posted(t, url, "/v1/chat/completions", askStream)
			if words != "" && code == 200 {
				want = 200
			}
			if code != want || !strings.Contains(reply, test.want) {
				t.Errorf("%s after %q: %d %s\nwant %d %s", test.data, words, code, reply, want, test.want)
			}
		}
	}
}

// TestMappedFailureElsewhere: a stream whose first event tells of an error goes to another
// upstream by the rules for streams of OpenAI's: once, where it is the service's fault or its
// limit, and only while the client has nothing.
func TestMappedFailureElsewhere(t *testing.T) {
	var event, before, has atomic.Value // has is closed when the client has something
	var asked [2]atomic.Int64
	serve := func(i int, h http.HandlerFunc) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[i].Add(1)
			w.Header().Set("Content-Type", "text/event-stream")
			h(w, r)
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	fails := serve(0, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, before.Load().(string))
		if strings.HasPrefix(before.Load().(string), "data") {
			w.(http.Flusher).Flush()
			<-has.Load().(chan struct{})
		}
		_, _ = fmt.Fprint(w, "event: error\ndata: ", event.Load(), "\n\n")
	})
	works := serve(1, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "data: CgJzbw==\n\ndata: [DONE]\n\n")
	})
	one := strings.NewReplacer("protocol: grpc", "protocol: protobuf-http", "models: [pythia]", "models: [pythia]\n    stream_reply: sse-base64").Replace(oracleYAML)
	_, other, _ := strings.Cut(strings.Replace(one, "delphi", "dodona", 1), "upstreams:\n")
	text := strings.Replace(one, "http://ADDR", fails, 1) + strings.NewReplacer("http://ADDR", works, "[pythia]", "[sibyl]").Replace(other)
	_, url := run(t, loadYAML(t, text+"route: {fallbacks: {pythia: [sibyl]}, retry: {base_delay: 1ms}, breaker: {failures: 1000, max_ejected: 0}}\n"), io.Discard)
	for _, c := range []struct {
		before, data string
		want         string // in the reply
		second       int64  // how often the other was asked
	}{
		{"", `{"error":{"message":"broken","code":503}}`, `"content":"so"`, 1},
		{"", `{"error":{"message":"full","type":"rate_limit_error"}}`, `"content":"so"`, 1},
		{"", `"broken"`, `"content":"so"`, 1},
		{": a comment\n\n", `broken`, `"content":"so"`, 1},
		{"", `{"message":"no such model","code":404}`, `"message":"no such model"`, 0},
		{"data: CgNJdCA=\n\n", `{"error":{"message":"broken","code":503}}`, `"message":"broken"`, 0},
	} {
		before.Store(c.before)
		event.Store(c.data)
		has.Store(make(chan struct{}))
		first, second := asked[0].Load(), asked[1].Load()
		resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(askStream))
		if err != nil {
			t.Fatal(err)
		}
		some := make([]byte, 1)
		_, _ = io.ReadFull(resp.Body, some)
		close(has.Load().(chan struct{}))
		reply, _ := io.ReadAll(resp.Body) // a stream that failed is cut
		_ = resp.Body.Close()
		if first, second = asked[0].Load()-first, asked[1].Load()-second; !strings.Contains(string(reply), c.want) || first != 1 || second != c.second {
			t.Errorf("%q, %s: asked %d and %d times: %d %s", c.before, c.data, first, second, resp.StatusCode, reply)
		}
	}
}

// TestMappedVectors: a reply has a vector for each input, or is none.
func TestMappedVectors(t *testing.T) {
	o := &oracle{serve: func(r *rpc.Call) error {
		if strings.Contains(r.Request, "nan") {
			return r.Reply(`{"places":[{"at":[1,"NaN"]}]}`)
		}
		return r.Reply(`{"places":[{"at":[1]},{"at":[2]}]}`)
	}}
	_, url := consult(t, o, "route: {breaker: {failures: 1000}}\n")
	for input, want := range map[string]int{`["a","b"]`: 200, `["c","d","e"]`: 502, `["f"]`: 502, `"g"`: 502, `[1,2,3]`: 400, `["nan"]`: 502, `["nan"],"encoding_format":"base64"`: 502} {
		if code, reply, _ := posted(t, url, "/v1/embeddings", `{"model":"pythia","input":`+input+`}`); code != want || want == 502 && !strings.Contains(reply, `"code":"upstream_bad_reply"`) {
			t.Errorf("%s: %d %s", input, code, reply)
		}
	}
}

// TestMappedMetadata: what a client sends goes on only where gRPC can carry it.
func TestMappedMetadata(t *testing.T) {
	o := new(oracle)
	_, url := consult(t, o, "server: {forward_headers: [\"X-*\", \"Grpc-*\"]}\n")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(askWhole))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"X-Plain": "as it is", "X-Good-Bin": "AAE=", "X-Bare-Bin": "AAE", "X-Two-Bin": "AAEC, AAE", "X-Bad-Bin": "not base64!", "X-Latin": "caf\xe9", "X-Tab": "a\tb", "X-No!name": "x",
		"Grpc-Timeout": "1n", "Grpc-Encoding": "snappy", "Grpc-Tags-Bin": "AAEC",
	} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	asked := o.asked("Consult")
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || len(asked) != 1 {
		t.Fatalf("%d %s, %d calls", resp.StatusCode, b, len(asked))
	}
	md := asked[0].Metadata
	if fmt.Sprint(md["x-plain"], md["x-good-bin"], md["x-bare-bin"]) != "[as it is] [\x00\x01] [\x00\x01]" {
		t.Error(md)
	}
	for _, name := range []string{"x-bad-bin", "x-two-bin", "x-latin", "x-tab", "x-no!name", "grpc-timeout", "grpc-encoding", "grpc-tags-bin"} {
		if v := md.Get(name); len(v) > 0 {
			t.Errorf("%s is %q", name, v)
		}
	}
}

// TestMappedReplyMetadata: what a service says beside its messages reaches the client as
// fields of HTTP, before them and behind them, beside an error too; what is gRPC's own, of
// the service's site, or holds the key does not.
func TestMappedReplyMetadata(t *testing.T) {
	said := metadata.Pairs("x-request-id", "r-1", "x-ratelimit-remaining-requests", "9", "retry-after", "7", "x-echo", "of-the-oracle", "set-cookie", "a=b", "x-some-bin", "\x00",
		"etag", "e", "content-language", "el", "x-sluice-upstream", "me", "date", "yesterday")
	o := new(oracle)
	o.serve = func(r *rpc.Call) error {
		_ = r.SendHeader(said)
		r.SetTrailer(metadata.Pairs("x-cost", "3"))
		if strings.Contains(r.Request, "fail") {
			return status.Error(codes.PermissionDenied, "no")
		}
		return r.Reply(`{"words":"so","end":"END_SAID"}`)
	}
	_, url := consult(t, o, "")
	for _, c := range []struct {
		body   string
		status int
		behind bool // what stands behind the messages is known with the head
	}{{askWhole, 200, true}, {askStream, 200, false}, {strings.Replace(askWhole, "Is it so", "fail", 1), 403, true}, {strings.Replace(askStream, "Is it so", "fail", 1), 403, true}} {
		code, reply, h := posted(t, url, "/v1/chat/completions", c.body)
		if code != c.status || h.Get("X-Upstream-Request-Id") != "r-1" || h.Get("X-Ratelimit-Remaining-Requests") != "9" || h.Get("Retry-After") != "7" || h.Get("X-Echo") != "[redacted]" {
			t.Errorf("%s: %d %s %v", c.body, code, reply, h)
		}
		if (h.Get("X-Cost") == "3") != c.behind || h.Get("X-Sluice-Upstream") != "delphi" || h.Get("Date") == "yesterday" {
			t.Errorf("%s: %v", c.body, h)
		}
		for _, name := range []string{"Set-Cookie", "X-Some-Bin", "Etag", "Content-Language", "Grpc-Status", "Grpc-Message", "Trailer"} {
			if v, ok := h[name]; ok {
				t.Errorf("%s: %s is %q", c.body, name, v)
			}
		}
	}
}

// TestMappedSilence: messages that say nothing do not keep a stream.
func TestMappedSilence(t *testing.T) {
	for name, test := range map[string]struct {
		more string
		wait time.Duration
		want string
	}{
		"in time":   {"    http_client: {idle_timeout: 200ms}\n", 20 * time.Millisecond, `"code":"upstream_timeout"`},
		"in number": {"", 0, `"code":"upstream_bad_reply"`},
	} {
		for _, body := range []string{askStream, askWhole} {
			o := new(oracle)
			o.serve = func(r *rpc.Call) error {
				if !strings.HasSuffix(r.Method, "Converse") {
					return r.Reply(`{}`)
				}
				_ = r.Reply(`{"words":"It "}`)
				for r.Context().Err() == nil {
					if err := r.Reply(`{}`); err != nil {
						return err
					}
					time.Sleep(test.wait)
				}
				return r.Context().Err()
			}
			addr := rpc.Serve(t, o.answer, "testdata/oracle.proto")
			text := strings.NewReplacer("ADDR", addr, "testdata/oracle.yaml", "testdata/converse.yaml#converse").Replace(oracleYAML)
			_, url := run(t, loadYAML(t, text+test.more+"route: {retry: {max_attempts: 1}}\n"), io.Discard)
			resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body) // a stream that failed is cut
			_ = resp.Body.Close()
			if !strings.Contains(string(b), test.want) {
				t.Errorf("%s: %d %s", name, resp.StatusCode, b)
			}
		}
	}
}

// TestMappedCloseDelimited: a reply of HTTP/1.1 that ends where the connection does is whole
// where it says why each choice ended, or has a vector for each input, and else was cut,
// whatever its form; an empty body is no message.
func TestMappedCloseDelimited(t *testing.T) {
	var body atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"+body.Load().(string))
		_ = c.Close()
	}))
	defer srv.Close()
	const ends, said, more, vector = "Connection: close\r\n\r\n", "\x0a\x02so", "\x18\x01", "\x0a\x06\x0a\x04\x00\x00\x80\x3f"
	embed := `{"model":"pythia","input":["a"]}`
	for _, form := range []string{"binary", "delimited"} {
		_, url := run(t, loadYAML(t, strings.NewReplacer("protocol: grpc", "protocol: protobuf-http", "http://ADDR", srv.URL).Replace(oracleYAML)+
			"    unary_reply: "+form+"\n    stream_reply: "+form+"\ncache: {enabled: false}\nroute: {retry: {max_attempts: 1}, breaker: {failures: 1000, max_ejected: 0}}\n"), io.Discard)
		for _, c := range []struct {
			name, ask, head, message, want string
		}{
			{"cut", askWhole, ends, said, `"code":"upstream_cut"`},
			{"whole", askWhole, ends, said + more, `"finish_reason":"stop"`},
			{"of known length", askWhole, "Connection: close\r\nContent-Length: LENGTH\r\n\r\n", said, `"finish_reason":"stop"`},
			{"stream cut", askStream, ends, said, `"code":"upstream_cut"`},
			{"stream whole", askStream, ends, said + more, "data: [DONE]"},
			{"stream of known length", askStream, "Connection: close\r\nContent-Length: LENGTH\r\n\r\n", said, "data: [DONE]"},
			{"vectors", embed, ends, vector, `"embedding":[1`},
			{"empty", askWhole, "Connection: close\r\nContent-Length: 0\r\n\r\n", "", `"code":"upstream_no_message"`},
			{"empty stream", askStream, "Connection: close\r\nContent-Length: 0\r\n\r\n", "", `"code":"upstream_empty"`},
			{"empty and close-delimited", askWhole, ends, "", `"code":"upstream_no_message"`},
		} {
			message := c.message
			if form == "delimited" && message != "" {
				message = string(rune(len(message))) + message
			}
			body.Store(strings.ReplaceAll(c.head, "LENGTH", fmt.Sprint(len(message))) + message)
			resp, err := http.Post(url+map[bool]string{true: "/v1/embeddings", false: "/v1/chat/completions"}[c.ask == embed], "application/json", strings.NewReader(c.ask))
			if err != nil {
				t.Fatal(err)
			}
			reply, _ := io.ReadAll(resp.Body) // a stream that failed is cut
			_ = resp.Body.Close()
			if !strings.Contains(string(reply), c.want) {
				t.Errorf("%s, %s: %d %s", form, c.name, resp.StatusCode, reply)
			}
		}
	}
}
