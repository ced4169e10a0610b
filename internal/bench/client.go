package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"

	"sluice/internal/llm"
	"sluice/internal/upstream/http1"
)

// replyTime is the longest that a client waits for a whole reply.
const replyTime = 30 * time.Second

// request is what a client asks.
type request struct {
	path   string
	fault  string // of the simulator, for the header X-Sim-Fault; "" for none
	body   string
	stream bool
}

// reply is what came of a request. It is good where the status is 200, the body came to
// a sound end and, of a stream, [DONE] stood there.
type reply struct {
	status int
	cache  string        // X-Cache
	took   time.Duration // until the end
	first  time.Duration // until the first byte of the body
	good   bool
	err    error // why it is not good
}

// client asks a server of this machine, one request after the other on one connection
// that is made anew where it cannot be used again.
type client struct {
	addr, key string
	conn      *http1.Conn
	head      http1.Head
	end       []byte // of a body
	whole     []byte // of a body, where it is kept
	keep      bool
	first     func() // is told of each body's first byte; nil for nobody
	stop      func() bool
	patience  time.Duration // for a whole reply; replyTime when 0
}

func (c *client) dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	nc, err := (&net.Dialer{Timeout: replyTime}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return fmt.Errorf("connect to the gateway: %w", err)
	}
	c.stop = context.AfterFunc(ctx, func() { _ = nc.Close() })
	c.conn = http1.NewConn(nc, http1.Limits{})
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.stop()
		_ = c.conn.Close()
		c.conn.Abandon()
		c.conn = nil
	}
}

// ask asks and reads the reply to its end.
func (c *client) ask(ctx context.Context, q request) (r reply) {
	begun := time.Now()
	r.err = c.exchange(ctx, q, begun, &r)
	r.took = time.Since(begun)
	if r.err != nil || !c.conn.Reusable() {
		c.close()
	}
	r.good = r.err == nil
	return r
}

func (c *client) exchange(ctx context.Context, q request, begun time.Time, r *reply) error {
	if err := c.dial(ctx); err != nil {
		return err
	}
	if err := c.conn.NetConn().SetDeadline(begun.Add(cmp.Or(c.patience, replyTime))); err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	h := http1.Request{Method: "POST", Target: q.path, Host: c.addr, Header: []llm.Field{{Name: "Authorization", Value: "Bearer " + c.key}}}
	if q.body == "" {
		h.Method = "GET"
	} else {
		h.Header = append(h.Header, llm.Field{Name: "Content-Type", Value: "application/json"})
		h.Body[0] = []byte(q.body)
	}
	if q.fault != "" {
		h.Header = append(h.Header, llm.Field{Name: "X-Sim-Fault", Value: q.fault})
	}
	if err := c.conn.WriteRequest(&h); err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	if err := c.conn.ReadHead(&c.head); err != nil {
		return fmt.Errorf("read reply: %w", err)
	}
	r.status = c.head.Status
	for _, f := range c.head.Header {
		if strings.EqualFold(f.Name, "X-Cache") {
			r.cache = f.Value
		}
	}
	if err := c.body(begun, r); err != nil {
		return err
	}
	switch {
	case r.status != 200:
		return fmt.Errorf("status %d: %s", r.status, printable(c.end))
	case q.stream && !bytes.Contains(c.end, []byte("data: [DONE]")):
		return errors.New("a stream without [DONE]")
	}
	return nil
}

// printable is a text that a terminal shows and does not obey.
func printable(b []byte) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, string(b))
}

// body reads a body, of which it keeps the end.
func (c *client) body(begun time.Time, r *reply) error {
	const kept = 500
	c.end, c.whole = c.end[:0], c.whole[:0]
	for {
		b, err := c.conn.Next()
		if len(b) > 0 && r.first == 0 {
			r.first = time.Since(begun)
			if c.first != nil {
				c.first()
			}
		}
		if c.keep {
			c.whole = append(c.whole, b...)
		}
		c.end = append(c.end, b[max(0, len(b)-kept):]...)
		c.end = c.end[max(0, len(c.end)-kept):]
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read reply: %w", err)
		}
	}
}

// get reads what a server tells of itself.
func get(ctx context.Context, addr, key, path string) ([]byte, error) {
	c := client{addr: addr, key: key, keep: true}
	defer c.close()
	r := c.ask(ctx, request{path: path})
	if r.err != nil {
		return nil, fmt.Errorf("read %s: %w", path, r.err)
	}
	return c.whole, nil
}
