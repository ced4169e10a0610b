package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"sluice/internal/front/engine"
)

// FuzzRequest reads a request, in several ways to cut it, and has net/http read it
// too: what is taken here is taken there, and means the same. That has the head, the
// body, and where the next request begins.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer sk\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n",
		"\r\nGET /v1/models%2fa?b=c HTTP/1.0\r\nConnection: keep-alive, x\r\nx-a: 1\r\nX-A: 2\r\n\r\n",
		"PUT http://[::1]:80/a/../b%zz HTTP/1.1\r\nhost: h\r\nTrailer: a\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\nGET",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: b\r\nConnection: close, upgrade\r\nPragma: no-cache\r\n\r\n",
		"GET //a@b:c/(d)|e HTTP/1.9\r\nHost: %41!$&'()*+,;=\r\nContent-Length: 007\r\n\r\nabcdefg",
		"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n c\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(seed), uint16(7), uint16(60))
	}
	f.Fuzz(func(t *testing.T, text []byte, first, second uint16) {
		if len(text) > 32<<10 {
			return
		}
		h := new(Head)
		n, err := parse(h, string(text), Limits{})
		want := said(h, n, err)
		at := []int{int(first) % (len(text) + 1), int(second) % (len(text) + 1)}
		slices.Sort(at)
		if n, err := parse(h, string(text), Limits{}, at...); said(h, n, err) != want {
			t.Fatalf("%q cut at %d: %s\nwhole: %s", text, at, said(h, n, err), want)
		}
		if err != nil {
			if !errors.As(err, new(*Refusal)) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		given := text
		for range emptyLines { // which net/http takes after some requests only
			given = bytes.TrimPrefix(given, []byte("\r\n"))
		}
		from := strings.NewReader(string(given))
		r := bufio.NewReaderSize(from, 64<<10)
		ref, err := http.ReadRequest(r)
		if n == 0 { // net/http wants more as well, or refuses
			if err == nil {
				t.Fatalf("%q: not whole, but for net/http", text)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %s\nnet/http: %v", text, want, err)
		}
		sameHead(t, h, ref)

		body, took, whole, err := decode(h, string(text[n:]), 1+int(first)%100, 1+int(second)%100)
		if err != nil {
			return
		}
		refBody, err := io.ReadAll(ref.Body)
		if whole != (err == nil) {
			t.Fatalf("%q: whole %v, net/http: %v", text, whole, err)
		}
		if whole && body != string(refBody) {
			t.Fatalf("%q: body %q, net/http %q", text, body, refBody)
		}
		if left := r.Buffered() + from.Len(); whole && left != len(text)-n-took {
			t.Fatalf("%q: the next request begins %d bytes before the end, net/http %d", text, len(text)-n-took, left)
		}
	})
}

func sameHead(t *testing.T, h *Head, ref *http.Request) {
	t.Helper()
	var q engine.Request
	h.Request(&q)
	if q.Method != ref.Method || h.Target != ref.RequestURI || q.Path != ref.URL.Path || q.RawPath != ref.URL.RawPath || q.RawQuery != ref.URL.RawQuery ||
		q.Host != ref.Host || q.Major != ref.ProtoMajor || q.Minor != ref.ProtoMinor || q.Length != ref.ContentLength || h.Persistent == ref.Close && !h.Last {
		t.Fatalf("%s\nnet/http: %+v\n%+v", said(h, 1, nil), ref, ref.URL)
	}
	if (len(ref.TransferEncoding) > 0) != (h.Length < 0) {
		t.Fatalf("%s\nnet/http: %q", said(h, 1, nil), ref.TransferEncoding)
	}
	waits := httpguts.HeaderValuesContainsToken(ref.Header["Expect"], "100-continue") && ref.ProtoAtLeast(1, 1) && ref.ContentLength != 0
	upgrades := httpguts.HeaderValuesContainsToken(ref.Header["Connection"], "upgrade") && ref.Header.Get("Upgrade") != "" && ref.ProtoAtLeast(1, 1)
	if waits != h.Continue || upgrades && !h.Upgrade {
		t.Fatalf("%s\nnet/http: %q", said(h, 1, nil), ref.Header)
	}
	if ref.Header.Get("Pragma") == "no-cache" && q.Header.Values("Cache-Control") == nil {
		delete(ref.Header, "Cache-Control") // which net/http has made up
	}
	names := 0
	q.Header.Each(func(name string, values []string) bool {
		names++
		if !slices.Equal(values, ref.Header[name]) || !slices.Equal(values, q.Header.Values(name)) {
			t.Fatalf("%s: %q, %q, net/http %q", name, values, q.Header.Values(name), ref.Header[name])
		}
		return true
	})
	if names != len(ref.Header) {
		t.Fatalf("%s\nnet/http: %q", said(h, 1, nil), ref.Header)
	}
}

// FuzzChunks reads a body in chunks, in several ways to cut it, and has net/http read
// it too; and frames any bytes as chunks, which have to be there again.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\nGET"), uint16(1), uint16(1))
	f.Add([]byte("a;b=\"c\"\r\n0123456789\r\n00\r\nA: b\r\nC:\r\n\r\n"), uint16(2), uint16(9))
	f.Add([]byte("1;\t \r\nx\r\n1\r\ny\r\n0;\r\n\r\n"), uint16(3), uint16(4))
	f.Fuzz(func(t *testing.T, text []byte, first, second uint16) {
		if len(text) > 32<<10 {
			return
		}
		pieces := []int{1 + int(first), 1 + int(second)%16}
		body, n, whole, err := decode(chunked(), string(text))
		body2, n2, whole2, err2 := decode(chunked(), string(text), pieces...)
		if body != body2 || n != n2 || whole != whole2 || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("%q: %q, %d, %v, %v, in pieces %q, %d, %v, %v", text, body, n, whole, err, body2, n2, whole2, err2)
		}
		if err == nil {
			from := strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + string(text))
			r := bufio.NewReaderSize(from, 64<<10)
			ref, err := http.ReadRequest(r)
			if err != nil {
				t.Fatal(err)
			}
			refBody, err := io.ReadAll(ref.Body)
			if whole != (err == nil) || whole && (body != string(refBody) || len(text)-n != r.Buffered()+from.Len()) {
				t.Fatalf("%q: %q, %d, %v, net/http %q, %v", text, body, n, whole, refBody, err)
			}
			if !whole && n != len(text) {
				t.Fatalf("%q: %d bytes taken", text, n)
			}
		}

		var framed []byte
		for rest, size := text, pieces[0]; len(rest) > 0; size = pieces[1] {
			m := min(len(rest), size)
			framed = AppendChunk(framed, rest[:m])
			rest = rest[m:]
		}
		framed = append(framed, LastChunk...)
		body, n, whole, err = decode(chunked(), string(framed)+"GET", pieces...)
		if body != string(text) || n != len(framed) || !whole || err != nil {
			t.Fatalf("%q framed: %q, %d, %v, %v", text, body, n, whole, err)
		}
	})
}

// FuzzReply writes a reply and has net/http read it. It refuses to write what cannot
// be read as it was meant, and nothing else.
func FuzzReply(f *testing.F) {
	f.Add("Content-Type", "text/plain", "X-A", "b", 200, int64(5), []byte("hello"), uint8(1), uint8(0))
	f.Add("Date", "now", "X A", "b\r\nC: d", 404, int64(-1), []byte("hello"), uint8(0), uint8(1))
	f.Add("Connection", "close", "Transfer-Encoding", "gzip", 204, int64(0), []byte{}, uint8(1), uint8(2))
	f.Add("Content-Length", "7", "Trailer", "\x00", 304, int64(9), []byte("x"), uint8(1), uint8(3))
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, status int, length int64, body []byte, minor, flags uint8) {
		if len(body) > 8<<10 {
			return
		}
		h := &engine.Head{Status: status, Length: max(length, -1), Close: flags&1 != 0}
		if h.Length >= 0 {
			h.Length = int64(len(body))
		}
		for _, field := range [][2]string{{name1, value1}, {name2, value2}} {
			h.Fields.Add(http.CanonicalHeaderKey(field[0]), field[1])
		}
		r := Reply{Minor: int(minor % 3), Head: flags&2 != 0, Close: flags&4 != 0}
		b, err := r.AppendHead(nil, h, date)

		own := func(name string) bool {
			return slices.Contains([]string{"Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding"}, name) || name == "Content-Type" && status == 304
		}
		sound := status >= 200 && status <= 999
		for i := 0; i < h.Fields.Len(); {
			name, values := h.Fields.Run(i)
			for _, v := range values {
				bare := strings.ContainsAny(v, "\r\n") // which httpguts takes for whitespace
				sound = sound && (own(name) || httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(v) && !bare)
			}
			i += len(values)
		}
		if sound != (err == nil) || err != nil && (len(b) > 0 || !errors.Is(err, ErrField) && !errors.Is(err, ErrStatus)) {
			t.Fatalf("%+v: %v, %q", h, err, b)
		}
		if err != nil {
			return
		}

		switch r.Framing {
		case Chunked:
			b = append(AppendChunk(b, body), LastChunk...)
		case Sized, ToClose:
			b = append(b, body...)
		case NoBody:
			body = nil
		}
		const next = "HTTP/1.1 204 No Content\r\n\r\n"
		text := string(b)
		if r.Framing != ToClose {
			text += next
		}
		asked := &http.Request{Method: "GET"}
		if r.Head {
			asked.Method = "HEAD"
		}
		from := bufio.NewReaderSize(strings.NewReader(text), 64<<10)
		got, err := http.ReadResponse(from, asked)
		if err != nil {
			if trailer(h) {
				return // it may name what frames the reply
			}
			t.Fatalf("%q: %v", text, err)
		}
		read, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(read, body) {
			t.Fatalf("%q: %q, %v", text, read, err)
		}
		if left := from.Buffered(); r.Framing != ToClose && left != len(next) {
			t.Fatalf("%q: %d bytes are left", text, left)
		}
		if got.StatusCode != status || got.ProtoMinor != min(r.Minor, 1) || got.Close != r.Close && !(r.Minor > 0 && r.Head) {
			t.Fatalf("%q: %d, %s, close %v, want %v", text, got.StatusCode, got.Proto, got.Close, r.Close)
		}
		for i := 0; i < h.Fields.Len(); {
			name, values := h.Fields.Run(i)
			if i += len(values); own(name) || name == "Trailer" {
				continue
			}
			want := slices.Clone(values)
			for j := range want {
				want[j] = strings.Trim(want[j], " \t")
			}
			if !slices.Equal(got.Header[name], want) && name != "Cache-Control" {
				t.Fatalf("%q: %s is %q", text, name, got.Header[name])
			}
		}
	})
}

func trailer(h *engine.Head) bool {
	_, ok := h.Fields.Get("Trailer")
	return ok
}
