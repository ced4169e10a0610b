package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
)

// recorder is a connection that notes what is written to it. After limit bytes
// it fails.
type recorder struct {
	net.Conn
	writes []string
	limit  int
}

var errBroken = errors.New("broken pipe")

func (r *recorder) Write(b []byte) (int, error) {
	n := min(len(b), r.limit)
	r.limit -= n
	r.writes = append(r.writes, string(b[:n]))
	if n < len(b) {
		return n, errBroken
	}
	return n, nil
}

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// What was to leave with the next write leaves before it, or by itself, once,
// and what is counted is what the caller gave.
func TestJoin(t *testing.T) {
	head, rest, long := []byte("head"), []byte("rest"), bytes.Repeat([]byte("x"), maxWrite+10)
	for _, test := range []struct {
		name   string
		limit  int
		second []byte
		n      int
		fails  bool
		want   []string
	}{
		{"both", 100, rest, 4, false, []string{"head", "rest"}},
		{"no second", 100, nil, 0, false, []string{"head"}},
		{"long", 1 << 20, long, len(long), false, []string{"head", string(long[:maxWrite]), "xxxxxxxxxx"}},
		{"breaks in the first", 2, rest, 0, true, []string{"he"}},
		{"breaks in the second", 6, rest, 2, true, []string{"head", "re"}},
	} {
		r := &recorder{limit: test.limit}
		c := &conn{Conn: r, timeout: time.Minute, stats: new(stats)}
		c.join()
		if n, err := c.Write(head); n != len(head) || err != nil || len(r.writes) > 0 {
			t.Errorf("%s: %d, %v, %q", test.name, n, err, r.writes)
		}
		n, err := 0, error(nil)
		if test.second != nil {
			n, err = c.Write(test.second)
		}
		if e := c.settle(); err == nil {
			err = e
		}
		if n != test.n || (err != nil) != test.fails || fmt.Sprint(r.writes) != fmt.Sprint(test.want) {
			t.Errorf("%s: %d, %v, wrote %.40q", test.name, n, err, r.writes)
		}
		if c.joins || c.head != nil {
			t.Errorf("%s: something is still held back", test.name)
		}
		if !test.fails { // and it writes as before
			if n, err := c.Write(rest); n != 4 || err != nil || r.writes[len(r.writes)-1] != "rest" {
				t.Errorf("%s: after that %d, %v", test.name, n, err)
			}
		}
	}
}

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
