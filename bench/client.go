package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// client asks on one connection, one request after the other. It does little
// between sending and receiving, so that what it measures is the server's.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	host string
	hits int // answers that the server says it had stored
}

func dial(ctx context.Context, addr string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReaderSize(conn, 32<<10), host: addr}, nil
}

func (c *client) close() { c.conn.Close() }

// ask sends a chat request and returns how long it took until the reply was there.
func (c *client) ask(body string) (took time.Duration, err error) {
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", chatPath, c.host, apiKey, len(body), body)
	begin := time.Now()
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	took = time.Since(begin)
	resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d with %d bytes", resp.StatusCode, n)
	}
	if resp.Header.Get("X-Cache") == "HIT" {
		c.hits++
	}
	return took, err
}
