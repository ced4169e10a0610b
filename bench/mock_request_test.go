package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	sized   = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:  5\r\n\r\nhello"
	chunked = "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\nA\r\nlo, world!\r\n0\r\nTrailer: 1\r\n\r\n"
	plain   = "GET /v1/models HTTP/1.1\r\nConnection: Close\r\n\r\n"
)

func TestTakeRequest(t *testing.T) {
	for _, c := range []struct{ in, method, target, body string }{
		{sized, "POST", chatPath, "hello"},
		{chunked, "POST", "/x", "hello, world!"},
		{strings.Replace(chunked, "Trailer: 1\r\n", "", 1), "POST", "/x", "hello, world!"},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST", "/", ""},
		{plain, "GET", "/v1/models", ""},
	} {
		for cut := range len(c.in) {
			if _, n, err := takeRequest([]byte(c.in[:cut])); n != 0 || err != nil {
				t.Fatalf("%d bytes of %q: %d, %v", cut, c.in, n, err)
			}
		}
		r, n, err := takeRequest([]byte(c.in + plain))
		if string(r.method) != c.method || string(r.target) != c.target || string(r.body) != c.body || n != len(c.in) || err != nil || r.last != (c.in == plain) {
			t.Errorf("%q: %s %s %q, %d bytes, last %v, %v", c.in, r.method, r.target, r.body, n, r.last, err)
		}
	}
}

func TestTakeRequestRefuses(t *testing.T) {
	for _, in := range []string{
		"GET / HTTP/1.0\r\n\r\n", "GET /\r\n\r\n", "\r\n\r\n", " / HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		fmt.Sprintf("POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", maxMockRequest+1),
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n",
		"GET / HTTP/1.1\r\nA: " + strings.Repeat("a", maxMockHead),
	} {
		if _, n, err := takeRequest([]byte(in)); err == nil {
			t.Errorf("%.80q: %d bytes were taken", in, n)
		}
	}
}

// Whatever is taken is taken as well when more has come, and not before it is whole.
func FuzzTakeRequest(f *testing.F) {
	for _, in := range []string{sized, chunked, plain, sized + chunked, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, n, err := takeRequest(slices.Clone(in))
		if err != nil || n == 0 {
			return
		}
		if n > len(in) || len(r.body) > n {
			t.Fatalf("%d of %d bytes, a body of %d", n, len(in), len(r.body))
		}
		if _, early, err := takeRequest(slices.Clone(in[:n-1])); early != 0 || err != nil {
			t.Fatalf("without the last of %d bytes: %d, %v", n, early, err)
		}
		again, m, err := takeRequest(slices.Concat(in[:n], []byte(plain)))
		if m != n || err != nil || string(again.body) != string(r.body) {
			t.Fatalf("alone %d bytes, %q; with another after it %d, %q, %v", n, r.body, m, again.body, err)
		}
	})
}

func TestAsked(t *testing.T) {
	for body, want := range map[string]string{
		freshBody(model1KB, false, firstSeed): model1KB + " false",
		freshBody(modelSlow, true, firstSeed): modelSlow + " true",
		keyedBody(model16KB, 3):               model16KB + " false",
		`{"model":"`:                          " false",
		"":                                    " false",
	} {
		if model, streamed := asked([]byte(body)); fmt.Sprintf("%s %v", model, streamed) != want {
			t.Errorf("%.40s: %q, %v", body, model, streamed)
		}
	}
}
