package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// sized and chunked are heads of requests with such a body.
func sized(n int64) *Head { return &Head{Length: n} }
func chunked() *Head      { return &Head{Length: -1} }

// decode has a body come in pieces of the given lengths, again and again, and gives
// what is in it and how many bytes it took.
func decode(h *Head, text string, pieces ...int) (body string, n int, whole bool, err error) {
	b, all, given := new(Body), []byte(text), []byte(nil)
	b.Begin(h)
	for i := 0; !b.Whole() && n < len(all); i++ {
		p := all[n:]
		if len(pieces) > 0 {
			p = p[:min(len(p), pieces[i%len(pieces)])]
		}
		for len(p) > 0 && !b.Whole() {
			data, m, err := b.Next(p)
			given = append(given, data...)
			n += m
			p = p[m:]
			if err != nil {
				if _, _, again := b.Next(p); again != err {
					err = fmt.Errorf("%w, and then %w", err, again)
				}
				return string(given), n, false, err
			}
			if len(data) == 0 && !b.Whole() && len(p) > 0 {
				return string(given), n, false, errors.New("something was left")
			}
		}
	}
	return string(given), n, b.Whole(), nil
}

// splitBody demands that a body is the same in whatever pieces it comes.
func splitBody(t *testing.T, h *Head, text string) {
	t.Helper()
	body, n, whole, err := decode(h, text)
	want := fmt.Sprintf("%q, %d, %v, %v", body, n, whole, err)
	for i := 1; i <= len(text); i++ {
		for _, pieces := range [][]int{{i, len(text)}, {i}, {1, i}} {
			body, n, whole, err := decode(h, text, pieces...)
			if got := fmt.Sprintf("%q, %d, %v, %v", body, n, whole, err); got != want {
				t.Fatalf("%.200q in pieces of %d: %s\nwhole: %s", text, pieces, got, want)
			}
		}
		if len(text) > 1000 {
			i += len(text) / 50
		}
	}
}

// TestChunks has a case for each rule, with its section of RFC 9112.
func TestChunks(t *testing.T) {
	const next = "GET / HTTP/1.1\r\n"
	ext := strings.Repeat("x", maxChunkLine-len("1;")-len("\r"))
	field := "A: " + strings.Repeat("x", 1000) + "\r\n"
	for _, c := range []struct{ section, name, text, want string }{
		{"7.1", "none", "0\r\n\r\n", ""},
		{"7.1", "one", "5\r\nhello\r\n0\r\n\r\n", "hello"},
		{"7.1", "several", "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", "hello world"},
		{"7.1", "capital digits", "A\r\n0123456789\r\n000\r\n\r\n", "0123456789"},
		{"7.1", "small digits", "00a\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
		{"7.1", "the most digits", "00000000000000f\r\n0123456789abcde\r\n0\r\n\r\n", "0123456789abcde"},
		{"7.1", "framing in a chunk", "9\r\n0\r\n\r\n1\r\n\r\r\n0\r\n\r\n", "0\r\n\r\n1\r\n\r"},
		{"7.1.1", "extensions", "5;a;b=c; d = \"e;\\\"é\"\r\nhello\r\n0;f\r\n\r\n", "hello"},
		{"7.1.1", "the longest extension", "1;" + ext + "\r\nx\r\n0\r\n\r\n", "x"},
		{"7.1.2", "trailers", "1\r\nx\r\n0\r\nA: b\r\nX-C:\t d \r\nE:\r\n\r\n", "x"},
		{"7.1.2", "trailers in their bounds", "1\r\nx\r\n0\r\n" + field + field + field + field + "\r\n", "x"},
		{"7.1.2", "the longest trailers", "0\r\nA: " + strings.Repeat("x", maxTrailer-len("A: \r\n\r")) + "\r\n\r\n", ""},
		{"7.1.2", "name like one that frames", "0\r\nContent-Length-: 1\r\nTransfer-Encoding-: b\r\nHos: c\r\n\r\n", ""},
	} {
		t.Run(c.section+" "+c.name, func(t *testing.T) {
			body, n, whole, err := decode(chunked(), c.text+next)
			if body != c.want || n != len(c.text) || !whole || err != nil {
				t.Errorf("%q, %d of %d, %v, %v", body, n, len(c.text), whole, err)
			}
			splitBody(t, chunked(), c.text+next)
			for i := range c.text {
				if body, n, whole, err := decode(chunked(), c.text[:i]); n != i || whole || err != nil || !strings.HasPrefix(c.want, body) {
					t.Fatalf("%d bytes: %q, %d, %v, %v", i, body, n, whole, err)
				}
			}
		})
	}
	for _, c := range []struct{ section, name, text, reason string }{
		{"7.1", "no size", "\r\nhello\r\n0\r\n\r\n", "A chunk has no size."},
		{"7.1", "no number", "x\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "signed", "+5\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "negative", "-5\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "0x", "0x5\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "space before the size", " 5\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "space after the size", "5 \r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "tab after the size", "5\t\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "LF after the size", "5\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "CR after the size", "5\rhello\r\n0\r\n\r\n", "A chunk has CR without LF."},
		{"7.1", "two CR after the size", "5\r\r\nhello\r\n0\r\n\r\n", "A chunk has CR without LF."},
		{"7.1", "too many digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", "A chunk's size has too many digits."},
		{"7.1", "more than 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", "A chunk's size has too many digits."},
		{"7.1", "chunk too long", "4\r\nhello\r\n0\r\n\r\n", "A chunk does not end where its size says."},
		{"7.1", "chunk too short", "6\r\nhello\r\n0\r\n\r\n", "A chunk does not end where its size says."},
		{"7.1", "LF after a chunk", "5\r\nhello\n0\r\n\r\n", "A chunk does not end where its size says."},
		{"7.1", "CR after a chunk", "5\r\nhello\r0\r\n\r\n", "A chunk has CR without LF."},
		{"7.1", "nothing after a chunk", "5\r\nhello0\r\n\r\n", "A chunk does not end where its size says."},
		{"7.1", "LF after the last size", "5\r\nhello\r\n0\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1", "LF at the end", "5\r\nhello\r\n0\r\n\n", "A trailer's name is no token, or is not followed by a colon at once."},
		{"7.1", "CR at the end", "5\r\nhello\r\n0\r\n\r\r\n", "A chunk has CR without LF."},
		{"7.1.1", "LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", "A chunk's extension has a control character."},
		{"7.1.1", "CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", "A chunk has CR without LF."},
		{"7.1.1", "NUL in an extension", "5;\x00\r\nhello\r\n0\r\n\r\n", "A chunk's extension has a control character."},
		{"7.1.1", "space before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n", "A chunk's size is no hexadecimal number."},
		{"7.1.1", "no size before an extension", ";a\r\nhello\r\n0\r\n\r\n", "A chunk has no size."},
		{"7.1.1", "extension too long", "1;" + ext + "x\r\nx\r\n0\r\n\r\n", "A chunk's extension is longer than the gateway takes."},
		{"7.1.1", "too many extensions", strings.Repeat("1;"+ext+"\r\nx\r\n", 18) + "0\r\n\r\n", "The body has more chunk extensions than content."},
		{"7.1.2", "trailers too long", "0\r\nA: " + strings.Repeat("x", maxTrailer-len("A: \r\n\r")+1) + "\r\n\r\n", "The trailers are longer than the gateway takes."},
		{"7.1.2", "trailer without colon", "0\r\nA\r\n\r\n", "A trailer's name is no token, or is not followed by a colon at once."},
		{"7.1.2", "trailer without name", "0\r\n: b\r\n\r\n", "A trailer has no name."},
		{"7.1.2", "space in a trailer's name", "0\r\nA : b\r\n\r\n", "A trailer's name is no token, or is not followed by a colon at once."},
		{"7.1.2", "folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "A trailer's name is no token, or is not followed by a colon at once."},
		{"7.1.2", "space before the trailers", "0\r\n A: b\r\n\r\n", "A trailer's name is no token, or is not followed by a colon at once."},
		{"7.1.2", "LF after a trailer", "0\r\nA: b\n\r\n", "A trailer has a control character."},
		{"7.1.2", "CR in a trailer", "0\r\nA: b\rc\r\n\r\n", "A trailer has a control character."},
		{"7.1.2", "NUL in a trailer", "0\r\nA: \x00\r\n\r\n", "A trailer has a control character."},
		{"7.1.2", "length as a trailer", "0\r\ncontent-length: 1\r\n\r\n", "A trailer frames the request."},
		{"7.1.2", "coding as a trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "A trailer frames the request."},
		{"7.1.2", "host as a trailer", "0\r\nHOST: a\r\n\r\n", "A trailer frames the request."},
	} {
		t.Run(c.section+" "+c.name, func(t *testing.T) {
			_, _, whole, err := decode(chunked(), c.text)
			var r *Refusal
			if whole || !errors.As(err, &r) || r.Status != 400 || r.Reason != c.reason {
				t.Errorf("%v, %v", whole, err)
			}
			splitBody(t, chunked(), c.text)
		})
	}
}

// TestSmallChunks: a body that comes byte by byte, each a chunk, is none with too
// many extensions.
func TestSmallChunks(t *testing.T) {
	text := strings.Repeat("1\r\nx\r\n", 10_000) + "0\r\n\r\n"
	if body, n, whole, err := decode(chunked(), text, 1000); len(body) != 10_000 || n != len(text) || !whole || err != nil {
		t.Errorf("%d, %d, %v, %v", len(body), n, whole, err)
	}
}

func TestSized(t *testing.T) {
	if body, n, whole, err := decode(sized(5), "helloGET"); body != "hello" || n != 5 || !whole || err != nil {
		t.Errorf("%q, %d, %v, %v", body, n, whole, err)
	}
	if body, n, whole, err := decode(sized(0), "GET"); body != "" || n != 0 || !whole || err != nil {
		t.Errorf("%q, %d, %v, %v", body, n, whole, err)
	}
	if body, n, whole, err := decode(sized(5), "hell"); body != "hell" || n != 4 || whole || err != nil {
		t.Errorf("%q, %d, %v, %v", body, n, whole, err)
	}
	splitBody(t, sized(5), "helloGET")
}

// TestLeft: what is left of a body is known where it can be.
func TestLeft(t *testing.T) {
	for _, c := range []struct {
		h     *Head
		text  string
		left  int64
		known bool
	}{
		{sized(0), "", 0, true},
		{sized(5), "", 5, true},
		{sized(5), "he", 3, true},
		{sized(5), "hello", 0, true},
		{chunked(), "", 0, false},
		{chunked(), "5\r\n", 5, false},
		{chunked(), "5\r\nhe", 3, false},
		{chunked(), "5\r\nhello\r\n", 0, false},
		{chunked(), "5\r\nhello\r\n0\r\n", 0, false},
		{chunked(), "5\r\nhello\r\n0\r\n\r\n", 0, true},
	} {
		b := new(Body)
		b.Begin(c.h)
		for p := []byte(c.text); len(p) > 0; {
			_, n, err := b.Next(p)
			if err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
		if left, known := b.Left(); left != c.left || known != c.known {
			t.Errorf("%q: %d, %v, want %d, %v", c.text, left, known, c.left, c.known)
		}
	}
}

// TestZeroBody: there is nothing in it.
func TestZeroBody(t *testing.T) {
	if data, n, err := new(Body).Next([]byte("x")); !new(Body).Whole() || data != nil || n != 0 || err != nil {
		t.Errorf("%q, %d, %v", data, n, err)
	}
}
