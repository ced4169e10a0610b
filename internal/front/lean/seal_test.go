//go:build linux

package lean

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/testkit"
)

// cable is a client's socket beneath TLS. It cuts what is written into pieces, or holds
// it back, and keeps what was read.
type cable struct {
	*net.TCPConn
	piece int  // bytes; 0 for no pieces
	first bool // all but the first write is held back
	holds bool
	held  []byte
	got   []byte
}

func (w *cable) Write(b []byte) (int, error) {
	if w.holds {
		w.held = append(w.held, b...)
		return len(b), nil
	}
	w.holds = w.first
	for n := 0; n < len(b); {
		end := len(b)
		if w.piece > 0 {
			end = min(n+w.piece, end)
		}
		m, err := w.TCPConn.Write(b[n:end])
		if n += m; err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// release writes what was held back, at once.
func (w *cable) release(t *testing.T) {
	t.Helper()
	w.first, w.holds = false, false
	if _, err := w.Write(w.held); err != nil {
		t.Fatal(err)
	}
}

func (w *cable) SetWriteDeadline(time.Time) error { return nil } // which TLS leaves over

func (w *cable) Read(b []byte) (int, error) {
	n, err := w.TCPConn.Read(b)
	w.got = append(w.got, b[:n]...)
	return n, err
}

// alerts counts the records that TLS 1.2 has for alerts.
func (w *cable) alerts() (n int) {
	for b := w.got; len(b) >= recordHead; b = b[min(recordLen(b), len(b)):] {
		if b[0] == 21 {
			n++
		}
	}
	return n
}

func trusting(version uint16, protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MaxVersion: version, NextProtos: protocols}
}

// TestRecords: records come in pieces of any size and many together, also with the
// handshake's last.
func TestRecords(t *testing.T) {
	_, addr := start(t, echo, secured)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := &cable{TCPConn: dial(t, addr), piece: 7}
		c := tls.Client(w, trusting(version))
		r := bufio.NewReader(c)
		for _, size := range []int{0, 10, 2000, 20_000} {
			body := strings.Repeat("x", size)
			send(t, c, post("/p", body))
			if _, got := answer(t, r, "POST"); got != "POST /p "+body {
				t.Errorf("in pieces: %d bytes: %.100q", size, got)
			}
		}
		w.holds, w.held = true, nil
		for range 3 {
			send(t, c, get)
		}
		send(t, c, post("/last", strings.Repeat("x", 40_000)))
		w.release(t)
		for range 3 {
			if _, got := answer(t, r, "GET"); got != "GET /a " {
				t.Errorf("%q", got)
			}
		}
		if _, got := answer(t, r, "POST"); len(got) != len("POST /last ")+40_000 {
			t.Errorf("%d bytes", len(got))
		}
	}
	w := &cable{TCPConn: dial(t, addr)}
	c := tls.Client(w, trusting(tls.VersionTLS13))
	w.first = true // and what ends the handshake waits for the requests
	send(t, c, get)
	send(t, c, get)
	w.release(t)
	r := bufio.NewReader(c)
	for range 2 {
		if _, got := answer(t, r, "GET"); got != "GET /a " {
			t.Errorf("%q", got)
		}
	}
}

// TestSealedLeaving: an exchange ends when its client has left, also where it says so
// in TLS alone.
func TestSealedLeaving(t *testing.T) {
	for name, leave := range map[string]func(w *cable, c *tls.Conn) error{
		"close":                         func(_ *cable, c *tls.Conn) error { return c.Close() },
		"close_notify":                  func(_ *cable, c *tls.Conn) error { return c.CloseWrite() },
		"close_notify, in pieces":       func(w *cable, c *tls.Conn) error { w.piece = 1; return c.CloseWrite() },
		"half-close":                    func(w *cable, _ *tls.Conn) error { return w.TCPConn.CloseWrite() },
		"reset":                         func(w *cable, _ *tls.Conn) error { return errors.Join(w.SetLinger(0), w.TCPConn.Close()) },
		"close_notify with the request": nil,
		"close with the request":        nil,
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name, func(t *testing.T) {
				begun, done := make(chan struct{}), make(chan error, 1)
				_, addr := start(t, func(x engine.Exchange) engine.Ending {
					_, _ = io.Copy(io.Discard, x.Request().Body)
					close(begun)
					<-x.Context().Done()
					done <- context.Cause(x.Context())
					return engine.Cut
				}, secured)
				w := &cable{TCPConn: dial(t, addr)}
				c := tls.Client(w, trusting(version))
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				w.holds = leave == nil
				send(t, c, post("/", "body"))
				if leave == nil {
					_ = c.CloseWrite()
					w.release(t)
					if !strings.HasPrefix(name, "close_notify") {
						_ = w.TCPConn.CloseWrite()
					}
				} else if <-begun; leave(w, c) != nil {
					t.Error("it cannot leave")
				}
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
	}
}

// TestSealedStays: what comes during an exchange and is no end does not end it, and the
// next request is read from it.
func TestSealedStays(t *testing.T) {
	begun, release := make(chan struct{}, 9), make(chan struct{})
	s, addr := start(t, func(x engine.Exchange) engine.Ending {
		begun <- struct{}{}
		<-release
		if x.Context().Err() != nil {
			t.Error("ended")
		}
		return echo(x)
	}, secured)
	w := &cable{TCPConn: dial(t, addr)}
	c := tls.Client(w, trusting(tls.VersionTLS13))
	send(t, c, get)
	<-begun
	w.holds = true
	send(t, c, post("/next", "body"))
	send(t, c, get)
	part := w.held[:9]
	w.held, w.holds = w.held[9:], false
	if _, err := w.TCPConn.Write(part); err != nil {
		t.Fatal(err)
	}
	one := s.one(t)
	looked := func() bool {
		one.seal.looking.Lock()
		defer one.seal.looking.Unlock()
		return len(one.seal.in.unread()) == len(part)
	}
	testkit.Until(t, "a part of a record was seen", looked)
	w.release(t)
	testkit.Until(t, "the next request was seen", func() bool {
		one.seal.looking.Lock()
		defer one.seal.looking.Unlock()
		return one.buf != nil
	})
	close(release)
	r := bufio.NewReader(c)
	for _, want := range []string{"GET /a ", "POST /next body", "GET /a "} {
		if _, got := answer(t, r, "GET"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestSealedRaces: clients leave at the very moment at which their replies end, after
// it was begun to look. No exchange of another's is ended by that, and nothing is left.
func TestSealedRaces(t *testing.T) {
	var ended atomic.Int64
	_, addr := start(t, func(x engine.Exchange) engine.Ending {
		time.Sleep(listenAfter)
		if x.Request().Path == "/stays" && x.Context().Err() != nil {
			ended.Add(1)
		}
		return echo(x)
	}, secured)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 5 {
				c, err := tls.Dial("tcp", addr, trusting(0))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, strings.Replace(get, "/a", "/stays", 1))
				if _, got := answer(t, bufio.NewReader(c), "GET"); got != "GET /stays " {
					t.Errorf("%q", got)
				}
				_, _ = io.WriteString(c, get)
				time.Sleep(listenAfter + time.Duration(n*i)*time.Millisecond/4)
				if n%2 == 0 {
					_ = c.CloseWrite()
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
	if ended.Load() > 0 {
		t.Errorf("%d exchanges ended for another's leaving", ended.Load())
	}
}

// TestSealedEnd: a reply that ends with its connection is said to be whole, and one
// that is cut is not.
func TestSealedEnd(t *testing.T) {
	for _, ending := range []engine.Ending{engine.Whole, engine.Cut, engine.Broken} {
		_, addr := start(t, func(x engine.Exchange) engine.Ending {
			x.Begin(&engine.Head{Status: 200, Length: -1})
			_, _ = x.Write([]byte("piece"))
			_ = x.Flush()
			return ending
		}, secured)
		w := &cable{TCPConn: dial(t, addr)}
		c := tls.Client(w, trusting(tls.VersionTLS12))
		send(t, c, "GET / HTTP/1.0\r\n\r\n")
		b, err := io.ReadAll(c)
		if !strings.HasSuffix(string(b), "\r\n\r\npiece") || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if said := w.alerts() > 0; said != (ending == engine.Whole) {
			t.Errorf("ending %d: said to be whole: %v", ending, said)
		}
		c.Close()
	}
}

// TestHandshakes: which protocol is spoken, and that none is with whoever begins in
// another way or with nothing.
func TestHandshakes(t *testing.T) {
	_, addr := start(t, echo, secured)
	for _, c := range []struct {
		offers []string
		want   string
	}{
		{nil, "HTTP/1.1"}, {[]string{"http/1.1"}, "HTTP/1.1"}, {[]string{"odd", "http/1.1"}, "HTTP/1.1"},
		{[]string{"h2", "http/1.1"}, "HTTP/2.0"}, {[]string{"http/1.1", "h2"}, "HTTP/2.0"},
	} {
		tr := &http.Transport{TLSClientConfig: trusting(0, c.offers...), ForceAttemptHTTP2: c.want == "HTTP/2.0"}
		if c.want != "HTTP/2.0" {
			tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		tr.TLSClientConfig.NextProtos = c.offers
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+addr+"/x", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("%q: %v", c.offers, err)
		}
		b, err := io.ReadAll(res.Body)
		if res.Body.Close(); err != nil || res.Proto != c.want || string(b) != "POST /x body" {
			t.Errorf("%q: %s %q, %v", c.offers, res.Proto, b, err)
		}
		tr.CloseIdleConnections()
	}
	refused := tls.Client(dial(t, addr), trusting(0, "odd"))
	if err := refused.Handshake(); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("another protocol: %v", err)
	}
	old := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err := old.Handshake(); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("an old version: %v", err)
	}
	_, soon := start(t, echo, secured, func(o *engine.Options) { o.ReadHeaderTimeout = 200 * time.Millisecond })
	var hello bytes.Buffer
	_ = tls.Client(&recording{Writer: &hello}, trusting(0, "h2")).Handshake()
	for name, c := range map[string]struct{ addr, sent, want string }{
		"nothing":         {soon, "", ""},
		"part of a hello": {soon, hello.String()[:100], ""},
		"odd record":      {addr, "\x16\x03\x01\xff\xff" + strings.Repeat("x", 9000), "\x15"},
		"odd bytes":       {addr, "\x00\x01\x02\x03\x04\x05", ""},
		"cleartext":       {addr, get, "HTTP/1.1 400 "},
		"more cleartext":  {addr, post("/", strings.Repeat("x", 100_000)), "HTTP/1.1 400 "},
	} {
		t.Run(name, func(t *testing.T) {
			nc := dial(t, c.addr)
			go func() { _, _ = io.WriteString(nc, c.sent) }()
			b, err := io.ReadAll(nc)
			if err != nil || !strings.HasPrefix(string(b), c.want) || c.want == "" && len(b) > 0 {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// recording is a connection on which nothing comes.
type recording struct {
	net.Conn
	io.Writer
}

func (r *recording) Write(b []byte) (int, error)      { return r.Writer.Write(b) }
func (r *recording) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recording) Close() error                     { return nil }
func (r *recording) SetWriteDeadline(time.Time) error { return nil }

// TestShutdownShakingHands: whoever has not finished the handshake is not waited for,
// and who waits with one is told that it is over.
func TestShutdownShakingHands(t *testing.T) {
	s, addr := start(t, echo, secured)
	half := dial(t, addr)
	send(t, half, "\x16\x03\x01\x01\x00")
	w := &cable{TCPConn: dial(t, addr)}
	waits := tls.Client(w, trusting(tls.VersionTLS12))
	send(t, waits, get)
	r := bufio.NewReader(waits)
	answer(t, r, "GET")
	testkit.Until(t, "both are there", func() bool { return s.count() == 2 })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := half.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("in the handshake: %v", err)
	}
	if _, err := r.ReadByte(); err != io.EOF || w.alerts() != 1 {
		t.Errorf("one that waits: %v, %d alerts", err, w.alerts())
	}
}

// FuzzRecords: however bytes come, package tls is given all of them in their order, of
// each record nothing before its last byte has come, and nothing behind it.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x03abc\x17\x03\x03\x00\x00\x15\x03\x03\x00\x02ab"), uint8(3))
	f.Add([]byte("\x17\x03\x03\xff\xffabc"), uint8(1))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint8(200))
	server, ok := New(options(echo), nil).(*Server)
	if !ok {
		f.Fatal("another engine")
	}
	f.Fuzz(func(t *testing.T, all []byte, cut uint8) {
		if len(all) > readSize {
			return
		}
		s := new(seal)
		s.in.server = server
		at, given := 0, 0 // at: where the record under way ends
		for rest := all; len(rest) > 0; {
			n := copy(s.in.spare(), rest[:min(len(rest), int(cut)+1)])
			s.in.took(n)
			rest = rest[n:]
			for {
				var p [100]byte
				n, err := s.Read(p[:])
				if err != nil {
					break
				}
				if given == at {
					if at += recordLen(all[given:]); at > len(all)-len(rest) {
						t.Fatal("not all of a record had come")
					}
				}
				if !bytes.Equal(p[:n], all[given:given+n]) {
					t.Fatal("other bytes")
				}
				if given += n; given > at {
					t.Fatal("more than a record")
				}
			}
		}
		if left := all[given:]; len(left) >= recordHead && len(left) >= recordLen(left) {
			t.Fatal("a record was kept back")
		}
		s.in.clear()
	})
}
