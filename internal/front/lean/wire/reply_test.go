package wire

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/front/engine"
)

var date = []byte("Sun, 06 Nov 1994 08:49:37 GMT")

// TestReply: a reply's head says how its body ends, as its client understands it.
func TestReply(t *testing.T) {
	const dated = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
	for _, c := range []struct {
		name    string
		status  int
		length  int64
		fields  []string // name, value
		close   bool     // asked for
		r       Reply
		want    string
		framing Framing
		closes  bool
	}{
		{"sized", 200, 5, []string{"A", "b"}, false, Reply{Minor: 1},
			"HTTP/1.1 200 OK\r\nA: b\r\n" + dated + "Content-Length: 5\r\n\r\n", Sized, false},
		{"empty", 404, 0, nil, false, Reply{Minor: 1},
			"HTTP/1.1 404 Not Found\r\n" + dated + "Content-Length: 0\r\n\r\n", Sized, false},
		{"chunks", 200, -1, nil, false, Reply{Minor: 1},
			"HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\n\r\n", Chunked, false},
		{"chunks and close", 200, -1, nil, true, Reply{Minor: 1},
			"HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n", Chunked, true},
		{"the connection ends", 200, 1, nil, false, Reply{Minor: 1, Close: true},
			"HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 1\r\nConnection: close\r\n\r\n", Sized, true},
		{"later version", 200, -1, nil, false, Reply{Minor: 9},
			"HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\n\r\n", Chunked, false},
		{"HTTP/1.0 that keeps", 200, 5, nil, false, Reply{},
			"HTTP/1.0 200 OK\r\n" + dated + "Content-Length: 5\r\nConnection: keep-alive\r\n\r\n", Sized, false},
		{"HTTP/1.0 of no known length", 200, -1, nil, false, Reply{},
			"HTTP/1.0 200 OK\r\n" + dated + "Connection: close\r\n\r\n", ToClose, true},
		{"HEAD, sized", 200, 5, nil, false, Reply{Head: true, Minor: 1},
			"HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 5\r\n\r\n", NoBody, false},
		{"HEAD of no known length", 200, -1, nil, false, Reply{Head: true, Minor: 1},
			"HTTP/1.1 200 OK\r\n" + dated + "\r\n", NoBody, false},
		{"HEAD in HTTP/1.0", 200, -1, nil, false, Reply{Head: true},
			"HTTP/1.0 200 OK\r\n" + dated + "Connection: keep-alive\r\n\r\n", NoBody, false},
		{"204", 204, 5, nil, false, Reply{Minor: 1},
			"HTTP/1.1 204 No Content\r\n" + dated + "\r\n", NoBody, false},
		{"204 in HTTP/1.0", 204, -1, nil, false, Reply{},
			"HTTP/1.0 204 No Content\r\n" + dated + "Connection: keep-alive\r\n\r\n", NoBody, false},
		{"304", 304, 5, []string{"Content-Type", "a/b", "Etag", "c"}, false, Reply{Minor: 1},
			"HTTP/1.1 304 Not Modified\r\nEtag: c\r\n" + dated + "\r\n", NoBody, false},
		{"own status", 299, 0, nil, false, Reply{Minor: 1},
			"HTTP/1.1 299 \r\n" + dated + "Content-Length: 0\r\n\r\n", Sized, false},
		{"fields that are not the handler's", 200, 1, []string{"Content-Length", "7", "Transfer-Encoding", "gzip", "Connection", "x", "Keep-Alive", "y", "A", "b"}, false, Reply{Minor: 1},
			"HTTP/1.1 200 OK\r\nA: b\r\n" + dated + "Content-Length: 1\r\n\r\n", Sized, false},
		{"own date, and several values", 200, 1, []string{"A", "1", "Date", "then", "A", "2", "B", ""}, false, Reply{Minor: 1},
			"HTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\nDate: then\r\nB: \r\nContent-Length: 1\r\n\r\n", Sized, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &engine.Head{Status: c.status, Length: c.length, Close: c.close}
			for i := 0; i < len(c.fields); i += 2 {
				h.Fields.Add(c.fields[i], c.fields[i+1])
			}
			r := c.r
			b, err := r.AppendHead([]byte("before"), h, date)
			if got := string(b); err != nil || got != "before"+c.want || r.Framing != c.framing || r.Close != c.closes {
				t.Errorf("%v, %q, %+v", err, got, r)
			}
		})
	}
}

// TestRefusedReplies: what would be read as something else is not written.
func TestRefusedReplies(t *testing.T) {
	for _, c := range []struct {
		name, value string
		status      int
		err         error
	}{
		{"A", "b\r\nC: d", 200, ErrField},
		{"A", "b\nC: d", 200, ErrField},
		{"A", "b\r", 200, ErrField},
		{"A", "\x00", 200, ErrField},
		{"A", "\x7f", 200, ErrField},
		{"A\r\nB", "c", 200, ErrField},
		{"A B", "c", 200, ErrField},
		{"A:", "c", 200, ErrField},
		{"É", "c", 200, ErrField},
		{"", "c", 200, ErrField},
		{"A", "b", 0, ErrStatus},
		{"A", "b", 100, ErrStatus},
		{"A", "b", 199, ErrStatus},
		{"A", "b", 1000, ErrStatus},
		{"A", "b", -200, ErrStatus},
		{"A", "b\té", 999, nil},
	} {
		h := &engine.Head{Status: c.status}
		h.Fields.Set("First", "1")
		h.Fields.Set(c.name, c.value)
		r := Reply{Minor: 1}
		b, err := r.AppendHead([]byte("before"), h, date)
		if !errors.Is(err, c.err) || c.err != nil && string(b) != "before" {
			t.Errorf("%q: %q, %d: %v, %q", c.name, c.value, c.status, err, b)
		}
	}
}

// TestReplyTo: a request decides how it is answered.
func TestReplyTo(t *testing.T) {
	for text, want := range map[string]Reply{
		getHost + "\r\n":                      {Minor: 1},
		getHost + "Connection: close\r\n\r\n": {Minor: 1, Close: true},
		"HEAD / HTTP/1.0\r\n\r\n":             {Head: true, Close: true},
		postHost + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": {Minor: 1, Close: true},
	} {
		h := new(Head)
		if _, err := parse(h, text, Limits{}); err != nil || h.Reply() != want {
			t.Errorf("%q: %v, %+v", text, err, h.Reply())
		}
	}
}

func TestAppendChunk(t *testing.T) {
	b := AppendChunk(AppendChunk(AppendChunk(nil, []byte("hello")), nil), []byte(strings.Repeat("x", 17)))
	if got := string(append(b, LastChunk...)); got != "5\r\nhello\r\n11\r\n"+strings.Repeat("x", 17)+"\r\n0\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestAppendDate(t *testing.T) {
	at := time.Date(1994, 11, 6, 9, 49, 37, 5, time.FixedZone("", 3600))
	if got := string(AppendDate(nil, at)); got != string(date) || got != at.UTC().Format(http.TimeFormat) {
		t.Error(got)
	}
}

// TestPhrase: the words beside a status are those of net/http's server.
func TestPhrase(t *testing.T) {
	for status := 200; status < 1000; status++ {
		if got := phrase(status); got != http.StatusText(status) {
			t.Errorf("%d: %q", status, got)
		}
	}
}

// TestContinue is what a client of net/http's waits for.
func TestContinue(t *testing.T) {
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(Continue)), nil)
	if err != nil || r.StatusCode != 100 {
		t.Errorf("%v, %v", r, err)
	}
}
