package front

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
)

// What net/http holds back of a reply, and what is written under one deadline.
const engineBuffer, maxWrite = 4 << 10, 256 << 10

// Bodies of every size around net/http's buffer arrive whole, one after the
// other on a connection.
func TestBodySizes(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	var size atomic.Int64
	s := start(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		return sendUnary(out, string(body[:size.Load()]))
	})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	sizes := []int{0, 1, 2047, 2048, 2049, maxWrite, maxWrite + engineBuffer, len(body)}
	for n := engineBuffer - 400; n < engineBuffer+50; n += 7 {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		size.Store(int64(n))
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", chatPath, len(chatBody), chatBody)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, body[:n]) {
			t.Fatalf("size %d: %d bytes, %v", n, len(got), err)
		}
	}
}
