// Package wire reads requests and writes replies as HTTP/1.0 and HTTP/1.1 have
// them on the wire (RFC 9112). It works in place on what a connection has read and
// appends to what it will write: it knows no sockets and starts nothing.
//
// It is as strict as a recipient may be. What two readers could take for two
// different requests is refused, and so is what nobody sends in good faith.
// Nothing is repaired but what the RFC has repaired: optional whitespace around
// values, a length beside chunks, and empty lines before a request.
//
//	n, err := head.Parse(buf)    // until n > 0: the head is buf[:n]
//	head.Request(&req)
//	body.Begin(&head)
//	for !body.Whole() {
//		data, n, err := body.Next(buf)
//	}
package wire

import "fmt"

// Refusal is the error of a request that is not taken. After it nothing that comes
// on the connection can be read: it is answered with Status, and the connection
// closed. The client can be shown all of it: nothing that came is repeated.
type Refusal struct {
	Status int    // 400, 413, 414, 417, 431, 501 or 505
	Code   string // as in an error body of OpenAI's: malformed_request
	Reason string // a sentence
}

func (r *Refusal) Error() string { return fmt.Sprintf("refuse request (%d): %s", r.Status, r.Reason) }

// malformed refuses what is not HTTP.
func malformed(reason string) *Refusal {
	return &Refusal{Status: 400, Code: "malformed_request", Reason: reason}
}

// Limits bound a request's head. Zero values stand for the ones given here.
type Limits struct {
	Head   int // bytes of the head, its last line included; 64 KiB
	Line   int // bytes of the request line, its end included; 16 KiB, and never more than Head
	Fields int // 128
}

func (l Limits) withDefaults() Limits {
	if l.Head == 0 {
		l.Head = 64 << 10
	}
	if l.Line == 0 {
		l.Line = 16 << 10
	}
	l.Line = min(l.Line, l.Head)
	if l.Fields == 0 {
		l.Fields = 128
	}
	return l
}

// preface is what a client of HTTP/2 begins with that knows that it is spoken here
// (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Preface reports whether a connection that begins with b speaks HTTP/2, and
// whether more has to be read to know that. An empty b is not known.
func Preface(b []byte) (is, more bool) {
	n := min(len(b), len(preface))
	if string(b[:n]) != preface[:n] {
		return false, false
	}
	return n == len(preface), n < len(preface)
}
