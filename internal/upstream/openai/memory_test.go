package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"weak"

	"sluice/internal/llm"
)

// A reply that there is no memory for is the gateway's lack, whether its length was
// announced or not, and nothing of it goes out. Max is changed between calls, while
// nobody asks for buffers.
func TestMemoryRefused(t *testing.T) {
	reply := `{"x":"` + strings.Repeat("x", 300_000) + `"}`
	announced := true
	h := newHandler(t, server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if announced {
			w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		}
		_, _ = io.WriteString(w, reply)
	}), nil)
	for _, announced = range []bool{true, false} {
		h.client.Buffers().Max = 64 << 10 // what is read at a time
		out := &sink{}
		err := h.Serve(context.Background(), chat("{}", false), out)
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Status != 503 || e.Fault != llm.Lacking || e.Upstream != "" || e.Unprocessed || out.starts > 0 {
			t.Errorf("announced %v: %v, %d replies", announced, err, out.starts)
		}
		h.client.Buffers().Max = 0
		out = &sink{}
		if err := h.Serve(context.Background(), chat("{}", false), out); err != nil || out.text() != reply {
			t.Errorf("announced %v: %d bytes, %v", announced, len(out.text()), err)
		}
	}
}

// lending is a source that reads each event into a buffer of its own, and asks whether
// that is still held when it waits for the next one.
type lending struct {
	left int
	last weak.Pointer[[64 << 10]byte]
	held int
}

func (l *lending) Next() ([]byte, error) {
	for range 2 {
		runtime.GC()
	}
	if l.last.Value() != nil {
		l.held++
	}
	if l.left--; l.left < 0 {
		return nil, io.EOF
	}
	buf := new([64 << 10]byte)
	l.last = weak.Make(buf)
	return buf[:copy(buf[:], "data: {}\n\ndata: {}\n\ndata: {\"and\": \"a part")], nil
}

func (*lending) SetIdleTimeout(time.Duration) {}
func (*lending) Gather(time.Duration)         {}

// A stream, or a reply in pieces, that waits holds nothing of what it was read into: that
// was given back, and is 64 KiB for each where nobody happens to use it again.
func TestWaitingHoldsNoBuffer(t *testing.T) {
	s := &stream{op: llm.Passthrough, started: true}
	for name, pass := range map[string]func(*lending) error{
		"events": func(l *lending) error { return s.run(l, &sink{}, "up") },
		"pieces": func(l *lending) error { return handOn(l, nil, discard{}, false) },
	} {
		source := &lending{left: 3}
		if err := pass(source); err != nil || source.held > 0 {
			t.Errorf("%s: %d buffers were held, %v", name, source.held, err)
		}
	}
}

// discard is a sink that keeps nothing.
type discard struct{}

func (discard) Start(*llm.Head) error  { return nil }
func (discard) Send([]llm.Event) error { return nil }
