package http1

import (
	"bytes"
	"io"
	"net"
	"time"

	"sluice/internal/llm"
)

// script is a connection that takes any request and gives the reply in exactly
// the pieces that a test wants, which a socket would not.
type script struct {
	net.Conn // nil: what is not defined here is not used
	pieces   [][]byte
	end      error // after the last piece; nil is io.EOF
	reads    int
	wrote    bytes.Buffer
	writes   int
}

func (s *script) Read(b []byte) (int, error) {
	s.reads++
	if len(s.pieces) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		return 0, io.EOF
	}
	n := copy(b, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	s.writes++
	s.wrote.Write(b)
	return len(b), nil
}

func (s *script) Close() error                { return nil }
func (s *script) SetDeadline(time.Time) error { return nil }

// outcome is all that can be told of a reply.
type outcome struct {
	status          int
	header          string
	length          int64
	closed          bool
	body            string
	trailer         string
	headErr, bodErr string
	reusable        bool
}

// play reads the reply to one request from pieces.
func play(method string, l Limits, pieces ...[]byte) outcome {
	c := NewConn(&script{pieces: pieces}, l)
	if err := c.WriteRequest(&Request{Method: method, Target: "/", Host: "a"}); err != nil {
		panic(err)
	}
	var h Head
	if err := c.ReadHead(&h); err != nil {
		return outcome{headErr: err.Error()}
	}
	body, err := readAll(c)
	o := outcome{status: h.Status, length: h.Length, closed: h.CloseDelimited, body: string(body), reusable: c.Reusable()}
	o.header, o.trailer = lines(h.Header), lines(c.Trailer())
	if err != nil {
		o.bodErr = err.Error()
	}
	return o
}

// lines writes fields one to a line.
func lines(fields []llm.Field) (text string) {
	for _, f := range fields {
		text += f.Name + ": " + f.Value + "\n"
	}
	return text
}
