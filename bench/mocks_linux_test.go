package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/bench/process"
)

// eachMock runs a test with either mock.
func eachMock(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run(mockLean, func(t *testing.T) { test(t, startLeanMock(t)) })
	t.Run(mockNetHTTP, func(t *testing.T) {
		server := httptest.NewServer(netHTTPMock())
		t.Cleanup(server.Close)
		test(t, server.Listener.Addr().String())
	})
}

func startLeanMock(t *testing.T) (addr string) {
	m, err := newLeanMock(netip.MustParseAddrPort("127.0.0.1:0"), 1)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(int(m.listener))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- m.run() }()
	t.Cleanup(func() {
		unix.Shutdown(int(m.listener), unix.SHUT_RD)
		if err := <-ended; !strings.Contains(err.Error(), "accept") {
			t.Errorf("the mock ended by itself: %v", err)
		}
	})
	at := bound.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port)).String()
}

type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	id   string // of the last reply
}

func connect(t *testing.T, addr string) *peer {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &peer{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads a reply. The digits of its id are made zeros, and are to be other
// ones each time.
func (p *peer) receive() (status int, contentType, body string) {
	p.t.Helper()
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if bytes.HasPrefix(b, []byte(`{"id":"`)) {
		digits := digitsOf(b)
		if p.id == string(digits) {
			p.t.Errorf("two replies are number %s", digits)
		}
		p.id = string(digits)
		setDigits(digits, 0)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func wholeStream() string { return string(bytes.Join(chunks(events), nil)) }

func chatTo(addr, model string, streamed bool) string {
	return string(chatRequest(target{addr: addr}, freshBody(model, streamed, firstSeed)))
}

func TestMockReplies(t *testing.T) {
	eachMock(t, func(t *testing.T, addr string) {
		p := connect(t, addr)
		for model, want := range map[string]string{model1KB: string(reply(1000)), model2KB: string(reply(2000)), model16KB: string(reply(16_000)), modelSoon: string(reply(1000)), modelWait: string(reply(1000))} {
			begin := time.Now()
			p.send(chatTo(addr, model, false))
			if status, kind, got := p.receive(); status != 200 || kind != "application/json" || got != want {
				t.Errorf("%s: %d, %s, %d bytes", model, status, kind, len(got))
			}
			least := map[string]time.Duration{modelSoon: soonTime, modelWait: thinkTime}[model]
			if took := time.Since(begin); took < least {
				t.Errorf("%s answered after %v", model, took)
			}
		}
		p.send(chatTo(addr, model1KB, true))
		if status, kind, got := p.receive(); status != 200 || kind != "text/event-stream" || got != wholeStream() {
			t.Errorf("stream: %d, %s, %q", status, kind, got)
		}
		begin := time.Now()
		p.send(chatTo(addr, modelSoon, true))
		if status, _, got := p.receive(); status != 200 || got != wholeStream() || time.Since(begin) < soonTime {
			t.Errorf("late stream: %d, %q after %v", status, got, time.Since(begin))
		}
		p.send("GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
		if status, _, got := p.receive(); status != 200 || got != string(modelList()) {
			t.Errorf("models: %d, %s", status, got)
		}
		p.send("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
		if status, _, _ := p.receive(); status != 404 {
			t.Errorf("unknown path: %d", status)
		}
		p.send("GET " + servedPath + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if _, _, got := p.receive(); got != "7" {
			t.Errorf("%s chats were counted", got)
		}
		if _, err := p.r.ReadByte(); err != io.EOF {
			t.Errorf("the connection was to be closed: %v", err)
		}
	})
}

func TestMockTakesRequestsInPieces(t *testing.T) {
	eachMock(t, func(t *testing.T, addr string) {
		p := connect(t, addr)
		p.conn.(*net.TCPConn).SetNoDelay(true)
		inChunks := "POST " + chatPath + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"model\":\"long\",\r\n9\r\n\"a\":true}\r\n0\r\n\r\n"
		for _, request := range []string{chatTo(addr, model2KB, false), inChunks} {
			for i := range len(request) {
				p.send(request[i : i+1])
			}
			want := 2000
			if request == inChunks {
				want = 16_000
			}
			if status, _, got := p.receive(); status != 200 || len(got) != want {
				t.Errorf("%d, %d bytes", status, len(got))
			}
		}
	})
}

// Requests that come before others are answered are answered in their order, those
// that have to wait and streams among them.
func TestMockTakesPipelinedRequests(t *testing.T) {
	eachMock(t, func(t *testing.T, addr string) {
		p := connect(t, addr)
		const times = 20
		half := chatTo(addr, model2KB, false)
		p.send(strings.Repeat(chatTo(addr, model16KB, false)+chatTo(addr, modelSoon, false)+chatTo(addr, model1KB, true), times) + half[:300])
		for range times {
			for _, want := range []int{16_000, 1000, len(wholeStream())} {
				if status, _, got := p.receive(); status != 200 || len(got) != want {
					t.Fatalf("%d, %d bytes, not %d", status, len(got), want)
				}
			}
		}
		p.send(half[300:])
		if _, _, got := p.receive(); len(got) != 2000 {
			t.Errorf("the last reply has %d bytes", len(got))
		}
	})
}

// A client that reads slowly gets everything, and others do not wait for it.
func TestMockWaitsForReaders(t *testing.T) {
	eachMock(t, func(t *testing.T, addr string) {
		slow, other := connect(t, addr), connect(t, addr)
		const times = 1000 // more than the sockets take, 16 MB
		go io.WriteString(slow.conn, strings.Repeat(chatTo(addr, model16KB, false), times))
		for range 50 {
			other.send(chatTo(addr, model1KB, false))
			if _, _, got := other.receive(); len(got) != 1000 {
				t.Fatalf("%d bytes", len(got))
			}
		}
		for i := range times {
			if _, _, got := slow.receive(); got != string(reply(16_000)) {
				t.Fatalf("reply %d has %d bytes", i, len(got))
			}
		}
	})
}

func TestMockServesManyConnections(t *testing.T) {
	eachMock(t, func(t *testing.T, addr string) {
		var all sync.WaitGroup
		for range 100 {
			p := connect(t, addr)
			all.Go(func() {
				for range 4 {
					io.WriteString(p.conn, chatTo(addr, model1KB, true)+chatTo(addr, model1KB, false))
					for _, want := range []int{len(wholeStream()), 1000} {
						resp, err := http.ReadResponse(p.r, nil)
						if err != nil {
							t.Error(err)
							return
						}
						if got, err := io.ReadAll(resp.Body); len(got) != want || err != nil {
							t.Errorf("%d bytes, %v", len(got), err)
							return
						}
					}
				}
				p.conn.Close() // its descriptor is another's next
			})
		}
		all.Wait()
	})
}

// A stream whose client leaves does not go on on the connection that has its
// descriptor next.
func TestLeanMockForgetsWhoLeft(t *testing.T) {
	addr := startLeanMock(t)
	for range 20 {
		gone := connect(t, addr)
		gone.send(chatTo(addr, modelWait, false))
		gone.conn.Close()
	}
	p := connect(t, addr)
	for range 3 { // longer than any of them had to wait
		p.send(chatTo(addr, modelWait, false))
		if _, _, got := p.receive(); got != string(reply(1000)) {
			t.Fatalf("%d bytes", len(got))
		}
	}
}

func TestLeanMockRefuses(t *testing.T) {
	p := connect(t, startLeanMock(t))
	p.send("GET / HTTP/1.0\r\n\r\n")
	if status, _, _ := p.receive(); status != 400 {
		t.Errorf("status %d", status)
	}
	if _, err := p.r.ReadByte(); err != io.EOF {
		t.Errorf("the connection was to be closed: %v", err)
	}
}

// Slow streams are opened and read together; their second events come.
func TestOpenMany(t *testing.T) {
	eachMock(t, func(t *testing.T, addr string) {
		const n = 3 * openingAtOnce / 2
		s, err := openMany(t.Context(), target{addr: addr}, n)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if len(s.first) != n || s.first[0] <= 0 {
			t.Errorf("%d streams were opened, the first in %v", len(s.first), s.first[0])
		}
		if err := s.read(t.Context(), slowPause+slowPause/4); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenManyTellsOfRefusals(t *testing.T) {
	refused := httptest.NewServer(http.NotFoundHandler())
	defer refused.Close()
	if _, err := openMany(t.Context(), target{addr: refused.Listener.Addr().String()}, 3); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a server that refuses: %v", err)
	}
	ends := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.Write(chunk(0))
	}))
	defer ends.Close()
	s, err := openMany(t.Context(), target{addr: ends.Listener.Addr().String()}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.read(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "a stream ended") {
		t.Errorf("a stream that ended: %v", err)
	}
	gone, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openMany(t.Context(), target{addr: gone}, 1); err == nil {
		t.Error("a server that is not there was reached")
	}
}

// A request costs the mock no memory.
func TestLeanMockAllocs(t *testing.T) {
	r := newReplies(time.Now())
	in := []byte(chatTo("a", model1KB, true))
	var got *mockReply
	if n := testing.AllocsPerRun(100, func() {
		req, _, _ := takeRequest(in)
		got = r.chat(req.body)
	}); n != 0 || got != r.fast {
		t.Errorf("%v allocations", n)
	}
}
