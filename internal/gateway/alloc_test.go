package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/front"
	"sluice/internal/testkit"
)

// The call of the ceilings: 700 B, with a number in it that makes it another one.
var (
	callBody = `{"model":"gpt-4o-mini","messages":[{"role":"system","content":"` + strings.Repeat("be brief ", 20) + `"},{"role":"user","content":"` +
		strings.Repeat("tell me ", 36) + `00000000"}],"temperature":0.7,"max_tokens":400}`
	callReply = `{"id":"chatcmpl-00000000","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("x", 740) +
		`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":140,"completion_tokens":210,"total_tokens":350}}`
)

// TestAllocationsOfACall asserts what a whole call allocates between two sockets,
// everything that is on by default included: engine, access log, cache, routing,
// monitoring, transport. Neither the client nor the model service allocates.
func TestAllocationsOfACall(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each processor has pools of its own
	for _, c := range []struct {
		name   string
		fields string
		each   bool // is another call
		most   float64
	}{
		{"passed on", "Cache-Control: no-store\r\n", true, 5},
		{"stored", "", true, 11},
		{"from memory", "", false, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := load(t, "ONE_API_KEY=sk-upstream", "ONE_BASE_URL=http://"+modelWithoutGarbage(t)+"/v1")
			cfg.Server.Engine = front.EngineLean
			g, err := New(cfg, Options{Version: "test", AccessLog: io.Discard})
			if err != nil {
				t.Fatal(err)
			}
			_, url := serve(t, g)
			call := caller(t, strings.TrimPrefix(url, "http://"), c.fields, c.each)
			for range 3000 { // fills pools and tables
				call()
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which empties pools
			const calls = 2000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range calls {
				call()
			}
			runtime.ReadMemStats(&after)
			n, size := float64(after.Mallocs-before.Mallocs)/calls, (after.TotalAlloc-before.TotalAlloc)/calls
			t.Logf("%.2f allocations, %d B", n, size)
			if n >= c.most+1 { // less than one is of what goes on beside
				t.Errorf("%.2f allocations per call, ceiling %v", n, c.most)
			}
		})
	}
}

// caller returns a function that makes a call and reads its reply.
func caller(t *testing.T, addr, fields string, each bool) func() {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	req := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-client\r\nContent-Type: application/json\r\n"+
		"User-Agent: test/1.0\r\nAccept: */*\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(callBody), callBody)
	place := req[bytes.LastIndex(req, []byte("00000000")):][:8]
	number, buf, end := 0, make([]byte, 16<<10), []byte(callReply[len(callReply)-20:])
	return func() {
		if number++; each {
			setNumber(place, number)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := c.Write(req); err != nil {
			t.Fatal(err)
		}
		for n := 0; !bytes.HasSuffix(buf[:n], end); {
			m, err := c.Read(buf[n:])
			if n += m; err != nil {
				t.Fatalf("%v after %s", err, buf[:n])
			}
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
			t.Fatalf("%s", buf)
		}
	}
}

// setNumber writes a number over the digits of another.
func setNumber(digits []byte, n int) {
	for i := len(digits) - 1; i >= 0; i, n = i-1, n/10 {
		digits[i] = byte('0' + n%10)
	}
}

// modelWithoutGarbage answers calls with one reply, each with another id, and gives
// its address.
func modelWithoutGarbage(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	end := []byte(callBody[len(callBody)-20:])
	whole := func(body string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req-1\r\nOpenai-Processing-Ms: 12\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	reply, list := whole(callReply), whole(`{"object":"list","data":[{"id":"gpt-4o-mini","object":"model"}]}`)
	var replies atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf, n := make([]byte, 16<<10), 0
				reply := bytes.Clone(reply)
				id := reply[bytes.Index(reply, []byte("00000000")):][:8]
				for {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					switch n += m; {
					case bytes.HasSuffix(buf[:n], end):
						setNumber(id, int(replies.Add(1)))
						_, err = c.Write(reply)
						n = 0
					case bytes.HasPrefix(buf[:n], []byte("GET ")):
						_, err = c.Write(list)
						n = 0
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}
