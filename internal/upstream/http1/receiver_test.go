package http1

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/memory"
)

// peer is the far end of a TLS connection: each write is a record, and what is
// written between flushes leaves in one write of the socket.
type peer struct {
	*tls.Conn
	under *gather
}

// gather keeps what is written once it is told to.
type gather struct {
	net.Conn
	mu   sync.Mutex
	keep bool
	buf  bytes.Buffer
}

func (g *gather) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keep {
		return g.buf.Write(b)
	}
	return g.Conn.Write(b)
}

// SetWriteDeadline does nothing: a tls.Conn ends all writing with CloseWrite,
// while here its last bytes are yet to leave.
func (g *gather) SetWriteDeadline(time.Time) error { return nil }

// records writes each piece as a record, without sending it.
func (p *peer) records(pieces ...string) {
	p.under.mu.Lock()
	p.under.keep = true
	p.under.mu.Unlock()
	for _, s := range pieces {
		_, _ = p.Write([]byte(s))
	}
}

// send sends n bytes of the records, all with n < 0.
func (p *peer) send(n int) {
	if n < 0 {
		n = p.under.buf.Len()
	}
	_, _ = p.under.Conn.Write(p.under.buf.Next(n))
}

// hangUp closes the socket and nothing above it.
func (p *peer) hangUp() { _ = p.under.Conn.Close() }

// dialTLS connects to a peer that serve plays, once it has read a request.
func dialTLS(t testing.TB, version uint16, serve func(*peer)) *Conn {
	t.Helper()
	identity := httptest.NewTLSServer(nil)
	defer identity.Close()
	roots := x509.NewCertPool()
	roots.AddCert(identity.Certificate())
	certs := identity.TLS.Certificates
	c := dialRaw(t, Limits{}, func(nc net.Conn) {
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		g := &gather{Conn: nc}
		p := &peer{tls.Server(g, &tls.Config{Certificates: certs, MinVersion: version, MaxVersion: version}), g}
		if p.Handshake() == nil {
			readRequest(p)
			serve(p)
		}
	})
	buffers := new(memory.Buffers)
	tc := tls.Client(NewReceiver(c.NetConn(), buffers), &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: version})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c = NewConn(tc, Limits{Buffers: buffers})
	if err := c.WriteRequest(post("{}")); err != nil {
		t.Fatal(err)
	}
	return c
}

func eachVersion(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) { f(t, v) })
	}
}

const chunkedHead = ok + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

// burst is events as a chunk each, and what they are together.
func burst(n int) (chunks []string, whole string) {
	for i := range n {
		event := fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" %0150d\"}}]}\n\n", i)
		chunks = append(chunks, fmt.Sprintf("%x\r\n%s\r\n", len(event), event))
		whole += event
	}
	return chunks, whole
}

// count reads a body to its end and counts the pieces that it came in.
func count(c *Conn) (body string, pieces int, err error) {
	for {
		p, err := c.Next()
		if err != nil {
			return body, pieces, err
		}
		body += string(p)
		pieces++
	}
}

// TestRecordsThatCameTogether has 54 events, a TLS record each, come at once.
func TestRecordsThatCameTogether(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		chunks, whole := burst(54)
		ready := make(chan struct{})
		release := sync.OnceFunc(func() { close(ready) })
		defer release()
		c := dialTLS(t, version, func(p *peer) {
			p.records(chunkedHead)
			p.send(-1)
			<-ready
			p.records(append(chunks, "0\r\n\r\n")...)
			p.send(-1)
			_, _ = p.Read(make([]byte, 1))
		})
		if err := c.ReadHead(new(Head)); err != nil {
			t.Fatal(err)
		}
		release()
		body, pieces, err := count(c)
		if body != whole || err != io.EOF {
			t.Fatalf("%d bytes of %d, %v", len(body), len(whole), err)
		}
		t.Logf("%d events in %d pieces", len(chunks), pieces)
		if canReadSocket && pieces > 3 { // one, but for what the kernel does on the way
			t.Errorf("%d events came in %d pieces", len(chunks), pieces)
		}
		if !c.Reusable() || c.Stale() {
			t.Errorf("reusable %v, stale %v", c.Reusable(), c.Stale())
		}
		if c.under.buf != nil || c.large != nil {
			t.Error("the idle connection holds a large buffer")
		}
	})
}

// TestRecordInParts has a record and a half come, and the rest afterwards.
func TestRecordInParts(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for _, cut := range []int{1, 4, 5, 6, 100} {
			next := make(chan struct{})
			release := sync.OnceFunc(func() { close(next) })
			defer release()
			c := dialTLS(t, version, func(p *peer) {
				p.records(chunkedHead, "5\r\nfirst\r\n")
				whole := p.under.buf.Len()
				p.records(fmt.Sprintf("80\r\n%0128d\r\n", 2), "0\r\n\r\n")
				p.send(whole + cut)
				<-next
				p.send(-1)
				_, _ = p.Read(make([]byte, 1))
			})
			if err := c.ReadHead(new(Head)); err != nil {
				t.Fatal(err)
			}
			if p, err := c.Next(); string(p) != "first" || err != nil {
				t.Fatalf("%q, %v", p, err)
			}
			release()
			body, _, err := count(c)
			if body != fmt.Sprintf("%0128d", 2) || err != io.EOF || !c.Reusable() {
				t.Fatalf("cut at %d: %q, %v, reusable %v", cut, body, err, c.Reusable())
			}
		}
	})
}

// TestEndsOverTLS has a reply end in all ways, together with its last bytes.
func TestEndsOverTLS(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		for name, tt := range map[string]struct {
			pieces   []string
			end      func(*peer)
			body     string
			err      error
			reusable bool
		}{
			"sound":                     {[]string{chunkedHead, "1\r\na\r\n", "0\r\n\r\n"}, nil, "a", io.EOF, true},
			"sound, then close_notify":  {[]string{chunkedHead, "1\r\na\r\n", "0\r\n\r\n"}, func(p *peer) { _ = p.CloseWrite() }, "a", io.EOF, false},
			"close_notify":              {[]string{chunkedHead, "1\r\na\r\n"}, func(p *peer) { _ = p.CloseWrite() }, "a", io.ErrUnexpectedEOF, false},
			"close_notify is the end":   {[]string{ok + "\r\n", "a", "b"}, func(p *peer) { _ = p.CloseWrite() }, "ab", io.EOF, false},
			"more than the reply":       {[]string{ok + "Content-Length: 2\r\n\r\n", "a", "b", "HTTP/1.1 200"}, nil, "ab", io.EOF, false},
			"cut after a record":        {[]string{chunkedHead, "1\r\na\r\n"}, (*peer).hangUp, "a", io.ErrUnexpectedEOF, false},
			"cut in a record":           {[]string{chunkedHead, "1\r\na\r\n"}, func(p *peer) { p.records("1\r\nb\r\n"); p.send(10); p.hangUp() }, "a", io.ErrUnexpectedEOF, false},
			"a record that is tampered": {[]string{chunkedHead, "1\r\na\r\n"}, func(p *peer) { p.under.buf.WriteString("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)) }, "a", nil, false},
		} {
			wait := make(chan struct{})
			release := sync.OnceFunc(func() { close(wait) })
			defer release()
			c := dialTLS(t, version, func(p *peer) {
				p.records(tt.pieces...)
				if tt.end != nil {
					if name[:3] == "cut" {
						p.send(-1)
					}
					tt.end(p)
				}
				p.send(-1)
				<-wait
			})
			err := c.ReadHead(new(Head))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body, _, err := count(c)
			if body != tt.body || tt.err != nil && !errors.Is(err, tt.err) || tt.err == nil && (err == nil || errors.Is(err, io.EOF)) || c.Reusable() != tt.reusable {
				t.Errorf("%s: %q, %v, reusable %v", name, body, err, c.Reusable())
			}
			release()
		}
	})
}

// TestInterruptedOverTLS has the wait after a burst end by a deadline and by
// Close, as it does without TLS.
func TestInterruptedOverTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		interrupt func(net.Conn)
		want      error
	}{
		"deadline": {func(nc net.Conn) { _ = nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		"close":    {func(nc net.Conn) { time.AfterFunc(20*time.Millisecond, func() { _ = nc.Close() }) }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			wait := make(chan struct{})
			defer close(wait)
			c := dialTLS(t, tls.VersionTLS13, func(p *peer) {
				p.records(chunkedHead, "1\r\na\r\n", "1\r\nb\r\n")
				p.send(-1)
				<-wait
			})
			if err := c.ReadHead(new(Head)); err != nil {
				t.Fatal(err)
			}
			if p, err := c.Next(); string(p) != "ab" || err != nil {
				t.Fatalf("%q, %v", p, err)
			}
			tt.interrupt(c.under.Conn)
			_, err := c.Next()
			if ne, ok := errors.AsType[net.Error](err); !errors.Is(err, tt.want) || !ok || ne.Timeout() != (name == "deadline") {
				t.Errorf("Next: %v", err)
			}
			if errors.Is(err, errNothing{}) || c.Reusable() || c.under.buf != nil {
				t.Errorf("%v, reusable %v", err, c.Reusable())
			}
		})
	}
}

// TestLargeOverTLS has a body come that no buffer holds, in records of all
// sizes.
func TestLargeOverTLS(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		whole := strings.Repeat("0123456789abcde\n", 1<<16)
		c := dialTLS(t, version, func(p *peer) {
			_, _ = fmt.Fprintf(p, "%sContent-Length: %d\r\n\r\n", ok, len(whole))
			for rest, n := whole, 1; rest != ""; n = n*3/2 + 1 {
				n = min(n, len(rest))
				_, _ = p.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			_, _ = p.Read(make([]byte, 1))
		})
		if err := c.ReadHead(new(Head)); err != nil {
			t.Fatal(err)
		}
		body, _, err := count(c)
		if body != whole || err != io.EOF || !c.Reusable() {
			t.Errorf("%d bytes of %d, %v, reusable %v", len(body), len(whole), err, c.Reusable())
		}
	})
}

// TestReceiverOnNoSocket has nothing but the records that TLS itself read.
func TestReceiverOnNoSocket(t *testing.T) {
	c := dialTLS(t, tls.VersionTLS13, func(p *peer) {
		p.records(chunkedHead, "1\r\na\r\n", "1\r\nb\r\n", "0\r\n\r\n")
		p.send(-1)
		_, _ = p.Read(make([]byte, 1))
	})
	c.under.raw = nil
	if err := c.ReadHead(new(Head)); err != nil {
		t.Fatal(err)
	}
	if body, _, err := count(c); body != "ab" || err != io.EOF || !c.Reusable() {
		t.Errorf("%q, %v, reusable %v", body, err, c.Reusable())
	}
}

// BenchmarkBurstOverTLS is a reply of 54 events, a record each, that leave in
// one write.
func BenchmarkBurstOverTLS(b *testing.B) { benchmarkTLS(b, 54) }

// BenchmarkEventOverTLS is a reply of one event.
func BenchmarkEventOverTLS(b *testing.B) { benchmarkTLS(b, 1) }

func benchmarkTLS(b *testing.B, events int) {
	chunks, _ := burst(events)
	pieces := append([]string{chunkedHead}, chunks...)
	pieces = append(pieces, "0\r\n\r\n")
	buf := make([]byte, 64<<10)
	c := dialTLS(b, tls.VersionTLS13, func(p *peer) {
		for err := error(nil); err == nil; _, err = p.Read(buf) {
			p.records(pieces...)
			p.send(-1)
		}
	})
	r, h := post("{}"), new(Head)
	total := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := c.ReadHead(h); err != nil {
			b.Fatal(err)
		}
		_, n, err := count0(c)
		if err != io.EOF {
			b.Fatal(err)
		}
		total += n
		if err := c.WriteRequest(r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total)/float64(b.N), "pieces/op")
}

// count0 is count without keeping the body.
func count0(c *Conn) (size, pieces int, err error) {
	for {
		p, err := c.Next()
		if err != nil {
			return size, pieces, err
		}
		size += len(p)
		pieces++
	}
}
