package http1

import (
	"strings"
	"testing"
	"time"
)

const ok = "HTTP/1.1 200 OK\r\n"

// TestStrict is the list of decisions: what is taken, and how what is not
// taken fails.
func TestStrict(t *testing.T) {
	many := strings.Repeat("A: b\r\n", 257)
	long := "A: " + strings.Repeat("b", 64<<10) + "\r\n"
	tests := []struct {
		name, method, reply string
		body                string
		err                 string // "" is none
		reusable            bool
	}{
		// Delimiting, RFC 9112 section 6.3.
		{"length", "GET", ok + "Content-Length: 3\r\n\r\nabc", "abc", "", true},
		{"length 0", "GET", ok + "Content-Length: 0\r\n\r\n", "", "", true},
		{"length with zeros", "GET", ok + "Content-Length: 003\r\n\r\nabc", "abc", "", true},
		{"chunks", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", "", true},
		{"chunked in capitals", "GET", ok + "transfer-encoding: Chunked\r\n\r\n0\r\n\r\n", "", "", true},
		{"until close", "GET", ok + "\r\nabc", "abc", "", false},
		{"HEAD", "HEAD", ok + "Content-Length: 3\r\n\r\n", "", "", true},
		{"HEAD chunked", "HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", "", "", true},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", "", true},
		{"204 with length 0", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "", "", true},
		{"204 that announces a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "", "", false},
		{"204 chunked", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "", "", false},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "", "", true},
		{"bytes beyond the reply", "GET", ok + "Content-Length: 3\r\n\r\nabcX", "abc", "", false},
		{"bytes beyond the last chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", "", "", false},
		{"both", "GET", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "", "both Transfer-Encoding and Content-Length", false},
		{"both, other order", "GET", ok + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "", "both Transfer-Encoding and Content-Length", false},
		{"length twice", "GET", ok + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "", "repeated Content-Length", false},
		{"lengths that differ", "GET", ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "", "repeated Content-Length", false},
		{"length list", "GET", ok + "Content-Length: 3, 3\r\n\r\nabc", "", "bad Content-Length", false},
		{"length signed", "GET", ok + "Content-Length: +3\r\n\r\nabc", "", "bad Content-Length", false},
		{"length negative", "GET", ok + "Content-Length: -3\r\n\r\nabc", "", "bad Content-Length", false},
		{"length empty", "GET", ok + "Content-Length:\r\n\r\nabc", "", "bad Content-Length", false},
		{"length in hex", "GET", ok + "Content-Length: 0x3\r\n\r\nabc", "", "bad Content-Length", false},
		{"length beyond int64", "GET", ok + "Content-Length: 99999999999999999999\r\n\r\n", "", "bad Content-Length", false},
		{"bad length of a HEAD", "HEAD", ok + "Content-Length: x\r\n\r\n", "", "bad Content-Length", false},
		{"coding twice", "GET", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "", "repeated Transfer-Encoding", false},
		{"coding list", "GET", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "", "Transfer-Encoding other than chunked", false},
		{"coding identity", "GET", ok + "Transfer-Encoding: identity\r\n\r\n", "", "Transfer-Encoding other than chunked", false},
		{"coding xchunked", "GET", ok + "Transfer-Encoding: xchunked\r\n\r\n", "", "Transfer-Encoding other than chunked", false},
		{"coding with a vertical tab", "GET", ok + "Transfer-Encoding: \vchunked\r\n\r\n", "", "control character in a header field", false},
		{"chunks in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", "Transfer-Encoding in HTTP/1.0", false},

		// Cuts.
		{"nothing", "GET", "", "", "read reply head: EOF", false},
		{"cut in the head", "GET", ok + "Content-Le", "", "read reply head: unexpected EOF", false},
		{"cut in the body", "GET", ok + "Content-Length: 3\r\n\r\nab", "ab", "unexpected EOF", false},
		{"cut in a chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nab", "ab", "unexpected EOF", false},
		{"cut behind a chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", "unexpected EOF", false},
		{"cut in the last chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "abc", "unexpected EOF", false},
		{"cut in the last line", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r", "", "unexpected EOF", false},

		// Keeping the connection, RFC 9112 section 9.3.
		{"close", "GET", ok + "Connection: close\r\nContent-Length: 3\r\n\r\nabc", "abc", "", false},
		{"close in a list", "GET", ok + "Connection: x, Close\r\nContent-Length: 3\r\n\r\nabc", "abc", "", false},
		{"close and keep-alive", "GET", ok + "Connection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "", "", false},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", "", false},
		{"HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", "abc", "", true},

		// The status line, RFC 9112 section 4.
		{"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "", "", true},
		{"no reason and no space", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", "", true},
		{"reason beyond ASCII", "GET", "HTTP/1.1 200 tr\xe8s bien\r\nContent-Length: 0\r\n\r\n", "", "", true},
		{"HTTP/1.2", "GET", "HTTP/1.2 200 OK\r\n\r\n", "", "unsupported HTTP version", false},
		{"HTTP/2.0", "GET", "HTTP/2.0 200 OK\r\n\r\n", "", "bad status line", false},
		{"HTTP/0.9", "GET", "hello\r\n\r\n", "", "bad status line", false},
		{"lower case", "GET", "http/1.1 200 OK\r\n\r\n", "", "bad status line", false},
		{"another protocol", "GET", "SSH-2.0-OpenSSH_9.6\r\n", "", "unexpected EOF", false},
		{"empty line first", "GET", "\r\n" + ok + "\r\n", "", "bad status line", false},
		{"two spaces", "GET", "HTTP/1.1  200 OK\r\n\r\n", "", "bad status code", false},
		{"tab", "GET", "HTTP/1.1\t200 OK\r\n\r\n", "", "bad status line", false},
		{"four digits", "GET", "HTTP/1.1 2000 OK\r\n\r\n", "", "bad status line", false},
		{"two digits", "GET", "HTTP/1.1 20 OK\r\n\r\n", "", "bad status code", false},
		{"signed status", "GET", "HTTP/1.1 +20 OK\r\n\r\n", "", "bad status code", false},
		{"status 099", "GET", "HTTP/1.1 099 OK\r\n\r\n", "", "bad status code", false},
		{"status 600", "GET", "HTTP/1.1 600 OK\r\n\r\n", "", "bad status code", false},
		{"NUL in the reason", "GET", "HTTP/1.1 200 O\x00K\r\n\r\n", "", "bad status line", false},

		// Field lines, RFC 9112 section 5.
		{"value of any byte", "GET", ok + "X: a\t\"b\" \xff\r\nContent-Length: 0\r\n\r\n", "", "", true},
		{"bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "", "does not end in CRLF", false},
		{"bare LF at the end", "GET", ok + "Content-Length: 0\r\n\n", "", "does not end in CRLF", false},
		{"bare CR", "GET", ok + "A: b\rContent-Length: 3\r\n\r\n", "", "control character in a header field", false},
		{"CR before CRLF", "GET", ok + "A: b\r\r\n\r\n", "", "control character in a header field", false},
		{"CR CR LF as the end", "GET", ok + "A: b\r\n\r\r\n\r\n", "", "bad header field name", false},
		{"NUL", "GET", ok + "A: \x00\r\n\r\n", "", "control character in a header field", false},
		{"DEL", "GET", ok + "A: \x7f\r\n\r\n", "", "control character in a header field", false},
		{"folded with a space", "GET", ok + "A: b\r\n c\r\n\r\n", "", "folded header line", false},
		{"folded with a tab", "GET", ok + "A: b\r\n\tc\r\n\r\n", "", "folded header line", false},
		{"space first", "GET", ok + " A: b\r\n\r\n", "", "folded header line", false},
		{"space before the colon", "GET", ok + "Content-Length : 3\r\n\r\nabc", "", "bad header field name", false},
		{"space in a name", "GET", ok + "Content Length: 3\r\n\r\nabc", "", "bad header field name", false},
		{"no name", "GET", ok + ": b\r\n\r\n", "", "bad header field name", false},
		{"no colon", "GET", ok + "abc\r\n\r\n", "", "bad header field name", false},
		{"name beyond ASCII", "GET", ok + "\xc3\xa9: b\r\n\r\n", "", "bad header field name", false},
		{"too many fields", "GET", ok + many + "\r\n", "", "too many header fields", false},
		{"head too large", "GET", ok + long + "\r\n", "", "head too large", false},
		{"head without an end", "GET", ok + strings.Repeat("A: b\r\n", 64<<10), "", "head too large", false},

		// Interim replies, RFC 9110 section 15.2.
		{"100", "GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", "", "", true},
		{"102 and 103", "GET", "HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx", "x", "", true},
		{"too many 1xx", "GET", strings.Repeat("HTTP/1.1 102 P\r\n\r\n", 9) + ok + "Content-Length: 0\r\n\r\n", "", "too many 1xx replies", false},
		{"101", "GET", "HTTP/1.1 101 Switching\r\n\r\n", "", "101 without a request", false},
		{"1xx with a body", "GET", "HTTP/1.1 100 C\r\nContent-Length: 3\r\n\r\nabc", "", "1xx reply with a body", false},
		{"1xx that closes", "GET", "HTTP/1.1 100 C\r\nConnection: close\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", "", "", true},
		{"only a 1xx", "GET", "HTTP/1.1 100 Continue\r\n\r\n", "", "unexpected EOF", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := play(tt.method, Limits{}, []byte(tt.reply))
			err := o.headErr + o.bodErr
			if o.body != tt.body || o.reusable != tt.reusable || (err == "") != (tt.err == "") || !strings.Contains(err, tt.err) {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// TestStrictChunks does the same for the chunked coding, RFC 9112 section 7.1.
func TestStrictChunks(t *testing.T) {
	const end = "0\r\n\r\n"
	tests := []struct{ name, coded, body, err string }{
		{"several", "1\r\na\r\n2\r\nbc\r\n" + end, "abc", ""},
		{"leading zeros", "0003\r\nabc\r\n00\r\n\r\n", "abc", ""},
		{"extension", "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n", "abc", ""},
		{"space before an extension", "3 \t;a\r\nabc\r\n" + end, "abc", ""},
		{"trailers", "3\r\nabc\r\n0\r\nA: b\r\nX-C:\r\n\r\n", "abc", ""},
		{"no size", "\r\nabc\r\n", "", "bad chunk size"},
		{"extension without a size", ";a\r\n", "", "bad chunk size"},
		{"signed size", "+3\r\nabc\r\n", "", "bad chunk size"},
		{"size with 0x", "0x3\r\nabc\r\n", "", "bad chunk size"},
		{"space before the size", " 3\r\nabc\r\n", "", "bad chunk size"},
		{"space behind the size", "3 \r\nabc\r\n", "", "bad chunk size"},
		{"text behind the size", "3 a\r\nabc\r\n", "", "bad chunk size"},
		{"not hexadecimal", "g\r\n", "", "bad chunk size"},
		{"size of 16 digits", "8000000000000000\r\n", "", "chunk size too large"},
		{"16 zeros", "0000000000000000\r\n\r\n", "", "chunk size too large"},
		{"bare LF behind the size", "3\nabc\r\n", "", "bad chunk size"},
		{"bare CR behind the size", "3\rabc\r\n", "", "does not end in CRLF"},
		{"LF in an extension", "3;a\nabc\r\n", "", "control character in a chunk extension"},
		{"CR in a quoted extension", "3;a=\"\rb\"\r\nabc\r\n", "", "does not end in CRLF"},
		{"long extension", "3;" + strings.Repeat("a", 1<<10) + "\r\nabc\r\n", "", "chunk size line too long"},
		{"data longer than said", "2\r\nabc\r\n" + end, "ab", "chunk data that does not end in CRLF"},
		{"data shorter than said", "4\r\nabc\r\n" + end, "abc\r", "chunk data that does not end in CRLF"},
		{"bare LF behind data", "3\r\nabc\n" + end, "abc", "chunk data that does not end in CRLF"},
		{"CR CR behind data", "3\r\nabc\r\r" + end, "abc", "chunk data that does not end in CRLF"},
		{"bare LF as the end", "0\r\n\n", "", "bad trailer field"},
		{"CR only as the end", "0\r\n\rX", "", "does not end in CRLF"},
		{"trailer without a colon", "0\r\nabc\r\n\r\n", "", "bad trailer field"},
		{"trailer with a space before the colon", "0\r\nA : b\r\n\r\n", "", "bad trailer field"},
		{"trailer without a name", "0\r\n: b\r\n\r\n", "", "bad trailer field"},
		{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "", "bad trailer field"},
		{"NUL in a trailer", "0\r\nA: \x00\r\n\r\n", "", "control character in a trailer field"},
		{"bare LF behind a trailer", "0\r\nA: b\n\r\n", "", "control character in a trailer field"},
		{"trailers too large", "0\r\nA: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", "", "trailers too large"},
		{"too many trailers", "0\r\n" + strings.Repeat("A: b\r\n", 257) + "\r\n", "", "too many trailer fields"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := play("GET", Limits{}, []byte(ok+"Transfer-Encoding: chunked\r\n\r\n"+tt.coded))
			if o.body != tt.body || o.reusable != (tt.err == "") || (o.bodErr == "") != (tt.err == "") || !strings.Contains(o.bodErr, tt.err) {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	o := play("GET", Limits{}, []byte(ok+"content-TYPE:text/plain\r\nx--a-1b:  \t v \t\r\nE:\r\nE: 2\r\nContent-Length: 0\r\n\r\n"))
	want := "Content-Type: text/plain\nX--A-1b: v\nE: \nE: 2\nContent-Length: 0\n"
	if o.header != want {
		t.Errorf("got\n%swant\n%s", o.header, want)
	}
}

// TestTrailer reads trailers on a connection that is used again: they are those
// of the one reply, are given once, and not before its end.
func TestTrailer(t *testing.T) {
	const chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	c := NewConn(&script{pieces: [][]byte{
		[]byte(chunked + "3\r\nabc\r\n"), []byte("0\r\ngrpc-STATUS: 0\r\nA:\r\nA: \t v w \r"), []byte("\n\r\n"),
		[]byte(chunked + "0\r\n\r\n"),
		[]byte(chunked + "0\r\nB: 1\r\n\r\n"),
		[]byte(chunked + "0\r\n\r\n"),
	}}, Limits{})
	for i, want := range []string{"Grpc-Status: 0\nA: \nA: v w\n", "", "not taken", ""} {
		if err := c.WriteRequest(post("")); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadHead(new(Head)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next(); i == 0 && (err != nil || c.Trailer() != nil) {
			t.Errorf("amid the body: %v", err)
		}
		if _, err := readAll(c); err != nil {
			t.Fatal(err)
		}
		if want == "not taken" {
			continue
		}
		if got := lines(c.Trailer()); got != want || c.Trailer() != nil {
			t.Errorf("reply %d: got\n%swant\n%s", i, got, want)
		}
	}
}

func TestKeepAliveHint(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"timeout=5":                5 * time.Second,
		"max=100, Timeout = \"7\"": 7 * time.Second,
		"timeout=-1":               0,
		"timeout=x":                0,
		"":                         0,
		"timeout=99999999999":      24 * time.Hour,
	} {
		c := NewConn(&script{pieces: [][]byte{[]byte(ok + "Keep-Alive: " + value + "\r\nContent-Length: 0\r\n\r\n")}}, Limits{})
		var h Head
		if err := c.WriteRequest(post("")); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadHead(&h); err != nil || h.KeepAliveTimeout != want {
			t.Errorf("%q: %v, %v", value, h.KeepAliveTimeout, err)
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{MaxHead: 64, MaxFields: 2, MaxChunkLine: 4, MaxInterim: 1}
	const chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
	for reply, want := range map[string]string{
		ok + "A: " + strings.Repeat("b", 64-len(ok)-7) + "\r\n\r\n": "",
		ok + "A: " + strings.Repeat("b", 65-len(ok)-7) + "\r\n\r\n": "head too large",
		ok + "A: 1\r\nB: 2\r\n\r\n":                                 "",
		ok + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n":                         "too many header fields",
		chunked + "000\r\n\r\n":                                     "",
		chunked + "0\r\nA: 1\r\nB: 2\r\n\r\n":                       "",
		chunked + "0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n":               "too many trailer fields",
		chunked + "0\r\nA: " + strings.Repeat("b", 57) + "\r\n\r\n": "",
		chunked + "0\r\nA: " + strings.Repeat("b", 58) + "\r\n\r\n": "trailers too large",
		chunked + "0000\r\n\r\n":                                    "chunk size line too long",
		"HTTP/1.1 102 P\r\n\r\n" + ok + "\r\n":                      "",
		strings.Repeat("HTTP/1.1 102 P\r\n\r\n", 2) + ok + "\r\n":   "too many 1xx replies",
	} {
		o := play("GET", l, []byte(reply))
		if err := o.headErr + o.bodErr; (err == "") != (want == "") || !strings.Contains(err, want) {
			t.Errorf("%q: got %q, want %q", reply, err, want)
		}
	}
}
