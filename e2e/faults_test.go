package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/simulator"
	"sluice/internal/testkit"
)

// outcome is what a client is left with.
type outcome struct {
	status   int
	header   http.Header
	body     []byte
	streamed bool
	cut      bool   // the body ended unsoundly
	code     string // of the error: the body's, or the last event's
	shaped   bool   // the error is as OpenAI shapes it
	events   int    // without [DONE] and the error
	done     bool
}

// String is the outcome as it stands in a table.
func (o outcome) String() string {
	s := fmt.Sprint(o.status)
	switch {
	case o.cut && !o.streamed:
		return s + " cut"
	case o.code != "" && !o.shaped:
		return s + " misshapen " + o.code
	case o.streamed:
		s += fmt.Sprintf(" %d events", o.events)
		if o.code != "" {
			s += " error " + o.code
		}
		if o.done {
			s += " [DONE]"
		}
		if o.cut {
			s += " cut"
		}
	case o.code != "":
		return s + " " + o.code
	}
	return s
}

// errorOf reads an error as OpenAI shapes it: the four members, of their types.
func errorOf(b []byte) (code string, shaped bool) {
	var reply struct {
		Error map[string]any `json:"error"`
	}
	if json.Unmarshal(b, &reply) != nil || reply.Error == nil {
		return "", false
	}
	shaped = true
	for _, name := range []string{"message", "type", "param", "code"} {
		v, there := reply.Error[name]
		_, text := v.(string)
		nullable := name == "param" || name == "code"
		shaped = shaped && there && (text || nullable && v == nil)
	}
	code, _ = reply.Error["code"].(string)
	if code == "" {
		code = "null"
	}
	return code, shaped
}

// ask sends a chat request and reads its reply to the end.
func ask(in *instance, model string, stream bool) (o outcome, err error) {
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"Hello"}]}`, model, stream)
	resp, err := http.Post(in.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	o.status, o.header = resp.StatusCode, resp.Header
	o.body, err = io.ReadAll(resp.Body)
	o.cut = err != nil
	o.streamed = strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	if !o.streamed {
		o.code, o.shaped = errorOf(o.body)
		return o, nil
	}
	blocks := strings.Split(string(o.body), "\n\n")
	for _, block := range blocks[:len(blocks)-1] { // what has no blank line behind it is no event
		data, ok := strings.CutPrefix(block, "data: ")
		if !ok {
			continue
		}
		if code, shaped := errorOf([]byte(data)); code != "" {
			o.code, o.shaped = code, shaped
		} else if data == "[DONE]" {
			o.done = true
		} else {
			o.events++
		}
	}
	return o, nil
}

// simulate runs a simulator beside the binary, where its counts can be read.
func simulate(t *testing.T) (sim *simulator.Server, base string) {
	t.Helper()
	sim = simulator.New(simulator.Config{})
	addr, err := sim.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go sim.Serve()
	t.Cleanup(func() { sim.Close() })
	return sim, "http://" + addr.String() + "/v1"
}

// faultConfig has time-outs that a fault runs into soon, and nobody else on a busy
// machine, short pauses between attempts, and a breaker that leaves all requests their own outcome.
const faultConfig = `
upstreams:
  - {name: simulator, base_url: %q, models: ["sim-*"]}
http_client: {h2c: %t, response_header_timeout: 5s, first_event_timeout: 5s, idle_timeout: 5s, max_reply_bytes: 1MiB}
route:
  retry: {base_delay: 1ms, max_delay: 5ms}
  breaker: {failures: 1000000}
log: {level: error}
`

// gauges returns the upstream's connections that are open and that are idle.
func gauges(t *testing.T, in *instance, upstream string) (open, idle string) {
	label := fmt.Sprintf("{upstream=%q}", upstream)
	return metric(t, in, "sluice_upstream_connections_open"+label), metric(t, in, "sluice_upstream_connections_idle"+label)
}

// settles waits until nothing of earlier requests is left: no connection in
// use, no stream, no goroutine beyond those of before.
func settles(t *testing.T, in *instance, upstream string, goroutines int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			open, idle := gauges(t, in, upstream)
			t.Logf("open %s, idle %s, goroutines %d (before: %d)", open, idle, goroutinesOf(t, in), goroutines)
		}
	}()
	testkit.Until(t, "nothing under way", func() bool {
		open, idle := gauges(t, in, upstream)
		kept := 0 // an HTTP/2 connection has a goroutine of its own
		fmt.Sscan(idle, &kept)
		return open != "" && open == idle && metric(t, in, "sluice_streams_active") == "0" && goroutinesOf(t, in) <= goroutines+kept
	})
}

// goroutinesOf counts them with no client connected but the one that asks.
func goroutinesOf(t *testing.T, in *instance) (n int) {
	http.DefaultClient.CloseIdleConnections()
	fmt.Sscan(metric(t, in, "go_goroutines"), &n)
	return n
}

// TestFaults is the fault table: what goes wrong upstream, and what a client
// gets for it, over both protocols.
func TestFaults(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		t.Run(map[bool]string{false: "http/1.1", true: "h2c"}[h2c], func(t *testing.T) {
			t.Parallel()
			testFaults(t, h2c)
		})
	}
}

func testFaults(t *testing.T, h2c bool) {
	sim, base := simulate(t)
	in := start(t, fmt.Sprintf(faultConfig, base, h2c))
	if o, err := ask(in, "sim-chat", true); err != nil || !o.done {
		t.Fatal(o, err)
	}
	before := 0
	for range 5 { // the request for the figures has some itself
		before = max(before, goroutinesOf(t, in))
	}
	rows := make([]string, len(faultTable()))
	forEach(len(rows), func(i int) {
		f := faultTable()[i]
		if h2c && f.h1Only {
			return
		}
		unary, err := ask(in, "simulator/sim-chat?"+f.fault, false)
		if err != nil {
			t.Errorf("%s: %v", f.fault, err)
		} else if unary.String() != f.unary {
			t.Errorf("%s: %s, want %s\n%.300s", f.fault, unary, f.unary, unary.body)
		}
		streamed, err := ask(in, "simulator/sim-chat?"+f.fault, true)
		if err != nil {
			t.Errorf("%s, streamed: %v", f.fault, err)
		} else if streamed.String() != f.streamed {
			t.Errorf("%s, streamed: %s, want %s\n%.300s", f.fault, streamed, f.streamed, streamed.body)
		}
		rows[i] = fmt.Sprintf("| `%s` | %s | %s |", f.fault, unary, streamed)
	})
	t.Logf("\n| fault | unary | streamed |\n| --- | --- | --- |\n%s", strings.Join(rows, "\n"))
	settles(t, in, "simulator", before)
	testkit.Until(t, "the simulator idle", func() bool { return sim.Stats().Active == 0 })
	if o, err := ask(in, "sim-chat", true); err != nil || !o.done {
		t.Errorf("after all faults: %v, %v", o, err)
	}
}

type faultCase struct {
	fault, unary, streamed string
	h1Only                 bool
}

// faultTable lists every fault of the simulator. A text of 20 tokens is a
// stream of 22 events: the role's, the tokens', the end's.
func faultTable() []faultCase {
	const whole = "200 22 events [DONE]"
	same := func(fault, outcome string) faultCase {
		return faultCase{fault: fault, unary: outcome, streamed: outcome}
	}
	return []faultCase{
		{fault: "latency=300ms&tokens=20", unary: "200", streamed: whole},
		{fault: "ttft=300ms&tokens=20", unary: "200", streamed: whole},
		{fault: "latency=60s&tokens=20", unary: "504 upstream_timeout", streamed: "504 upstream_timeout"},
		{fault: "ttft=60s&tokens=20", unary: "504 upstream_timeout", streamed: "504 upstream_timeout"},
		same("status=400", "400 context_length_exceeded"),
		same("status=401", "401 invalid_api_key"),
		same("status=402", "402 insufficient_balance"),
		same("status=403", "403 unsupported_country_region_territory"),
		same("status=404", "404 model_not_found"),
		same("status=429", "429 rate_limit_exceeded"),
		same("status=500", "500 null"),
		same("status=502", "502 upstream_error"),
		same("status=503", "503 service_unavailable"),
		same("status=504", "504 upstream_error"),
		same("status=524", "524 upstream_error"),
		same("status=529", "529 null"),
		same("reset=1", "502 upstream_cut"),
		{fault: "cut=0&tokens=20", unary: "502 upstream_cut", streamed: "502 upstream_cut"},
		{fault: "cut=3&tokens=20", unary: "502 upstream_cut", streamed: "200 3 events error upstream_cut cut"},
		{fault: "stall=0&tokens=20", unary: "504 upstream_timeout", streamed: "504 upstream_timeout"},
		{fault: "stall=3&tokens=20", unary: "504 upstream_timeout", streamed: "200 3 events error upstream_timeout cut"},
		{fault: "malformed=2&tokens=20", unary: "200", streamed: whole},
		{fault: "split=1&tokens=20", unary: "200", streamed: whole},
		{fault: "comments=3&tokens=20", unary: "200", streamed: whole},
		{fault: "wrong-length=5&tokens=20", unary: "502 upstream_cut", streamed: whole, h1Only: true},
		{fault: "wrong-length=-5&tokens=20", unary: "200", streamed: "200 22 events", h1Only: true},
		{fault: "encoding=gzip&tokens=20", unary: "200", streamed: whole},
		{fault: "encoding=deflate&tokens=20", unary: "200", streamed: whole},
		{fault: "encoding=br&tokens=20", unary: "200", streamed: whole},
		{fault: "encoding=zstd&tokens=20", unary: "200", streamed: whole},
		{fault: "encoding=gzip&pad=2000000&tokens=20", unary: "502 upstream_reply_too_large", streamed: whole},
		{fault: "close-delimited=1&tokens=20", unary: "200", streamed: whole},
		{fault: "close-delimited=1&no-done=1&tokens=20", unary: "200", streamed: "200 22 events error upstream_cut cut", h1Only: true},
		{fault: "error-event=3&tokens=20", unary: "200", streamed: "200 3 events error null"},
		{fault: "no-done=1&tokens=20", unary: "200", streamed: "200 22 events"},
	}
}

// TestFaultsUntouched has Sluice pass on what it has no business to mend.
func TestFaultsUntouched(t *testing.T) {
	_, base := simulate(t)
	in := start(t, fmt.Sprintf(faultConfig, base, false))
	for _, fault := range []string{"malformed=2&tokens=9", "error-event=2&tokens=9", "eol=cr&tokens=9", "eol=crlf&tokens=9", "comments=2&tokens=9", "split=1&tokens=9"} {
		for _, stream := range []bool{false, true} {
			direct, err := ask(&instance{url: strings.TrimSuffix(base, "/v1")}, "sim-chat?"+fault, stream)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ask(in, "sim-chat?"+fault, stream)
			if err != nil || !bytes.Equal(got.body, direct.body) {
				t.Errorf("%s: %v\n%q\ndirectly\n%q", fault, err, got.body, direct.body)
			}
		}
	}
}

// TestFailFirst counts the upstream's calls: a failure that cannot have cost
// anything is repeated, and what the client sees is the second reply.
func TestFailFirst(t *testing.T) {
	t.Parallel()
	sim, base := simulate(t)
	in := start(t, fmt.Sprintf(faultConfig, base, false))
	for i, c := range []struct {
		fault     string
		streamed  bool
		want      string
		wantCalls int64
	}{
		{"", false, "200", 2},
		{"", true, "200 5 events [DONE]", 2},
		{"&status=429", false, "200", 2},
		{"&status=429", true, "200 5 events [DONE]", 2},
		{"&status=502", false, "200", 2},
		{"&status=504", true, "200 5 events [DONE]", 2},
		{"&status=500", false, "500 null", 1},
		{"&status=400", true, "400 context_length_exceeded", 1},
		{"&cut=0", true, "502 upstream_cut", 1}, // it may have been worked on
		{"&cut=2", true, "200 2 events error upstream_cut cut", 1},
		{"&stall=2", true, "200 2 events error upstream_timeout cut", 1},
		{"&error-event=2", true, "200 2 events error null", 1},
	} {
		before := sim.Stats().Requests
		got, err := ask(in, fmt.Sprintf("sim-chat?tokens=3&fail-first=1&key=%d%s", i, c.fault), c.streamed)
		if err != nil || got.String() != c.want {
			t.Errorf("fail-first%s: %v, %v, want %s", c.fault, got, err, c.want)
		}
		if calls := sim.Stats().Requests - before; calls != c.wantCalls {
			t.Errorf("fail-first%s: %d calls of the upstream, want %d", c.fault, calls, c.wantCalls)
		}
	}
}

// scripted is an upstream that does as it is told and counts its calls.
type scripted struct {
	mu    sync.Mutex
	calls int
	reply func(call int, w http.ResponseWriter, r *http.Request)
	seen  [][]byte // dumps of the requests
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var dump bytes.Buffer
	fmt.Fprintf(&dump, "%s %s\n", r.Method, r.URL)
	r.Header.Write(&dump)
	dump.Write(body)
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.seen = append(s.seen, dump.Bytes())
	s.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.reply(n, w, r)
}

func (s *scripted) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = 0
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

const okReply = `{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`

// good answers unary requests with text, streamed ones with one event of it.
func good(text string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, okReply, text)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\ndata: [DONE]\n\n", text)
	}
}

// failing answers with a status, or resets the connection where it is 0.
func failing(status int, header ...string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

// twoConfig has two upstreams that both serve model m; the first has almost all the weight.
const twoConfig = `
upstreams:
  - {name: first, base_url: %q, api_key: first-key, models: [m, only], weight: 1000000}
  - {name: second, base_url: %q, api_key: second-key, models: [m, spare]}
route:
  balance: weighted
  fallbacks: {only: [second/spare]}
  retry: {base_delay: 1ms, max_delay: 5ms}
  breaker: {failures: %d, open_for: %s}
log: {level: error}
`

// TestFailover has a second upstream answer where the first one fails before
// the first byte: one that serves the same model, or one named as fallback.
func TestFailover(t *testing.T) {
	for _, c := range []struct {
		name   string
		reply  func(int, http.ResponseWriter, *http.Request)
		stays  bool // the first's failure is the answer
		cools  bool // the first is not asked again
		want   string
		unary  bool // not streamed
		stream bool // streamed
	}{
		{name: "429", reply: failing(429), unary: true, stream: true},
		{name: "429, long Retry-After", reply: failing(429, "Retry-After", "60"), cools: true, unary: true, stream: true},
		{name: "502", reply: failing(502), unary: true, stream: true},
		{name: "503", reply: failing(503), unary: true, stream: true},
		{name: "504", reply: failing(504), unary: true, stream: true},
		{name: "reset before the first event", reply: failing(0), stream: true},
		{name: "reset, not streamed", reply: failing(0), unary: true, stays: true, want: "502 upstream_cut"},
		{name: "400", reply: failing(400), unary: true, stream: true, stays: true, want: "400 upstream_error"},
		{name: "401", reply: failing(401), unary: true, stream: true, stays: true, want: "401 upstream_error"},
		{name: "500", reply: failing(500), unary: true, stream: true, stays: true, want: "500 upstream_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first, second := &scripted{reply: c.reply}, &scripted{reply: good("from the second")}
			in := start(t, fmt.Sprintf(twoConfig, serve(t, first)+"/v1", serve(t, second)+"/v1", 1000, "10s"))
			for _, model := range []string{"m", "only"} {
				for _, stream := range []bool{false, true} {
					if stream && !c.stream || !stream && !c.unary {
						continue
					}
					first.reset()
					second.reset()
					got, err := ask(in, model, stream)
					if err != nil {
						t.Fatal(err)
					}
					if c.stays {
						if got.String() != c.want || first.count() != 1 || second.count() != 0 {
							t.Errorf("%s: %s after %d and %d calls, want %s after 1 and 0", model, got, first.count(), second.count(), c.want)
						}
						continue
					}
					if got.status != 200 || !strings.Contains(string(got.body), "from the second") {
						t.Errorf("%s: %s\n%s", model, got, got.body)
					}
					if first.count() != 1 && !c.cools || second.count() != 1 {
						t.Errorf("%s: %d and %d calls, want one each", model, first.count(), second.count())
					}
					if by := got.header.Get("X-Sluice-Upstream"); by != "second" {
						t.Errorf("%s: answered by %q", model, by)
					}
				}
			}
		})
	}
}

// TestUnreachableUpstream has the other upstream answer where nobody listens.
func TestUnreachableUpstream(t *testing.T) {
	gone := "http://" + testkit.Vacant(t)
	second := &scripted{reply: good("from the second")}
	in := start(t, fmt.Sprintf(twoConfig, gone+"/v1", serve(t, second)+"/v1", 1000, "10s"))
	for _, stream := range []bool{false, true} {
		if got, err := ask(in, "m", stream); err != nil || got.status != 200 {
			t.Errorf("%v, %v", got, err)
		}
		if got, err := ask(in, "first/m", stream); err != nil || got.String() != "502 upstream_unreachable" {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// TestNothingAfterTheFirstByte counts calls: once an event has gone to the
// client nobody else is asked.
func TestNothingAfterTheFirstByte(t *testing.T) {
	first := &scripted{reply: func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"choices\":[]}\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}}
	second := &scripted{reply: good("from the second")}
	in := start(t, fmt.Sprintf(twoConfig, serve(t, first)+"/v1", serve(t, second)+"/v1", 1000, "10s"))
	for i, model := range []string{"m", "only"} {
		got, err := ask(in, model, true)
		if err != nil || got.String() != "200 1 events error upstream_cut cut" {
			t.Errorf("%s: %v, %v", model, got, err)
		}
		if first.count() != i+1 || second.count() != 0 {
			t.Errorf("%s: %d and %d calls, want %d and 0", model, first.count(), second.count(), i+1)
		}
	}
}

// TestRetryAfter has Sluice wait as long as an upstream asks, where that is
// short, and tell the client, where it is long.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	t.Run("short", func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		up := &scripted{}
		up.reply = func(n int, w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			if n == 1 {
				failing(429, "Retry-After", "1")(n, w, r)
				return
			}
			good("at last")(n, w, r)
		}
		in := start(t, fmt.Sprintf(`upstreams: [{name: up, base_url: %q, models: [m]}]`, serve(t, up)+"/v1"))
		if got, err := ask(in, "m", false); err != nil || got.status != 200 {
			t.Fatal(got, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(at) != 2 || at[1].Sub(at[0]) < time.Second {
			t.Errorf("calls at %v, want two, a second apart", at)
		}
	})
	t.Run("long", func(t *testing.T) {
		up := &scripted{reply: failing(429, "Retry-After", "60")}
		in := start(t, fmt.Sprintf(`upstreams: [{name: up, base_url: %q, models: [m]}]`, serve(t, up)+"/v1"))
		for range 2 {
			got, err := ask(in, "m", false)
			if err != nil || got.status != 429 || !got.shaped {
				t.Fatal(got, err)
			}
			var after int
			if fmt.Sscan(got.header.Get("Retry-After"), &after); after < 1 || after > 60 {
				t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
			}
		}
		if up.count() != 1 {
			t.Errorf("%d calls of an upstream that asked for none", up.count())
		}
	})
}

// TestBreaker has an upstream that fails left alone, and asked again later.
func TestBreaker(t *testing.T) {
	t.Parallel()
	var healed atomic.Bool
	first := &scripted{}
	first.reply = func(n int, w http.ResponseWriter, r *http.Request) {
		if healed.Load() {
			good("from the first")(n, w, r)
			return
		}
		failing(500)(n, w, r)
	}
	second := &scripted{reply: good("from the second")}
	in := start(t, fmt.Sprintf(twoConfig, serve(t, first)+"/v1", serve(t, second)+"/v1", 3, "80s")) // at first a sixteenth
	for range 3 {
		if got, err := ask(in, "first/m", false); err != nil || got.status != 500 {
			t.Fatal(got, err)
		}
	}
	state := func() string { return metric(t, in, `sluice_route_model_breaker_state{model="m",upstream="first"}`) }
	if state() != "2" {
		t.Errorf("breaker state %s after three failures", state())
	}
	if whole := metric(t, in, `sluice_route_breaker_state{upstream="first"}`); whole != "0" {
		t.Errorf("breaker state %s of an upstream that can be reached", whole)
	}
	if got, err := ask(in, "m", false); err != nil || got.header.Get("X-Sluice-Upstream") != "second" {
		t.Errorf("open: %v, %v", got, err)
	}
	if first.count() != 3 {
		t.Errorf("%d calls of the broken upstream", first.count())
	}
	healed.Store(true)
	testkit.Until(t, "the breaker closed", func() bool {
		got, err := ask(in, "first/m", false)
		return err == nil && got.status == 200
	})
	if state() != "0" {
		t.Errorf("breaker state %s after success", state())
	}
}
