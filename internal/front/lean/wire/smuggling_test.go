package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// serve reads a connection as an engine does and gives what it would serve, and the
// status with which it refuses to go on, 0 for none.
func serve(text string) (served []string, status int) {
	rest := []byte(text)
	h, body := new(Head), new(Body)
	for len(rest) > 0 {
		h.Reset(Limits{})
		n, err := h.Parse(rest)
		if r := (*Refusal)(nil); errors.As(err, &r) {
			return served, r.Status
		}
		if n == 0 {
			return served, 0
		}
		rest = rest[n:]
		whole := ""
		for body.Begin(h); !body.Whole(); {
			data, n, err := body.Next(rest)
			if r := (*Refusal)(nil); errors.As(err, &r) {
				return served, r.Status
			}
			whole += string(data)
			if rest = rest[n:]; len(rest) == 0 && !body.Whole() {
				return served, 0
			}
		}
		served = append(served, fmt.Sprintf("%s %s %s", h.Method, h.Path, whole))
		if !h.Persistent {
			return served, 0
		}
	}
	return served, 0
}

// TestSmuggling has what is known to hide a request from one of two readers. What is
// hidden is never served, and where the RFC leaves no reading that is beyond doubt
// nothing is.
func TestSmuggling(t *testing.T) {
	const hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
	const post = "POST /x HTTP/1.1\r\nHost: a\r\n"
	size := fmt.Sprintf("Content-Length: %d\r\n", len(hidden))
	coding := "Transfer-Encoding: chunked\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	for _, c := range []struct {
		name, text string
		served     []string
		status     int
	}{
		{"in a body", post + size + "\r\n" + hidden + "GET /y HTTP/1.1\r\nHost: a\r\n\r\n", []string{"POST /x " + hidden, "GET /y "}, 0},
		{"in a chunk", post + coding + "\r\n" + chunk + "GET /y HTTP/1.1\r\nHost: a\r\n\r\n", []string{"POST /x " + hidden, "GET /y "}, 0},
		{"length first, hidden after the chunks", post + size + coding + "\r\n0\r\n\r\n" + hidden, []string{"POST /x "}, 0},
		{"coding first, hidden in a chunk", post + coding + "Content-Length: 4\r\n\r\n" + chunk, []string{"POST /x " + hidden}, 0},
		{"two lengths", post + "Content-Length: 0\r\n" + size + "\r\n" + hidden, nil, 400},
		{"length in a list", post + "Content-Length: 0, 0\r\n\r\n" + hidden, nil, 400},
		{"length with a plus", post + "Content-Length: +0\r\n\r\n" + hidden, nil, 400},
		{"length after a form feed", post + "Content-Length:\f0\r\n\r\n" + hidden, nil, 400},
		{"length that runs over", post + "Content-Length: 18446744073709551616\r\n\r\n" + hidden, nil, 413},
		{"coding behind a space", post + size + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding before a space", post + size + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding after a bare LF", post + size + "A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding after a bare CR", post + size + "A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding on a folded line", post + size + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding after a vertical tab", post + size + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding before a NUL", post + size + "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding with a comma", post + size + "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding in quotes", post + size + "Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n" + hidden, nil, 501},
		{"coding with another letter", post + size + "Transfer-Encoding: chun\u212aed\r\n\r\n0\r\n\r\n" + hidden, nil, 501},
		{"coding and then identity", post + size + coding + "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, nil, 400},
		{"coding in HTTP/1.0", "POST /x HTTP/1.0\r\nConnection: keep-alive\r\n" + size + coding + "\r\n0\r\n\r\n" + hidden, nil, 400},
		{"bare LF in an extension", post + coding + "\r\n2;\nxx\r\n2f\r\n0\r\n\r\n" + hidden, nil, 400},
		{"bare CR in an extension", post + coding + "\r\n2;\rxx\r\n0\r\n\r\n" + hidden, nil, 400},
		{"bare LF after a size", post + coding + "\r\n0\n\r\n" + hidden, nil, 400},
		{"two bytes after a chunk", post + coding + "\r\n1\r\nxXX0\r\n\r\n" + hidden, nil, 400},
		{"size that runs over", post + coding + "\r\n10000000000000000\r\n" + hidden, nil, 400},
		{"size with an underscore", post + coding + "\r\n0_0\r\n\r\n" + hidden, nil, 400},
		{"in the trailers", post + coding + "\r\n0\r\n" + hidden, nil, 400},
		{"length in the trailers", post + coding + "\r\n0\r\n" + size + "\r\n" + hidden, nil, 400},
		{"in the request line", "GET /x HTTP/1.1 " + hidden, nil, 400},
		{"behind a line without version", "GET /x\r\n" + hidden, nil, 400},
		{"behind two empty lines", post + "\r\n\r\n\r\n" + hidden, []string{"POST /x ", "GET /hidden "}, 0}, // sent as a request of its own
		{"after the last request", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + hidden, []string{"GET /x "}, 0},
		{"after the last of HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n" + hidden, []string{"GET /x "}, 0},
		{"behind CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + hidden, nil, 501},
		{"two hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + hidden, nil, 400},
		{"another host in the target", "GET http://b@a/x HTTP/1.1\r\nHost: b\r\n\r\n" + hidden, nil, 400},
	} {
		if served, status := serve(c.text); !slices.Equal(served, c.served) || status != c.status {
			t.Errorf("%s: %q, %d, want %q, %d", c.name, served, status, c.served, c.status)
		}
		if c.served == nil && !strings.Contains(c.text, hidden) {
			t.Errorf("%s hides nothing", c.name)
		}
	}
}

// TestStricter: what decision 19 says that net/http takes, and is refused here.
func TestStricter(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\nHost: a\n\n",
		getHost + "A: b\r\n c\r\n\r\n",
		postHost + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		postHost + "Content-Length: 010\r\n\r\n0123456789",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
		"GET /é HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /#b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
		postHost + "Content-Length: 1\r\nExpect: 100-continue, b\r\n\r\nx",
		postHost + "Content-Length: 1\r\nExpect:\r\n\r\nx",
		postHost + "Transfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
		postHost + "Transfer-Encoding: chunked\r\n\r\n1;\x00\r\nx\r\n0\r\n\r\n",
		postHost + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
		"GET /" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		getHost + strings.Repeat("A: b\r\n", 200) + "\r\n",
	} {
		ref, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err == nil {
			_, err = io.Copy(io.Discard, ref.Body)
		}
		if err != nil || !httpguts.ValidHostHeader(ref.Host) && ref.Method != "CONNECT" {
			t.Errorf("%.100q: net/http does not take it: %v", text, err)
		}
		if served, status := serve(text); len(served) > 0 || status == 0 {
			t.Errorf("%.100q: %q, %d", text, served, status)
		}
	}
}
