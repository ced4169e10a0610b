package http1

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

// maxCopy is the most that is copied to make one write of a request: beyond it
// the kernel gathers the parts (writev).
const maxCopy = 16 << 10

// Request is a request to write. Content-Length, Transfer-Encoding, Host and
// the other fields that belong to the connection are the codec's own and may
// not stand in Header.
type Request struct {
	Method string // any but CONNECT
	Target string // path?query; the absolute form towards a plain proxy
	Host   string
	Header []llm.Field

	// Body is the body in parts, which are written one after another.
	Body [3][]byte

	// BodyReader is a body that is not held in memory; Body is then empty. Of a
	// BodyLen >= 0 exactly that many bytes are sent; -1 sends chunks.
	BodyReader io.Reader
	BodyLen    int64

	// Trailers asks for trailer fields ("TE: trailers").
	Trailers bool

	// Upgrade is a protocol that is asked for on the connection, "" for none. Such
	// a request has no body. With a reply of 101 the protocol begins: then Next
	// gives what comes as it is, up to the connection's end, and what is sent is
	// written to NetConn (RFC 9110 section 7.8).
	Upgrade string
}

// WriteRequest writes a request: in one write when it is small, else without
// copying its body. With an error of type *RequestError nothing was written.
// With *WriteError, and with nil, ReadHead comes next. A body from BodyReader
// is broken off, with nil, when the upstream answers it early with an error
// (RFC 9112 section 9.5). An interim reply is not waited for.
func (c *Conn) WriteRequest(r *Request) error {
	if c.phase == failed {
		return c.err
	}
	if !c.Reusable() {
		return errors.New("write request: the connection cannot take one")
	}
	size, err := r.check()
	if err != nil {
		return err
	}
	c.giveBack()
	c.phase, c.got, c.noBody, c.last = sent, false, r.Method == "HEAD", 0
	c.upgrade = r.Upgrade
	if r.BodyReader != nil {
		return c.writeStreamed(r, size)
	}
	length := 0
	for _, part := range r.Body {
		length += len(part)
	}
	whole := size+length <= maxCopy
	if whole {
		size += length
	}
	// The read buffer is empty, so the request can be put together there.
	buf, lent, err := c.scratch(size)
	if err != nil {
		c.phase = idle // nothing was sent
		return err
	}
	buf = r.appendHead(buf[:0], int64(length))
	if whole {
		for _, part := range r.Body {
			buf = append(buf, part...)
		}
		err = c.write(buf)
	} else {
		c.vecArr = [4][]byte{buf, r.Body[0], r.Body[1], r.Body[2]}
		c.vec = c.vecArr[:]
		_, err = c.vec.WriteTo(c.nc)
		c.vecArr = [4][]byte{}
	}
	c.limits.Buffers.Put(lent)
	return c.written(err)
}

// scratch returns an empty buffer that holds n bytes, and what is lent of it, to
// be given back.
func (c *Conn) scratch(n int) ([]byte, *memory.Buffer, error) {
	if n <= len(c.small) {
		return c.small[:0], nil, nil
	}
	lent, err := c.limits.Buffers.Get(n)
	if err != nil {
		return nil, nil, err
	}
	return lent.B, lent, nil
}

// write writes to the connection.
func (c *Conn) write(b []byte) error {
	if c.plain != nil {
		return c.plain.send(b)
	}
	_, err := c.nc.Write(b)
	return err
}

// written turns the outcome of a write into WriteRequest's.
func (c *Conn) written(err error) error {
	if err == nil {
		return nil
	}
	c.keep = false
	return &WriteError{err}
}

// check looks for whatever could make the request mean something else on the
// wire, and returns a bound on the size of its head.
func (r *Request) check() (int, error) {
	switch {
	case !isToken(r.Method) || r.Method == "CONNECT":
		return 0, &RequestError{fmt.Sprintf("method %q", r.Method)}
	case !isVisible(r.Target):
		return 0, &RequestError{"space, control or non-ASCII character in the target, or none"}
	case !isVisible(r.Host):
		return 0, &RequestError{"space, control or non-ASCII character in the host, or none"}
	}
	if r.Upgrade != "" && !isToken(r.Upgrade) {
		return 0, &RequestError{fmt.Sprintf("protocol %q", r.Upgrade)}
	}
	size := len(r.Method) + len(r.Target) + len(r.Host) + len(r.Upgrade) + 160
	for i := range r.Header {
		f := &r.Header[i]
		switch {
		case !isToken(f.Name):
			return 0, &RequestError{fmt.Sprintf("header field name %q", f.Name)}
		case !llm.FieldValue(f.Value):
			// The value may be a secret, so it is not shown.
			return 0, &RequestError{"control character in header field " + f.Name}
		case ownField(f.Name):
			return 0, &RequestError{"header field " + f.Name + " belongs to the connection"}
		}
		size += len(f.Name) + len(f.Value) + 4
	}
	return size, nil
}

// ownField reports whether a field is about the connection or the framing. name
// is in any case.
func ownField(name string) bool {
	return llm.HopByHop(name) || strings.EqualFold(name, "Host") || strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Expect")
}

// appendHead appends the head. A length of -1 means chunks.
func (r *Request) appendHead(b []byte, length int64) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, r.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\n"...)
	for i := range r.Header {
		b = append(b, r.Header[i].Name...)
		b = append(b, ": "...)
		b = append(b, r.Header[i].Value...)
		b = append(b, "\r\n"...)
	}
	if r.Trailers {
		b = append(b, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	if r.Upgrade != "" {
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, r.Upgrade...)
		b = append(b, "\r\n"...)
	}
	switch {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH":
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// chunkLine is a chunk's size line as it is written, in a fixed width so that
// the data can be read in behind it.
const chunkLine = len("ffff\r\n")

// writeStreamed writes a request whose body comes from a reader. The head
// leaves together with the first bytes of the body.
func (c *Conn) writeStreamed(r *Request, size int) error {
	if size > largeBuffer/2 {
		c.phase = idle
		return &RequestError{"head too large"}
	}
	own, err := c.limits.Buffers.Get(largeBuffer)
	if err != nil {
		c.phase = idle // nothing was sent
		return err
	}
	defer c.limits.Buffers.Put(own)
	lent := own.B[:largeBuffer]
	buf := r.appendHead(lent[:0], max(r.BodyLen, -1))
	if r.BodyLen < 0 {
		return c.writeChunks(r.BodyReader, buf, lent)
	}
	for left := r.BodyLen; ; {
		var err error
		if left > 0 {
			room := lent[len(buf):]
			var n int
			n, err = readSome(r.BodyReader, room[:min(left, int64(len(room)))])
			buf = lent[:len(buf)+n]
			left -= int64(n)
		}
		if done, werr := c.writePart(buf, left == 0); done || werr != nil {
			return werr
		}
		if err != nil {
			if err == io.EOF { //nolint:errorlint // io.Reader asks for it unwrapped
				err = io.ErrUnexpectedEOF
			}
			return c.bodyFailed(err)
		}
		buf = lent[:0]
	}
}

// writeChunks writes what is in buf, which begins lent, and then the body in
// the chunked coding.
func (c *Conn) writeChunks(body io.Reader, buf []byte, lent []byte) error {
	const end = "0\r\n\r\n"
	for {
		at := len(buf)
		room := lent[at+chunkLine : largeBuffer-len(end)-2]
		n, err := readSome(body, room)
		if n > 0 {
			buf = fmt.Appendf(buf, "%04x\r\n", n)
			buf = append(lent[:len(buf)+n], "\r\n"...)
		}
		if err == io.EOF { //nolint:errorlint // likewise
			buf = append(buf, end...)
		}
		if done, werr := c.writePart(buf, err == io.EOF); done || werr != nil { //nolint:errorlint // likewise
			return werr
		}
		if err != nil {
			return c.bodyFailed(err)
		}
		buf = lent[:0]
	}
}

// writePart writes a part of a request. It reports whether the request has
// come to its end, by the last part or by an early reply.
func (c *Conn) writePart(b []byte, last bool) (done bool, err error) {
	if err := c.write(b); err != nil {
		return true, c.written(err)
	}
	if last {
		return true, nil
	}
	if c.refused() {
		c.keep = false
		return true, nil
	}
	return false, nil
}

func (c *Conn) bodyFailed(err error) error {
	c.phase, c.keep = failed, false
	c.err = &BodyError{err}
	return c.err
}

// readSome reads at least one byte, or says why not.
func readSome(r io.Reader, b []byte) (int, error) {
	for range 100 {
		if n, err := r.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}
