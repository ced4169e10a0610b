package wire

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sluice/internal/front/engine"
)

// parse has a head come in pieces that begin at the given offsets, each in a buffer
// of its own.
func parse(h *Head, text string, l Limits, cuts ...int) (n int, err error) {
	h.Reset(l)
	var b []byte
	for _, end := range append(slices.Clone(cuts), len(text)) {
		from := len(b)
		b = append(b[:from:from], text[from:end]...)
		n, err = h.Parse(b)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// said is all that is to be known of a head.
func said(h *Head, n int, err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return fmt.Sprintf("refused: %d %s %s", r.Status, r.Code, r.Reason)
	}
	if err != nil || n == 0 {
		return fmt.Sprintf("%d, %v, begun %v", n, err, h.Begun())
	}
	s := fmt.Sprintf("%d: %q %q %q %q %q %q %d.%d, %d bytes, persistent %v, last %v, continue %v, upgrade %v\n", n, h.Method, h.Target,
		h.Path, h.RawPath, h.RawQuery, h.Host, h.Major, h.Minor, h.Length, h.Persistent, h.Last, h.Continue, h.Upgrade)
	h.Each(func(name string, values []string) bool {
		s += fmt.Sprintf("%s: %q\n", name, values)
		return true
	})
	return s
}

// split demands that a head is the same in whatever pieces it comes.
func split(t *testing.T, text string, l Limits) {
	t.Helper()
	h := new(Head)
	n, err := parse(h, text, l)
	want := said(h, n, err)
	all := make([]int, 0, len(text))
	for i := range text {
		n, err := parse(h, text, l, i)
		if got := said(h, n, err); got != want {
			t.Fatalf("%.200q cut at %d: %s\nwhole: %s", text, i, got, want)
		}
		all = append(all, i)
	}
	if len(text) < 4<<10 {
		n, err := parse(h, text, l, all...)
		if got := said(h, n, err); got != want {
			t.Fatalf("%.200q byte by byte: %s\nwhole: %s", text, got, want)
		}
	}
}

const (
	getHost  = "GET / HTTP/1.1\r\nHost: a\r\n"
	postHost = "POST / HTTP/1.1\r\nHost: a\r\n"
)

// TestRefused has a case for each rule, with the section of RFC 9112 that has it, or
// of RFC 9110 where that is said.
func TestRefused(t *testing.T) {
	small := Limits{Head: 200, Line: 100, Fields: 3}
	long := strings.Repeat("a", 300)
	for _, c := range []struct {
		section, name, text string
		status              int
		reason              string
	}{
		{"2.2", "third empty line", "\r\n\r\n\r\n" + getHost + "\r\n", 400, "Too many empty lines stand before the request."},
		{"2.2", "empty line of LF", "\n" + getHost + "\r\n", 400, "A line ends in LF without CR."},
		{"2.2", "empty line of CR", "\r" + getHost + "\r\n", 400, "A line has CR amid it."},
		{"2.2", "space before the request", " " + getHost + "\r\n", 400, "The request does not begin with a method."},
		{"2.2", "space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "A line begins with whitespace: fields that are folded are not taken."},
		{"2.2", "bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "A line ends in LF without CR."},
		{"2.2", "bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "A line ends in LF without CR."},
		{"2.2", "bare LF at the end", getHost + "\n", 400, "A line ends in LF without CR."},
		{"2.2", "bare CR in a value", getHost + "A: b\rc\r\n\r\n", 400, "A field's value has a control character."},
		{"2.2", "bare CR at a value's end", getHost + "A: b\r\r\n\r\n", 400, "A field's value has a control character."},
		{"2.2", "bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target has a byte that has to be percent-encoded."},
		{"2.2", "bare CR after the version", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.2", "bare CR in a name", getHost + "A\rB: c\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"2.2", "bare CR as the last line", getHost + "\r\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"2.2", "TLS", "\x16\x03\x01\x02\x00", 400, "The request does not begin with a method."},
		{"2.3", "small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "no minor", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "other protocol", "GET / ICAP/1.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "no digit", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "no digit at first", "GET / HTTP/x.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "no point", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"2.3", "space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"9110 15.6.6", "HTTP/2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here, and HTTP/2 by its own rules."},
		{"9110 15.6.6", "HTTP/0", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here, and HTTP/2 by its own rules."},
		{"9110 15.6.6", "a preface that comes too late", preface, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here, and HTTP/2 by its own rules."},
		{"3", "no version", "GET /\r\nHost: a\r\n\r\n", 400, "The request line has no version."},
		{"3", "method alone", "GET\r\nHost: a\r\n\r\n", 400, "The request line has no target."},
		{"3", "two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"3", "no target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is empty."},
		{"3", "two spaces after the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"3", "tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The method is no token."},
		{"3", "space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"3", "a request in the target", "GET / HTTP/1.1 /x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The request line does not end in a version of HTTP."},
		{"3", "form feed", "GET /\fa HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target has a byte that has to be percent-encoded."},
		{"3", "line too long", "GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "The request line is longer than the gateway takes."},
		{"3", "line without end", "GET /" + long, 414, "The request line is longer than the gateway takes."},
		{"3.1", "method with a colon", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The method is no token."},
		{"3.1", "method with a NUL", "GE\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The method is no token."},
		{"3.1", "method with a letter that is none of ASCII", "GÉT / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The method is no token."},
		{"3.1", "method in quotes", "\"GET\" / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The request does not begin with a method."},
		{"3.2", "no Host", "GET / HTTP/1.1\r\n\r\n", 400, "The request has no Host."},
		{"3.2", "no Host, absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", 400, "The request has no Host."},
		{"3.2", "two Hosts", getHost + "Host: b\r\n\r\n", 400, "The request has more than one Host."},
		{"3.2", "the same Host twice", getHost + "hOST: a\r\n\r\n", 400, "The request has more than one Host."},
		{"3.2", "two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "The request has more than one Host."},
		{"9110 4.2.1", "empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "Host is no host."},
		{"9110 4.2.1", "port alone", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a name before it", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a port of letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a port too large", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a long port", "GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with half a bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with no address in brackets", "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with an address of IPv4 in brackets", "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25lo]\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with half a percent encoding", "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400, "Host is no host."},
		{"3.2", "Host with bytes above ASCII", "GET / HTTP/1.1\r\nHost: é\r\n\r\n", 400, "Host is no host."},
		{"3.2.1", "no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no URI."},
		{"3.2.1", "half a percent encoding", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no URI."},
		{"3.2.1", "no percent encoding", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no URI."},
		{"3.2", "fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target has a byte that has to be percent-encoded."},
		{"3.2", "NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target has a byte that has to be percent-encoded."},
		{"3.2", "DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target has a byte that has to be percent-encoded."},
		{"3.2", "bytes above ASCII in the target", "GET /é HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target has a byte that has to be percent-encoded."},
		{"3.2.2", "other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no http URI."},
		{"3.2.2", "no authority", "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no http URI."},
		{"3.2.2", "opaque", "GET http:a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no http URI."},
		{"9110 4.2.1", "empty authority", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no http URI."},
		{"9110 4.2.4", "name and password", "GET http://b:c@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no http URI."},
		{"3.2.2", "absolute target with no host", "GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no URI."},
		{"3.2.3", "CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "The gateway is no proxy that connects."},
		{"3.2.3", "authority", "GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target is no path and no http URI."},
		{"3.2.4", "asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The target * is for OPTIONS alone."},
		{"5", "no colon", getHost + "A\r\n\r\n", 400, "A field has no colon."},
		{"5", "no name", getHost + ": b\r\n\r\n", 400, "A field has no name."},
		{"5.1", "space before the colon", getHost + "A : b\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"5.1", "tab before the colon", getHost + "A\t: b\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"5.1", "space in a name", getHost + "A b: c\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"5.1", "name in quotes", getHost + "\"A\": b\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"5.1", "NUL in a name", getHost + "A\x00: b\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"5.1", "bytes above ASCII in a name", getHost + "Ä: b\r\n\r\n", 400, "A field's name is no token, or is not followed by a colon at once."},
		{"5.2", "folded with a space", getHost + "A: b\r\n c\r\n\r\n", 400, "A line begins with whitespace: fields that are folded are not taken."},
		{"5.2", "folded with a tab", getHost + "A: b\r\n\tc\r\n\r\n", 400, "A line begins with whitespace: fields that are folded are not taken."},
		{"5.2", "folded into nothing", getHost + "A: b\r\n \r\n\r\n", 400, "A line begins with whitespace: fields that are folded are not taken."},
		{"9110 5.5", "NUL in a value", getHost + "A: b\x00\r\n\r\n", 400, "A field's value has a control character."},
		{"9110 5.5", "escape in a value", getHost + "A: \x1b[0m\r\n\r\n", 400, "A field's value has a control character."},
		{"9110 5.5", "vertical tab before a value", getHost + "A: \vb\r\n\r\n", 400, "A field's value has a control character."},
		{"9110 5.5", "DEL in a value", getHost + "A: \x7f\r\n\r\n", 400, "A field's value has a control character."},
		{"5", "head too large", getHost + "A: " + long + "\r\n\r\n", 431, "The request's head is larger than the gateway takes."},
		{"5", "field without end", getHost + "A: " + long, 431, "The request's head is larger than the gateway takes."},
		{"5", "many fields", getHost + "A: b\r\nA: b\r\nA: b\r\n\r\n", 431, "The request has more fields than the gateway takes."},
		{"6.1", "other coding", postHost + "Transfer-Encoding: gzip\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "other coding first", postHost + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "chunked not last", postHost + "Transfer-Encoding: chunked, identity\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "identity", postHost + "Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "coding with a parameter", postHost + "Transfer-Encoding: chunked;a=b\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "coding in quotes", postHost + "Transfer-Encoding: \"chunked\"\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "half a coding", postHost + "Transfer-Encoding: chunke\r\n\r\n", 501, "No transfer coding but chunked is understood."},
		{"6.1", "chunked twice", postHost + "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "Transfer-Encoding has chunked more than once."},
		{"6.1", "two codings", postHost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "The request has more than one Transfer-Encoding."},
		{"6.1", "a coding and another one", postHost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400, "The request has more than one Transfer-Encoding."},
		{"6.1", "no coding", postHost + "Transfer-Encoding:\r\nContent-Length: 1\r\n\r\n", 400, "Transfer-Encoding is no list of codings."},
		{"6.1", "coding with a comma", postHost + "Transfer-Encoding: chunked,\r\n\r\n", 400, "Transfer-Encoding is no list of codings."},
		{"6.1", "coding after a vertical tab", postHost + "Transfer-Encoding: \vchunked\r\n\r\n", 400, "A field's value has a control character."},
		{"6.1", "chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0 has no Transfer-Encoding."},
		{"6.1", "chunks in HTTP/1.0 with a length", "POST / HTTP/1.0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0 has no Transfer-Encoding."},
		{"6.3", "two lengths", postHost + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "The request has more than one Content-Length."},
		{"6.3", "the same length twice", postHost + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "The request has more than one Content-Length."},
		{"6.3", "list of a length", postHost + "Content-Length: 1, 1\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "signed length", postHost + "Content-Length: +1\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "negative length", postHost + "Content-Length: -1\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "hexadecimal length", postHost + "Content-Length: 0x1\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "octal length", postHost + "Content-Length: 010\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "length with a point", postHost + "Content-Length: 1.0\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "length with a space", postHost + "Content-Length: 1 0\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "length with a line", postHost + "Content-Length: 1_0\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "empty length", postHost + "Content-Length:\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "huge length", postHost + "Content-Length: 99999999999999999999\r\n\r\n", 413, "Content-Length is more than anybody can send."},
		{"6.3", "huge odd length", postHost + "Content-Length: 9999999999999999999x\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "odd length with chunks", postHost + "Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "Content-Length is no plain number."},
		{"6.3", "two lengths with chunks", "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, "The request has more than one Content-Length."},
		{"9110 6.5.1", "trailer to be a length", postHost + "Trailer: a, content-length\r\n\r\n", 400, "Trailer names a field that frames the request."},
		{"9110 10.1.1", "other expectation", postHost + "Expect: 200-ok\r\n\r\n", 417, "100-continue is all that can be expected of the gateway."},
		{"9110 10.1.1", "another one too", postHost + "Expect: 100-continue, b\r\n\r\n", 417, "100-continue is all that can be expected of the gateway."},
		{"9110 10.1.1", "no expectation", postHost + "Expect:\r\n\r\n", 417, "100-continue is all that can be expected of the gateway."},
	} {
		t.Run(c.section+" "+c.name, func(t *testing.T) {
			l := Limits{}
			if c.status == 414 || c.status == 431 {
				l = small
			}
			h := new(Head)
			n, err := parse(h, c.text, l)
			var r *Refusal
			if !errors.As(err, &r) || n != 0 || r.Status != c.status || r.Reason != c.reason || r.Code == "" {
				t.Errorf("%q: %s, want %d %s", c.text, said(h, n, err), c.status, c.reason)
			}
			if http.StatusText(c.status) == "" {
				t.Error("no status")
			}
			split(t, c.text, l)
			// It is refused as well where more follows in the same piece.
			if n, err := parse(h, c.text+getHost+"\r\n", l); n != 0 || err == nil {
				t.Errorf("with more behind it: %s", said(h, n, err))
			}
		})
	}
}

// TestTaken: what is a request is read as one.
func TestTaken(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"least", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"least of HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", `"GET" "/" "/" "" "" "" 1.0, 0 bytes, persistent false, last false, continue false, upgrade false`},
		{"later version", "GET / HTTP/1.9\r\nHost: a\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.9, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"two empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"own method", "M-SEARCH!#$%&'*+.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", "\"M-SEARCH!#$%&'*+.^_`|~\" \"/\" \"/\" \"\" \"\" \"a\" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false"},
		{"query", "GET /v1/files?limit=2&x=/?%00 HTTP/1.1\r\nHost: a:80\r\n\r\n", `"GET" "/v1/files?limit=2&x=/?%00" "/v1/files" "" "limit=2&x=/?%00" "a:80" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"encoded", "GET /a%2Fb%20c HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", `"GET" "/a%2Fb%20c" "/a/b c" "/a%2Fb%20c" "" "[::1]:80" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"last port", "GET / HTTP/1.1\r\nHost: a%0f%F0:65535\r\n\r\n", `"GET" "/" "/" "" "" "a%0f%F0:65535" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"odd path", "GET //a/../b(c)|d HTTP/1.1\r\nHost: a_b.c%2a:\r\n\r\n", `"GET" "//a/../b(c)|d" "//a/../b(c)|d" "//a/../b(c)|d" "" "a_b.c%2a:" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"absolute", "GET HTTP://b:8080/c?d HTTP/1.1\r\nHost: a\r\n\r\n", `"GET" "HTTP://b:8080/c?d" "/c" "" "d" "b:8080" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"absolute without a path", "GET https://b HTTP/1.0\r\n\r\n", `"GET" "https://b" "" "" "" "b" 1.0, 0 bytes, persistent false, last false, continue false, upgrade false`},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", `"OPTIONS" "*" "*" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false`},
		{"length", postHost + "cONTENT-lENGTH:\t 12 \t\r\n\r\n", `"POST" "/" "/" "" "" "a" 1.1, 12 bytes, persistent true, last false, continue false, upgrade false` + "\nContent-Length: [\"12\"]"},
		{"largest length", postHost + "Content-Length: 999999999999999999\r\n\r\n", `"POST" "/" "/" "" "" "a" 1.1, 999999999999999999 bytes, persistent true, last false, continue false, upgrade false` + "\nContent-Length: [\"999999999999999999\"]"},
		{"no bytes", postHost + "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n", `"POST" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false` + "\nContent-Length: [\"0\"]\nExpect: [\"100-continue\"]"},
		{"chunks", postHost + "transfer-encoding: CHUNKED\r\nTrailer: B\r\nExpect: 100-Continue\r\n\r\n", `"POST" "/" "/" "" "" "a" 1.1, -1 bytes, persistent true, last false, continue true, upgrade false` + "\nExpect: [\"100-Continue\"]"},
		{"both framings", postHost + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", `"POST" "/" "/" "" "" "a" 1.1, -1 bytes, persistent false, last true, continue false, upgrade false`},
		{"close", getHost + "Connection: a, CLOSE ,b\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent false, last false, continue false, upgrade false` + "\nConnection: [\"a, CLOSE ,b\"]"},
		{"close and keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", `"GET" "/" "/" "" "" "" 1.0, 0 bytes, persistent false, last false, continue false, upgrade false` + "\nConnection: [\"keep-alive\" \"close\"]"},
		{"keep-alive in HTTP/1.0", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", `"GET" "/" "/" "" "" "" 1.0, 1 bytes, persistent true, last false, continue false, upgrade false` + "\nConnection: [\"Keep-Alive\"]\nExpect: [\"100-continue\"]\nContent-Length: [\"1\"]"},
		{"upgrade", getHost + "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade true` + "\nUpgrade: [\"websocket\"]\nConnection: [\"keep-alive, Upgrade\"]"},
		{"upgrade to nothing", getHost + "Upgrade:\r\nConnection: upgrade\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false` + "\nUpgrade: [\"\"]\nConnection: [\"upgrade\"]"},
		{"upgrade in HTTP/1.0", "GET / HTTP/1.0\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", `"GET" "/" "/" "" "" "" 1.0, 0 bytes, persistent false, last false, continue false, upgrade false` + "\nUpgrade: [\"a\"]\nConnection: [\"upgrade\"]"},
		{"upgrade without Connection", getHost + "Upgrade: websocket\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false` + "\nUpgrade: [\"websocket\"]"},
		{"one name in several fields", getHost + "x-a: 1\r\nB: 2\r\nX-A: 3\r\nC: \r\nb:\t4\r\nx-A:5\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false` + "\nX-A: [\"1\" \"3\" \"5\"]\nB: [\"2\" \"4\"]\nC: [\"\"]"},
		{"what a value may have", getHost + "A!#$%&'*+-.^_`|~9: \"a\tb\" é\x80\r\n\r\n", `"GET" "/" "/" "" "" "a" 1.1, 0 bytes, persistent true, last false, continue false, upgrade false` + "\nA!#$%&'*+-.^_`|~9: [\"\\\"a\\tb\\\" é\\x80\"]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := new(Head)
			n, err := parse(h, c.text+"GET /next", Limits{})
			if got, want := said(h, n, err), fmt.Sprintf("%d: %s\n", len(c.text), c.want); got != want {
				t.Errorf("%q:\n%s\nwant\n%s", c.text, got, want)
			}
			split(t, c.text, Limits{})
			split(t, c.text[:len(c.text)-1], Limits{})
			h.Reset(Limits{})
			if got := said(h, 1, nil); strings.Contains(got, "\n") && strings.Count(got, "\n") > 1 || h.Begun() || h.Method+h.Target+h.Host != "" {
				t.Errorf("after Reset: %s", got)
			}
		})
	}
}

// TestLimits: what a limit allows is taken, and one byte more is not.
func TestLimits(t *testing.T) {
	text := getHost + "A: b\r\n\r\n"
	line := strings.Index(text, "\n") + 1
	for _, c := range []struct {
		l      Limits
		status int
	}{
		{Limits{Head: len(text), Line: line, Fields: 2}, 0},
		{Limits{Head: len(text) - 1}, 431},
		{Limits{Line: line - 1}, 414},
		{Limits{Head: line - 1}, 414},
		{Limits{Head: line}, 431},
		{Limits{Fields: 1}, 431},
		{Limits{}, 0},
	} {
		h := new(Head)
		n, err := parse(h, text, c.l)
		var r *Refusal
		if errors.As(err, &r) && r.Status != c.status || (err == nil) != (c.status == 0) {
			t.Errorf("%+v: %s", c.l, said(h, n, err))
		}
		for _, empty := range []string{"", "\r\n", "\r\n\r\n"} {
			split(t, empty+text, c.l)
		}
	}
	for _, n := range []int{usualFields, usualFields + 1, 128, 129} { // one is the Host
		text := getHost + strings.Repeat("A: b\r\n", n-1) + "\r\n"
		h := new(Head)
		for range 2 { // the second time it has left its room
			_, err := parse(h, text, Limits{})
			if (err == nil) != (n <= 128) || err == nil && len(h.Values("A")) != n-1 {
				t.Errorf("%d fields: %v, %d values", n, err, len(h.Values("A")))
			}
			h.Reset(Limits{})
			left := slices.Concat(h.room[0][:], h.room[1][:], h.names[:cap(h.names)], h.values[:cap(h.values)])
			if len(left) != 4*usualFields || strings.Join(left, "") != "" || cap(h.spots) != usualFields {
				t.Errorf("%d fields: something is kept", n)
			}
		}
	}
}

// TestLookedAtOnce: a head that comes byte by byte costs no more than its bytes,
// which a line that is long shows.
func TestLookedAtOnce(t *testing.T) {
	h := new(Head)
	h.Reset(Limits{Head: 1 << 20, Line: 1 << 20})
	b := []byte("GET /" + strings.Repeat("a", 500_000))
	for i := 1; i <= len(b); i++ {
		if n, err := h.Parse(b[:i]); n != 0 || err != nil || h.looked != i {
			t.Fatalf("%d: %d, %v, looked at %d", i, n, err, h.looked)
		}
	}
}

func TestBegun(t *testing.T) {
	h := new(Head)
	h.Reset(Limits{})
	for i, c := range []struct {
		b    string
		want bool
	}{{"", false}, {"\r", false}, {"\r\n", false}, {"\r\n\r\n", false}, {"\r\n\r\nG", true}} {
		if n, err := h.Parse([]byte(c.b)); n != 0 || err != nil || h.Begun() != c.want {
			t.Errorf("%d: %d, %v, %v", i, n, err, h.Begun())
		}
	}
}

// TestRequest: a handler is told what stands in the head.
func TestRequest(t *testing.T) {
	h := new(Head)
	if _, err := parse(h, "PUT /a%20b?c HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n", Limits{}); err != nil {
		t.Fatal(err)
	}
	q := engine.Request{Remote: "r", TLS: true}
	h.Request(&q)
	want := engine.Request{Method: "PUT", Path: "/a b", RawQuery: "c", Host: "d", Remote: "r", TLS: true, Major: 1, Minor: 1, Length: -1, Last: true, Header: h}
	if q != want || q.EscapedPath() != "/a%20b" || engine.Get(q.Header, "X") != "y" || q.Header.Values("Host") != nil {
		t.Errorf("%+v", q)
	}
}

// TestForget: what is needed stays, and no more of the head.
func TestForget(t *testing.T) {
	h := new(Head)
	if _, err := parse(h, postHost+"A: 1\r\nB: 2\r\nC: 3\r\nA: 4\r\nD: 5\r\n\r\n", Limits{}); err != nil {
		t.Fatal(err)
	}
	got := h.Values("A")
	h.Forget(func(name string, values []string) bool {
		if name == "A" && !slices.Equal(values, []string{"1", "4"}) {
			t.Errorf("%q", values)
		}
		return name == "C" || name == "A"
	})
	if s := said(h, 1, nil); !strings.HasSuffix(s, "\nA: [\"1\" \"4\"]\nC: [\"3\"]\n") || h.Values("B") != nil || h.Len() != 3 || !slices.Equal(got, []string{"1", "4"}) {
		t.Errorf("%s, got before %q", s, got)
	}
	if h.Host != "" || h.Method != "POST" {
		t.Errorf("%q, %q", h.Host, h.Method)
	}
	for _, name := range []string{"", "c", "E", "Host"} {
		if h.Values(name) != nil {
			t.Errorf("a value of %q", name)
		}
	}
	if h.Each(func(string, []string) bool { return false }) {
		t.Error("all were visited")
	}
}

// TestClass says byte by byte what class has in a table.
func TestClass(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		alnum := letter || '0' <= c && c <= '9'
		in := func(set string) bool { return strings.IndexByte(set, c) >= 0 }
		for bit, want := range map[uint8]bool{
			token:    alnum || in("!#$%&'*+-.^_`|~"),
			text:     c == '\t' || c >= ' ' && c != 0x7f,
			uri:      c > ' ' && c < 0x7f && c != '#',
			plain:    alnum || in("-._~$&+,/:;=@"),
			hostname: alnum || in("-._~!$&'()*+,;="),
			capital:  letter && c < 'a',
			lower:    letter && c >= 'a',
		} {
			if (class[c]&bit != 0) != want {
				t.Errorf("%#02x of class %#02x: %v", c, bit, !want)
			}
		}
	}
}

func TestPreface(t *testing.T) {
	for i := range preface {
		if is, more := Preface([]byte(preface[:i])); is || !more {
			t.Errorf("%d bytes: %v, %v", i, is, more)
		}
		wrong := []byte(preface)
		wrong[i] ^= 0x20
		if is, more := Preface(wrong); is || more {
			t.Errorf("%q: %v, %v", wrong, is, more)
		}
	}
	if is, more := Preface([]byte(preface + "\x00")); !is || more {
		t.Error("not known")
	}
	for _, method := range []string{"POST / HTTP/1.1\r\n", "P", "PR"} {
		if is, more := Preface([]byte(method)); is || more != strings.HasPrefix(preface, method) {
			t.Errorf("%q: %v, %v", method, is, more)
		}
	}
}
