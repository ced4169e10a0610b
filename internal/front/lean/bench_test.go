//go:build linux

package lean

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"sluice/internal/front/engine"
	"sluice/internal/front/nethttp"
	"sluice/internal/testkit"
)

// exchanging gives a function that has one request answered over a socket, with a
// client that allocates nothing.
func exchanging(t testing.TB, addr string) func() {
	c := dial(t, addr)
	request := []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-x\r\nContent-Type: application/json\r\nUser-Agent: x\r\nAccept: */*\r\nContent-Length: 600\r\n\r\n" + strings.Repeat("x", 600))
	r := bufio.NewReader(c)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				t.Fatal(err)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := r.Discard(1000); err != nil {
			t.Fatal(err)
		}
	}
}

// plain is a handler that allocates nothing.
func plain() handler {
	text := make([]byte, 1000)
	return func(x engine.Exchange) engine.Ending {
		var space [1024]byte
		for {
			if _, err := x.Request().Body.Read(space[:]); err != nil {
				break
			}
		}
		var h engine.Head
		h.Status = 200
		h.Fields.Set("Content-Type", "application/json")
		h.Fields.Set("X-Request-Id", "req_0123456789abcdef")
		if _, err := x.Whole(&h, text); err != nil {
			return engine.Cut
		}
		return engine.Whole
	}
}

// TestAllocations: a request takes its strings, its context and what the handler here
// takes: a head and the space for a body.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	_, addr := start(t, plain())
	one := exchanging(t, addr)
	if n := testing.AllocsPerRun(500, one); n > 5 {
		t.Errorf("%v allocations", n)
	} else {
		t.Logf("%v allocations", n)
	}
}

// BenchmarkEngines has each engine answer the same.
func BenchmarkEngines(b *testing.B) {
	o := options(plain())
	for name, e := range map[string]engine.Engine{"lean": New(o, nethttp.New(o)), "nethttp": nethttp.New(o)} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- e.Serve(l) }()
			one := exchanging(b, l.Addr().String())
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
			_ = e.Close()
			<-done
		})
	}
}
