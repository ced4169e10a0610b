//go:build linux

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/internal/config"
	"sluice/internal/testkit"
)

// streamEvent is one event of a stream, as a chunk.
func streamEvent() string {
	const event = `data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}` + "\n\n"
	return fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
}

// trickle is an upstream that begins streams and says nothing more until it is told
// to. It has one goroutine for all its connections, so that what it takes is little.
type trickle struct {
	net.Listener
	conns []net.Conn
	began chan struct{} // a stream has
}

func newTrickle(t *testing.T) *trickle {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &trickle{Listener: l, began: make(chan struct{})}
	done := make(chan struct{})
	go func() { defer close(done); u.run() }()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, c := range u.conns {
			_ = c.Close()
		}
	})
	return u
}

func (u *trickle) run() {
	for {
		c, err := u.Accept()
		if err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReaderSize(c, 1024))
		if err != nil {
			_ = c.Close()
			continue
		}
		if _, err = io.Copy(io.Discard, r.Body); err == nil {
			_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: up-1\r\nTransfer-Encoding: chunked\r\n\r\n"+streamEvent())
		}
		if err != nil {
			_ = c.Close()
			continue
		}
		u.conns = append(u.conns, c)
		u.began <- struct{}{}
	}
}

// next sends one more event on each stream.
func (u *trickle) next(t *testing.T) {
	t.Helper()
	for _, c := range u.conns {
		if _, err := io.WriteString(c, streamEvent()); err != nil {
			t.Fatal(err)
		}
	}
}

// footprint is what the process has in its heap and its stacks, in bytes, when
// nothing of it is garbage.
func footprint() (heap, stack int64) {
	var m runtime.MemStats
	for range 3 { // what is pooled goes with the second one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}

// TestStreamsAlloc bounds what an open stream takes while it waits for its next
// event, over real sockets and through all stages. The two ends that are the test's
// own, two sockets, are in it. Stacks come in powers of two and do not shrink by
// little: one frame too many in what waits, or in what is below it, doubles them.
func TestStreamsAlloc(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	// What other tests have left in heaps would count, and new stacks are as large as
	// those of the process are on average: it is measured in a process of its own.
	const alone = "SLUICE_TEST_ALONE"
	if os.Getenv(alone) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestStreamsAlloc$", "-test.v")
		cmd.Env = append(os.Environ(), alone+"=1")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	const streams = 300
	for _, c := range []struct {
		name                string
		cache               bool
		mostHeap, mostStack int64 // for one stream, in bytes
	}{
		{"plain", false, 9<<10 + 256, 5 << 10},
		{"recorded", true, 12 << 10, 5 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newTrickle(t)
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, "server: {engine: lean}\ncache: {enabled: %v}\nhttp_client: {max_connections: 1000, warm_connections: 0}\nupstreams: [{name: u, base_url: \"http://%s/v1\", models: [m]}]\n", c.cache, u.Addr()), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(config.LoadOptions{File: file})
			if err != nil {
				t.Fatal(err)
			}
			cfg.Server.Port = 0
			_, url := run(t, cfg, io.Discard)
			addr := strings.TrimPrefix(url, "http://")
			var clients []net.Conn
			open := func() {
				t.Helper()
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = nc.Close() })
				_ = nc.SetDeadline(time.Now().Add(time.Minute))
				body := fmt.Sprintf(`{"model":"m","stream":true,"messages":[{"role":"user","content":"%06d %s"}]}`, len(clients), strings.Repeat("x", 500))
				if _, err := fmt.Fprintf(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nUser-Agent: x/1\r\nAccept: */*\r\nAuthorization: Bearer sk-y\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body); err != nil {
					t.Fatal(err)
				}
				<-u.began
				clients = append(clients, nc)
			}
			space := make([]byte, 4096)
			read := func() {
				t.Helper()
				for _, nc := range clients {
					text := ""
					for !strings.HasSuffix(text, "\n\n\r\n") {
						n, err := nc.Read(space)
						if err != nil {
							t.Fatalf("%v, so far %q", err, text)
						}
						text += string(space[:n])
					}
				}
			}
			for range 20 { // what there is once
				open()
			}
			read()
			u.next(t)
			before, stackBefore := footprint()
			n := runtime.NumGoroutine()
			for range streams {
				open()
			}
			for range 3 {
				read()
				u.next(t)
			}
			read()
			testkit.Until(t, "each stream has one goroutine", func() bool { return runtime.NumGoroutine() <= n+streams })
			var heap, stack int64
			defer func() { t.Logf("a stream: %d bytes in the heap, %d of stack", heap, stack) }()
			// The last events' buffers go back soon after the clients have them.
			testkit.Until(t, fmt.Sprintf("a stream takes no more than %d bytes in the heap and %d of stack", c.mostHeap, c.mostStack), func() bool {
				heap, stack = footprint()
				heap, stack = (heap-before)/streams, (stack-stackBefore)/streams
				return heap <= c.mostHeap && stack <= c.mostStack
			})
			runtime.KeepAlive(clients)
		})
	}
}
