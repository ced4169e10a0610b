package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/testkit"
)

// clients are the ways in which a program reaches the gateway. None keeps its
// connection, so that the end of a request over HTTP/1.1 is seen at once.
func clients(t *testing.T) map[string]*http.Client {
	h2 := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	h1 := &http.Transport{}
	t.Cleanup(h1.CloseIdleConnections)
	t.Cleanup(h2.CloseIdleConnections)
	return map[string]*http.Client{"http/1.1": {Transport: h1}, "h2c": {Transport: h2}}
}

// serveBoth is serve for an upstream that also takes HTTP/2 in the clear.
func serveBoth(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

const chatStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello"}]}`

func stream(t *testing.T, ctx context.Context, c *http.Client, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader(chatStream))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func delta(text string) string {
	return fmt.Sprintf("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", text)
}

const upConfig = `
upstreams:
  - {name: up, base_url: %q, models: [m]}
http_client: {h2c: %t}
log: {level: error}
`

// TestFirstEventLeavesAtOnce has the upstream hold all but the first event
// until the client has that one, so a gateway that waits for more hangs here.
func TestFirstEventLeavesAtOnce(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		release := make(chan struct{})
		up := serveBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			io.WriteString(w, delta("first"))
			w.(http.Flusher).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
			io.WriteString(w, delta("second")+"data: [DONE]\n\n")
		}))
		in := start(t, fmt.Sprintf(upConfig, up+"/v1", h2c))
		for name, c := range clients(t) {
			resp := stream(t, t.Context(), c, in.url)
			for field, want := range map[string]string{
				"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no",
				"Content-Encoding": "", "Content-Length": "", "X-Sluice-Upstream": "up",
			} {
				if got := resp.Header.Get(field); got != want {
					t.Errorf("%s: %s: %q, want %q", name, field, got, want)
				}
			}
			first := make([]byte, len(delta("first")))
			if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != delta("first") {
				t.Fatalf("%s: %q, %v", name, first, err)
			}
			release <- struct{}{}
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != delta("second")+"data: [DONE]\n\n" {
				t.Errorf("%s: rest %q, %v", name, rest, err)
			}
		}
	}
}

// TestClientLeaves measures how soon the upstream learns that a client has
// left. The contract says 100 ms; the test allows for a busy machine.
func TestClientLeaves(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		for _, before := range []bool{false, true} { // before the first event, or after it
			begun, ended := make(chan struct{}, 1), make(chan time.Time, 1)
			up := serveBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if !before {
					w.Header().Set("Content-Type", "text/event-stream")
					io.WriteString(w, delta("first"))
					w.(http.Flusher).Flush()
				}
				begun <- struct{}{}
				<-r.Context().Done()
				ended <- time.Now()
			}))
			in := start(t, fmt.Sprintf(upConfig, up+"/v1", h2c))
			for name, c := range clients(t) {
				for range 3 {
					ctx, leave := context.WithCancel(t.Context())
					read := make(chan error, 1)
					go func() {
						req, _ := http.NewRequestWithContext(ctx, "POST", in.url+"/v1/chat/completions", strings.NewReader(chatStream))
						req.Header.Set("Content-Type", "application/json")
						resp, err := c.Do(req)
						if err == nil {
							_, err = io.ReadFull(resp.Body, make([]byte, 10))
							defer resp.Body.Close()
						}
						read <- err
						<-ctx.Done()
					}()
					<-begun
					if !before {
						if err := <-read; err != nil {
							t.Fatal(err)
						}
					}
					left := time.Now()
					leave()
					select {
					case at := <-ended:
						took := at.Sub(left)
						t.Logf("client %s, upstream h2c=%t, before the first event=%t: %v", name, h2c, before, took.Round(time.Microsecond))
					case <-time.After(time.Minute):
						t.Fatalf("client %s, upstream h2c=%t, before=%t: the upstream was not told", name, h2c, before)
					}
				}
			}
			testkit.Until(t, "streams over", func() bool {
				open, idle := gauges(t, in, "up")
				return open == idle && metric(t, in, "sluice_streams_active") == "0"
			})
			if want := map[bool]string{false: "0", true: "1"}[h2c]; !before {
				// HTTP/1.1 cannot end a reply but by its connection; HTTP/2 keeps it.
				if open, _ := gauges(t, in, "up"); open != want {
					t.Errorf("h2c=%t: %s connections after the clients left, want %s", h2c, open, want)
				}
			}
		}
	}
}

// TestHeartbeat has comments keep a silent stream alive, and an error that
// comes after them told as an event.
func TestHeartbeat(t *testing.T) {
	release := make(chan string)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if <-release == "fail" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, delta("first")+"data: [DONE]\n\n")
	}))
	in := start(t, fmt.Sprintf(upConfig, up+"/v1", false)+"stream: {heartbeat: 50ms}\n")
	for end, want := range map[string]string{"well": delta("first") + "data: [DONE]\n\n", "fail": ""} {
		resp := stream(t, t.Context(), http.DefaultClient, in.url)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%d, %v", resp.StatusCode, resp.Header)
		}
		r := bufio.NewReader(resp.Body)
		for range 2 {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, ":") {
				t.Fatalf("heartbeat %q, %v", line, err)
			}
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		release <- end
		rest, err := io.ReadAll(r)
		if end == "fail" != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		for bytes.HasPrefix(rest, []byte(":")) {
			_, rest, _ = bytes.Cut(rest, []byte("\n\n"))
		}
		if end == "fail" {
			data := bytes.TrimSuffix(bytes.TrimPrefix(rest, []byte("data: ")), []byte("\n\n"))
			if code, shaped := errorOf(data); code != "upstream_error" || !shaped {
				t.Errorf("error event %q", rest)
			}
		} else if string(rest) != want {
			t.Errorf("after heartbeats %q, want %q", rest, want)
		}
	}
}

// TestErrorEventShape pins the bytes that end a broken stream.
func TestErrorEventShape(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		event := delta("first")
		if strings.HasSuffix(r.URL.Path, "/responses") {
			event = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":0,\"delta\":\"first\"}\n\n"
		}
		io.WriteString(w, event+event[:len(event)/2]) // half an event would swallow the error's
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	in := start(t, fmt.Sprintf(upConfig, up+"/v1", false))
	for path, want := range map[string]string{
		"/v1/chat/completions": "data: {\"error\":{\"message\":\"Upstream `up` ended the connection before its reply was complete.\",\"type\":\"upstream_error\",\"param\":null,\"code\":\"upstream_cut\"}}\n\n",
		"/v1/responses":        "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_cut\",\"message\":\"Upstream `up` ended the connection before its reply was complete.\",\"param\":null,\"sequence_number\":1}\n\n",
	} {
		got, err := post(in.url+path, `{"model":"m","stream":true,"messages":[],"input":"x"}`)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s ends as if it were whole: %v", path, err)
		}
		first, rest, _ := strings.Cut(string(got), "\n\n")
		if !strings.Contains(first, "first") || rest != want {
			t.Errorf("%s:\n%s\n\n%swant\n%s", path, first, rest, want)
		}
	}
}

// TestSlowReader has a client read nothing while an upstream offers 60,000
// deltas: what waits is bounded, and not a letter is lost.
func TestSlowReader(t *testing.T) {
	const deltas = 60_000
	for _, h2c := range []bool{false, true} {
		var want strings.Builder
		finished := make(chan struct{})
		word := func(i int) string { return fmt.Sprintf("word-%d \"é\" %s", i, strings.Repeat("x", 300)) }
		for i := range deltas {
			want.WriteString(word(i))
		}
		up := serveBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range deltas {
				if _, err := io.WriteString(w, delta(word(i))); err != nil {
					t.Errorf("upstream: %v", err)
					return
				}
			}
			io.WriteString(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":7}}\n\ndata: [DONE]\n\n")
			close(finished)
		}))
		in := start(t, fmt.Sprintf(upConfig, up+"/v1", h2c)+"stream: {buffer_bytes: 64KiB, flush_interval: 0s, write_timeout: 300s}\n")
		conn, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetReadBuffer(128 << 10) // or the kernel would hold it all
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(chatStream), chatStream)
		// The gateway has read all that it is going to once its figures stand still.
		var last string
		testkit.Until(t, "a slow stream stands still", func() bool {
			time.Sleep(300 * time.Millisecond)
			now := metric(t, in, "sluice_stream_events_merged_total") + "/" + metric(t, in, "sluice_stream_writes_total")
			still := now == last && metric(t, in, "sluice_streams_active") == "1"
			last = now
			return still
		})
		var resident float64
		fmt.Sscan(metric(t, in, "process_resident_memory_bytes"), &resident)
		select {
		case <-finished:
			t.Errorf("h2c=%t: the upstream had sent all before the client read", h2c)
		default:
		}
		t.Logf("h2c=%t: merges/writes %s, resident %.0f MiB", h2c, last, resident/(1<<20))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		var finish string
		total, events, done := 0, 0, false
		for sc := newLines(resp.Body); sc.Scan(); {
			data, ok := strings.CutPrefix(sc.Text(), "data: ")
			if !ok {
				continue
			}
			if data == "[DONE]" {
				done = true
				continue
			}
			var chunk struct {
				Choices []struct {
					Delta        struct{ Content string }
					FinishReason *string `json:"finish_reason"`
				}
				Usage struct {
					Total int `json:"total_tokens"`
				}
			}
			if err := json.Unmarshal([]byte(data), &chunk); err != nil || len(chunk.Choices) != 1 {
				t.Fatalf("%v: %.200s", err, data)
			}
			events++
			text.WriteString(chunk.Choices[0].Delta.Content)
			if f := chunk.Choices[0].FinishReason; f != nil {
				finish = *f
			}
			total += chunk.Usage.Total
		}
		t.Logf("h2c=%t: %d deltas came in %d events", h2c, deltas, events)
		if text.String() != want.String() {
			t.Errorf("h2c=%t: text of %d bytes, want %d; it differs at byte %d", h2c, text.Len(), want.Len(), firstDifference([]byte(text.String()), []byte(want.String())))
		}
		if finish != "stop" || total != 7 || !done {
			t.Errorf("h2c=%t: finish_reason %q, usage %d, [DONE] %t", h2c, finish, total, done)
		}
	}
}

// TestSteadySlowClientIsKept has a client that never stops reading outlive
// stream.write_timeout, which is about clients that take nothing.
func TestSteadySlowClientIsKept(t *testing.T) {
	const size = 30_000
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range size {
			if _, err := io.WriteString(w, delta(strings.Repeat("x", 1000))); err != nil {
				return // its client has been given up
			}
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}))
	testkit.InTime(t, 2*time.Second, func(timeout time.Duration) error {
		in := start(t, fmt.Sprintf(upConfig, up+"/v1", false)+fmt.Sprintf("stream: {write_timeout: %v}\n", timeout))
		resp := stream(t, t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, in.url)
		var got int64
		piece := make([]byte, 8<<10)
		for begun := time.Now(); time.Since(begun) < 3*timeout; time.Sleep(timeout / 100) {
			n, err := resp.Body.Read(piece)
			got += int64(n)
			if err != nil {
				return fmt.Errorf("after %v and %d bytes: %w", time.Since(begun), got, err)
			}
		}
		rest, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.HasSuffix(rest, []byte("data: [DONE]\n\n")) {
			return fmt.Errorf("after %d bytes at first and %d more: %w", got, len(rest), err)
		}
		if n := metric(t, in, `sluice_replies_aborted_total{cause="write_timeout"}`); n != "0" {
			t.Errorf("%s clients given up", n)
		}
		return nil
	})
}

// TestDeadClientIsGivenUp has a client that never reads cost its upstream no
// more than stream.write_timeout.
func TestDeadClientIsGivenUp(t *testing.T) {
	ended := make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, delta(strings.Repeat("x", 1000))); err != nil {
				return
			}
		}
	}))
	in := start(t, fmt.Sprintf(upConfig, up+"/v1", false)+"stream: {buffer_bytes: 64KiB, write_timeout: 500ms}\n")
	conn, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(chatStream), chatStream)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the upstream still sends")
	}
	testkit.Until(t, "the slow client given up", func() bool {
		return metric(t, in, `sluice_replies_aborted_total{cause="write_timeout"}`) == "1" && metric(t, in, "sluice_streams_active") == "0"
	})
}

// TestStreamCompleteAtDone has a stream be complete with its [DONE], whatever
// becomes of the connection afterwards.
func TestStreamCompleteAtDone(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, delta("all")+"data: [DONE]\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	in := start(t, fmt.Sprintf(upConfig, up+"/v1", false))
	if got, err := post(in.url+"/v1/chat/completions", chatStream); err != nil || string(got) != delta("all")+"data: [DONE]\n\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSecrets looks for keys where they do not belong: the client's upstream,
// the upstream's anywhere else.
func TestSecrets(t *testing.T) {
	_, base := simulate(t)
	const clientKey, upstreamKey = "sk-client-0123456789abcdef", "sk-upstream-fedcba9876543210"
	leak := &scripted{}
	leak.reply = func(n int, w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if key != upstreamKey {
			t.Errorf("the upstream got the key %q", key)
		}
		w.Header().Set("X-Debug-Key", key)
		body, _ := io.ReadAll(r.Body)
		switch {
		case bytes.Contains(body, []byte("html")):
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(502)
			fmt.Fprintf(w, "<html>bad key %s</html>", key)
		case bytes.Contains(body, []byte("plain")):
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(401)
			fmt.Fprintf(w, "bad key %s", key)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(401)
			fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s.","type":"invalid_request_error","param":null,"code":"invalid_api_key","seen":{"%s":["Bearer %s"]}}}`, key, key, key)
		}
	}
	in := start(t, fmt.Sprintf(`
upstreams:
  - {name: simulator, base_url: %q, api_key: %s, models: ["sim-*"]}
  - {name: leak, base_url: %q, api_key: %s, models: ["leak-*"]}
route: {retry: {max_attempts: 1}}
log: {level: debug}
`, base, upstreamKey, serve(t, leak)+"/v1", upstreamKey))
	send := func(path, body string) string {
		req, err := http.NewRequest("POST", in.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{
			"Content-Type": {"application/json"}, "Authorization": {"Bearer " + clientKey}, "X-Api-Key": {clientKey}, "Api-Key": {clientKey},
			"Cookie": {"session=" + clientKey}, "Proxy-Authorization": {"Basic " + clientKey}, "X-Goog-Api-Key": {clientKey},
			"X-Auth-Token": {clientKey}, "Openai-Organization": {"org-kept"},
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var all strings.Builder
		resp.Header.Write(&all)
		io.Copy(&all, resp.Body)
		return all.String()
	}
	// The simulator shows what it received, the key of its own request included.
	echo := send("/v1/sim/echo", `{"model":"sim-chat"}`)
	if !strings.Contains(echo, "received") && !strings.Contains(strings.ToLower(echo), "content-type") {
		t.Fatalf("no echo: %s", echo)
	}
	if strings.Contains(echo, clientKey) {
		t.Errorf("the upstream got the client's key: %s", echo)
	}
	for _, model := range []string{"leak-json", "leak-html", "leak-plain"} {
		for _, streamed := range []bool{false, true} {
			got := send("/v1/chat/completions", fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[]}`, model, streamed))
			if strings.Contains(got, upstreamKey) {
				t.Errorf("%s: the client got the upstream's key: %s", model, got)
			}
		}
	}
	for _, seen := range leak.seen {
		if bytes.Contains(seen, []byte(clientKey)) {
			t.Errorf("the upstream got the client's key: %s", seen)
		}
	}
	resp, err := http.Get(in.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	figures, _ := io.ReadAll(resp.Body)
	in.stop(t)
	for name, text := range map[string]string{"metrics": string(figures), "log": in.log.String()} {
		for _, key := range []string{clientKey, upstreamKey} {
			if strings.Contains(text, key) {
				t.Errorf("%s show %s", name, key)
			}
		}
	}
}
