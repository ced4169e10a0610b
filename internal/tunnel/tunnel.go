// Package tunnel reaches servers through HTTP proxies.
package tunnel

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// maxHead bounds a proxy's answer to CONNECT, in bytes.
const maxHead = 16 << 10

// Open asks the proxy at the other end of nc for a connection to addr, a
// host:port (RFC 9110 section 9.3.6). authorization is the value of
// Proxy-Authorization, "" for none. With an error, ctx's own cause when that is
// over, nc is of no use any more.
func Open(ctx context.Context, nc net.Conn, addr, authorization string) error {
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	req := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n"
	if authorization != "" {
		req += "Proxy-Authorization: " + authorization + "\r\n"
	}
	if _, err := nc.Write([]byte(req + "\r\n")); err != nil {
		return fmt.Errorf("write CONNECT: %w", err)
	}
	// Byte by byte, because what follows the head belongs to the server,
	// which in HTTP/2 may speak first.
	head := make([]byte, 0, 256)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) == maxHead {
			return errors.New("the proxy's answer is too large")
		}
		var one [1]byte
		if n, err := nc.Read(one[:]); n == 0 && err != nil {
			return fmt.Errorf("read answer to CONNECT: %w", err)
		} else if n == 1 {
			head = append(head, one[0])
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[9] != '2' {
		return fmt.Errorf("the proxy answered %q", line)
	}
	return nil
}

// Authorization returns the value of Proxy-Authorization for the Basic
// credentials in a proxy's URL, "" for none.
func Authorization(via *url.URL) string {
	if via.User == nil {
		return ""
	}
	password, _ := via.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(via.User.Username()+":"+password))
}
