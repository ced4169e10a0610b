package nethttp

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// discard is a ResponseWriter without a connection.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// flushes counts them.
type flushes struct {
	discard
	n int
}

func (f *flushes) FlushError() error { f.n++; return nil }

// TestFlushedOnce: over HTTP/2 a write leaves by itself, and is not flushed again.
func TestFlushedOnce(t *testing.T) {
	w := &flushes{discard: discard{http.Header{}}}
	p := &steps{out: w, many: true, through: true, timeout: time.Hour}
	for i := range 3 {
		if _, err := p.write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := p.flush(); err != nil || w.n != i+1 {
			t.Errorf("%d flushes for %d writes, %v", w.n, i+1, err)
		}
	}
	p.reset()
	w.n, p.out = 0, w
	if err := p.flush(); err != nil || w.n != 1 {
		t.Errorf("the head of the next reply: %d flushes, %v", w.n, err)
	}
}

// TestResetCannotLeave: the connection ends where not even the reset of a stream
// can be sent.
func TestResetCannotLeave(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := quiet(time.Hour, nil).newConn(ours)
	p := &steps{out: &discard{http.Header{}}, conn: c, many: true, through: true, timeout: time.Hour}
	if err := p.watch(); err != nil {
		t.Fatal(err)
	}
	p.expire() // too early
	if p.GivenUp() {
		t.Fatal("given up too early")
	}
	for range 2 {
		p.due = time.Now().Add(-1)
		p.expire()
	}
	p.unwatch()
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF || c.stats.cuts[cutStalled].Load() != 1 {
		t.Errorf("read: %v, cut %d", err, c.stats.cuts[cutStalled].Load())
	}
	if err := p.watch(); err == nil {
		t.Error("a client that was given up is written to")
	}
}

func TestStepSize(t *testing.T) {
	for timeout, want := range map[time.Duration]int{
		time.Millisecond: 128, 2 * time.Second: 512, 30 * time.Second: 7680, time.Hour: 16 << 10,
	} {
		if got := stepSize(timeout); got != want {
			t.Errorf("%v: %d, want %d", timeout, got, want)
		}
	}
}
