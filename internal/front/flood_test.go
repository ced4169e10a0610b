package front

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// takesAll reads what the site sends until the connection ends.
func (p *peer) takesAll() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, p.conn)
	}()
	return ended
}

// TestResets: a connection of which far more is reset than taken is closed. What
// is left with the rest taken is no reason.
func TestResets(t *testing.T) {
	s := start(t, func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		if req.Model == "answered" {
			return sendUnary(out, `{}`)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	quiet := func() bool { return s.inFlight.Load() == 0 }
	resets := func() float64 { return countersOf(s.Server)["client_connections_cut_total cause resets"] }
	p := dialPeer(t, s, 1<<16)
	ended := p.takesAll()
	const n = 200 // fewer than there may be at once
	round := func(body string, leaves bool) {
		before := s.stats.requests[llm.Chat][0].Load() + s.stats.requests[llm.Chat][2].Load()
		for range n {
			id := p.next
			if p.tryAsk("POST", chatPath, body) != nil || leaves && p.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return // the connection is closed
			}
		}
		testkit.Until(t, "requests end", func() bool {
			return resets() > 0 || quiet() && s.stats.requests[llm.Chat][0].Load()+s.stats.requests[llm.Chat][2].Load() == before+n
		})
	}
	for range 5 {
		round(chatBody, true)
		round(`{"model":"answered"}`, false)
	}
	if n := resets(); n != 0 {
		t.Fatal("closed although as much was taken as was left")
	}
	const maxResets = 500 // of nethttp's
	for range 2 * maxResets / n {
		round(chatBody, true)
	}
	await(t, ended)
	if n := resets(); n != 1 {
		t.Errorf("%v connections closed for resets", n)
	}
	testkit.Until(t, "all is given back", func() bool { return quiet() && s.stats.connections.Load() == 0 })
}

// TestRapidResets resets each request at once, without a key. It ends with one of
// two bounds: ours, or net/http's on requests that wait to be begun.
func TestRapidResets(t *testing.T) {
	s, _, _ := everyKind(t)
	p := dialPeer(t, s, 0)
	ended := p.takesAll()
	sent := 0
	for ; sent < 200_000; sent++ { // the kernel may take all of them
		id := p.next
		if p.tryAsk("GET", "/v1/models", "") != nil || p.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	await(t, ended)
	t.Logf("closed when %d were sent", sent)
	testkit.Until(t, "all is given back", func() bool { return s.inFlight.Load() == 0 && s.stats.connections.Load() == 0 })
}

// TestFloods sends what costs a client little, and takes no answer to it. Either
// the connection ends before much is held, or nothing is held at all.
func TestFloods(t *testing.T) {
	overHTTP2(t)
	ask := func(p *peer) { p.ask("GET", "/healthz", "") }
	head := func(p *peer) {
		_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
	}
	for _, c := range []struct {
		name  string
		begin func(p *peer)
		frame func(f *http2.Framer, i uint32) error
		ends  bool // the connection does
	}{
		{"pings", nil, func(f *http2.Framer, _ uint32) error { return f.WritePing(false, [8]byte{}) }, true},
		{"data for a stream that has ended", ask, func(f *http2.Framer, _ uint32) error { return f.WriteData(1, false, nil) }, true},
		{"continuations", head, func(f *http2.Framer, _ uint32) error {
			return f.WriteContinuation(1, false, []byte("\x00\x01a\x09123456789"))
		}, true},
		{"empty continuations", head, func(f *http2.Framer, _ uint32) error { return f.WriteContinuation(1, false, nil) }, false},
		{"settings", nil, func(f *http2.Framer, _ uint32) error { return f.WriteSettings() }, false},
		{"priorities", nil, func(f *http2.Framer, i uint32) error {
			return f.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 3})
		}, false},
		{"windows", ask, func(f *http2.Framer, _ uint32) error { return f.WriteWindowUpdate(1, 1) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, unary(`{}`), func(_ *Config, sc *StreamConfig) { sc.WriteTimeout = time.Hour })
			p := dialPeer(t, s, 0)
			if c.begin != nil {
				c.begin(p)
			}
			most := uint32(50_000)
			if c.ends {
				most = 3_000_000 // the kernel takes the first hundred thousands
			}
			var batch bytes.Buffer
			f, sent := http2.NewFramer(&batch, nil), uint32(0)
			var err error
			for ; sent < most && err == nil; sent++ {
				_ = c.frame(f, sent)
				if sent%1000 == 999 {
					_, err = batch.WriteTo(p.conn)
					batch.Reset()
				}
			}
			t.Logf("%d sent: %v", sent, err)
			if (err != nil) != c.ends {
				t.Errorf("%d sent: %v", sent, err)
			}
			if !c.ends { // the site has read all of it, and goes on
				if c.name == "empty continuations" {
					_ = p.WriteContinuation(1, true, nil)
				}
				_ = p.WritePing(false, [8]byte{1})
				if pong := frame[*http2.PingFrame](p, 0); !pong.IsAck() {
					t.Errorf("%v", pong)
				}
				return
			}
			testkit.Until(t, "all is given back", func() bool { return s.inFlight.Load()+s.aside.Load()+s.stats.connections.Load() == 0 })
		})
	}
}

// TestEmptyData: frames with nothing in them do not keep a body's reading alive.
func TestEmptyData(t *testing.T) {
	s := start(t, unary(`{}`), func(c *Config, _ *StreamConfig) { c.BodyTimeout = 50 * time.Millisecond })
	p := dialPeer(t, s, 1<<16)
	const id = 1
	if err := p.open("POST", chatPath, false); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_ = p.WriteData(id, false, nil)
			}
		}
	}()
	frame[*http2.HeadersFrame](p, id)
	if b := string(frame[*http2.DataFrame](p, id).Data()); apiError(t, b).Code != "request_timeout" {
		t.Errorf("%s", b)
	}
	close(stop)
	<-done
}
