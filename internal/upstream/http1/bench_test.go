package http1

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/testkit"
)

// loop is a connection that gives the same pieces again after every request.
type loop struct {
	script
	reply [][]byte
	i     int
}

func (l *loop) Write(b []byte) (int, error) { l.i = 0; return len(b), nil }

func (l *loop) Read(b []byte) (int, error) {
	if l.i == len(l.reply) {
		return 0, io.EOF
	}
	n := copy(b, l.reply[l.i])
	if n < len(l.reply[l.i]) {
		panic("a piece larger than the read buffer")
	}
	l.i++
	return n, nil
}

// unary is a reply of 1 kB with 8 fields.
func unary() [][]byte {
	body := strings.Repeat("x", 1000)
	return [][]byte{fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nConnection: keep-alive\r\nx-request-id: req_0123456789abcdef\r\nopenai-processing-ms: 123\r\n"+
		"server: cloudflare\r\nx-ratelimit-remaining-requests: 9999\r\n\r\n%s", len(body), body)}
}

// stream is a reply of 54 events, six to a read.
func stream() [][]byte {
	event := "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
	pieces := [][]byte{[]byte(ok + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")}
	for range 9 {
		pieces = append(pieces, []byte(strings.Repeat(chunk, 6)))
	}
	return append(pieces, []byte("0\r\n\r\n"))
}

func request() *Request {
	r := post(strings.Repeat("y", 600))
	for _, name := range []string{"Accept", "Accept-Encoding", "Authorization", "User-Agent", "X-Request-Id"} {
		r.Header = append(r.Header, llm.Field{Name: name, Value: "some value of this field"})
	}
	return r
}

func once(c *Conn, r *Request, h *Head) error {
	if err := c.WriteRequest(r); err != nil {
		return err
	}
	if err := c.ReadHead(h); err != nil {
		return err
	}
	for {
		if _, err := c.Next(); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	for name, reply := range map[string][][]byte{"unary": unary(), "stream": stream()} {
		c := NewConn(&loop{reply: reply}, Limits{Buffers: new(memory.Buffers)})
		r, h := request(), new(Head)
		n := testing.AllocsPerRun(200, func() {
			if err := once(c, r, h); err != nil {
				t.Fatal(err)
			}
		})
		// One for the strings of the head.
		if n > 1 {
			t.Errorf("%s: %v allocations, want at most 1", name, n)
		}
	}
}

func BenchmarkUnary(b *testing.B)  { benchmark(b, unary()) }
func BenchmarkStream(b *testing.B) { benchmark(b, stream()) }

func benchmark(b *testing.B, reply [][]byte) {
	c := NewConn(&loop{reply: reply}, Limits{Buffers: new(memory.Buffers)})
	r, h := request(), new(Head)
	b.ReportAllocs()
	for b.Loop() {
		if err := once(c, r, h); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSocket has a peer on a real socket, to show how little of an
// exchange is the codec's.
func BenchmarkSocket(b *testing.B) {
	c := dial(b, echo)
	r, h := request(), new(Head)
	b.ReportAllocs()
	for b.Loop() {
		if err := once(c, r, h); err != nil {
			b.Fatal(err)
		}
	}
}
