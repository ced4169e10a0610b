package nethttp

import (
	"io"
	"net"
	"net/http"
	"slices"
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

// pieces keeps how long each write was.
type pieces struct {
	flushes
	sizes []int
}

func (w *pieces) Write(b []byte) (int, error) {
	w.sizes = append(w.sizes, len(b))
	return len(b), nil
}

// TestLastStep: what a write over HTTP/2 ends with fits into the connection's
// buffer.
func TestLastStep(t *testing.T) {
	for _, c := range []struct {
		many bool
		size int
		want []int
	}{
		{true, 0, []int{0}},
		{true, 2 << 10, []int{2 << 10}},
		{true, 2<<10 + 1, []int{2<<10 + 1 - lastStep, lastStep}},
		{true, 16 << 10, []int{16<<10 - lastStep, lastStep}},
		{true, 16<<10 + 1, []int{16 << 10, 1}},
		{true, 20 << 10, []int{16 << 10, 4<<10 - lastStep, lastStep}},
		{false, 20 << 10, []int{20 << 10}},
	} {
		w := &pieces{flushes: flushes{discard: discard{http.Header{}}}}
		p := &steps{out: w, many: c.many, through: true, timeout: time.Hour}
		if n, err := p.write(make([]byte, c.size)); n != c.size || err != nil || !slices.Equal(w.sizes, c.want) {
			t.Errorf("%d bytes, many %v: in %v, %d, %v; want %v", c.size, c.many, w.sizes, n, err, c.want)
		}
	}
}
