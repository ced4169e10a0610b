package soak

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// attack is what no sound client sends.
type attack struct {
	name, text string
	want       []int // statuses of the first reply; none where the connection may just be closed
	replies    int   // at most
}

// smuggled is the question of requests that hide in others. No service may ever be asked it.
const smuggled = "smuggled"

func (h *hardening) attacks() []attack {
	const key = "Authorization: Bearer " + keyTwo + "\r\n"
	host := "Host: 127.0.0.1:" + h.port + "\r\n"
	_, body := asking(question{id: smuggled, pieces: 1}, "").request("chat", "m-chat", false, false)
	hidden := "POST /v1/chat/completions HTTP/1.1\r\n" + host + key + "Content-Type: application/json\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + string(body)
	post := "POST /v1/moderations HTTP/1.1\r\n" + host + key + "Content-Type: application/json\r\n"
	get := "GET /healthz HTTP/1.1\r\n" + host
	bad := []int{400}
	return []attack{
		{"length and chunks", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 403}, 1}, // it is answered by its chunks, and the connection ends
		{"two lengths", post + "Content-Length: 0\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden, bad, 1},
		{"a signed length", post + "Content-Length: +0\r\n\r\n" + hidden, bad, 1},
		{"another coding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 501}, 1},
		{"chunks twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 501}, 1},
		{"a space before the colon", post + "Content-Length : 0\r\n\r\n" + hidden, bad, 1},
		{"a folded line", post + "X-A: b\r\n Content-Length: 0\r\n\r\n" + hidden, bad, 1},
		{"bare LF", strings.ReplaceAll(get, "\r\n", "\n") + "\n" + hidden, bad, 1},
		{"NUL in a field", get + "X-A: \x00\r\n\r\n" + hidden, bad, 1},
		{"CR in a field", get + "X-A: a\rb\r\n\r\n" + hidden, bad, 1},
		{"a chunk's size that is none", post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + hidden, append(bad, 403), 1},
		{"a chunk's size without end", post + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n" + hidden, append(bad, 403), 1},
		{"no host", "GET /healthz HTTP/1.1\r\n\r\n", bad, 1},
		{"two hosts", get + host + "\r\n", bad, 1},
		{"a head too large", get + "X-A: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", []int{431}, 1},
		{"too many fields", get + strings.Repeat("X-A: b\r\n", 20_000) + "\r\n", []int{431}, 1},
		{"a path too long", "GET /" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\n" + host + "\r\n", []int{414, 431}, 1},
		{"another version", "GET /healthz HTTP/9.9\r\n" + host + "\r\n", []int{400, 505}, 1},
		{"HTTP/2 that breaks off", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\xff", nil, 0},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x55", 512), bad, 1},
		{"noise", strings.Repeat("\x80\x01\xff\x00", 500), bad, 1},
		{"a path that climbs", "GET /v1/../../etc/passwd HTTP/1.1\r\n" + host + key + "\r\n", []int{400, 403, 404}, 1},
		{"another host's", "GET http://elsewhere.example/healthz HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", []int{200, 400, 403, 404}, 1},
		{"no route", "GET /nothing HTTP/1.1\r\n" + host + key + "\r\n", []int{404}, 1},
		{"no method", "BREW /v1/chat/completions HTTP/1.1\r\n" + host + key + "\r\n", []int{400, 405, 501}, 1},
		{"no key", strings.Replace(post, key, "", 1) + "Content-Length: 2\r\n\r\n{}", []int{401}, 1},
		{"another key", strings.Replace(post, keyTwo, "sk-unknown", 1) + "Content-Length: 2\r\n\r\n{}", []int{401}, 1},
		{"an expectation", get + "Expect: wonders\r\n\r\n", []int{200, 400, 417}, 1},
		{"half a head", get + "X-A", nil, 1},
		{"half a body", post + "Content-Length: 100\r\n\r\n{", nil, 1},
		{"two at once", get + "\r\n" + get + "\r\n", []int{200}, 2},
	}
}

// hostile sends one of them, and looks at what comes back.
func (h *hardening) hostile(ctx context.Context, kind string, n int) {
	all := h.attacks()
	a := all[n%len(all)]
	statuses, err := h.attack(ctx, a.text)
	switch {
	case err != nil:
		h.wrong(kind, fmt.Sprintf("no connection: %s: %v", a.name, err))
	case len(statuses) > a.replies && a.replies > 0:
		h.wrong(kind, fmt.Sprintf("more replies than requests: %s: %v", a.name, statuses))
	case a.want != nil && (len(statuses) == 0 || !slices.Contains(a.want, statuses[0])) && !slices.Contains(statuses, http.StatusServiceUnavailable):
		h.wrong(kind, fmt.Sprintf("answered otherwise: %s: %v, not %v", a.name, statuses, a.want))
	default:
		h.ended(kind, "refused")
	}
}

// attack sends bytes and gives the statuses of what comes back.
func (h *hardening) attack(ctx context.Context, text string) (statuses []int, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+h.port)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second)) // a busy machine answers late
	go io.WriteString(conn, text)                      // it may be refused before it is all there
	got, _ := io.ReadAll(io.LimitReader(conn, 1<<20))
	for r := bufio.NewReader(bytes.NewReader(got)); ; {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses, nil
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		statuses = append(statuses, resp.StatusCode)
	}
}
