package simulator

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

// deliver sends ans, or err, in the way that the exchange's fault says.
func (c *exchange) deliver(ans answer, err error) {
	c.strike()
	f := &c.fault
	c.work()
	c.wait(f.Latency)
	switch {
	case f.Reset:
		c.reset()
		return
	case err != nil:
		// A request that is wrong in itself is told so first.
		ans = errorAnswer(llm.AsError(err))
	case f.Status != 0:
		ans = failure(f.Status, f.RetryAfter)
	}
	if ans.status == 0 {
		ans.status = http.StatusOK
	}
	h := c.w.Header()
	h.Set("Content-Type", ans.contentType)
	for name, value := range ans.header {
		h.Set(name, value)
	}
	if f.Encoding != "" {
		h.Set("Content-Encoding", f.Encoding)
		h.Set("Vary", "Accept-Encoding")
	}
	if f.WrongLength != 0 {
		c.wrongLength(ans)
		return
	}
	if f.CloseDelimited {
		// net/http takes this as: neither chunks nor a length, then close.
		h.Set("Transfer-Encoding", "identity")
	}
	if ans.events != nil {
		c.stream(ans)
		return
	}
	c.unary(ans)
}

// wait waits, and gives the reply up when the client leaves or the server
// closes: what was sent so far must not look like all of it.
func (c *exchange) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// stall waits for the client to leave.
func (c *exchange) stall() {
	_ = http.NewResponseController(c.w).Flush()
	<-c.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// reset ends the connection with an RST, or an HTTP/2 stream with RST_STREAM.
func (c *exchange) reset() {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the end is a FIN, which is near enough
	}
	_ = conn.Close()
}

// abort closes the connection in the middle of a reply.
func (c *exchange) abort() {
	_ = http.NewResponseController(c.w).Flush() // the client may have gone
	panic(http.ErrAbortHandler)
}

// unary sends a body that is there as a whole.
func (c *exchange) unary(ans answer) {
	f := &c.fault
	body, pad, coding := ans.body, f.Pad, f.Encoding
	if f.Malformed > 0 {
		body = body[:len(body)*2/3]
	}
	length := len(body) + pad
	switch {
	case coding == "":
	case length <= maxCoded:
		var out bytes.Buffer
		padded(encoder(&out, coding), body, pad)
		body, pad, coding, length = out.Bytes(), 0, "", out.Len()
	default:
		length = unknown
	}
	if !f.CloseDelimited && length != unknown {
		c.w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	c.w.WriteHeader(ans.status)
	w := c.pieces(c.w)
	if f.TTFT > 0 {
		_ = http.NewResponseController(c.w).Flush()
		c.wait(f.TTFT)
	}
	for _, end := range []int{f.Cut, f.Stall} {
		if end == off || length != unknown && end > length {
			continue
		}
		stop := c.abort
		if end == f.Stall {
			stop = c.stall
		}
		w = &stopper{w, end, stop}
		break
	}
	padded(encoder(w, coding), body, pad)
}

// maxCoded is the longest reply that is coded as a whole, so that its length is known; a
// longer one goes in chunks as it is coded. encoderSize is what the largest encoder takes.
// Both are in bytes.
const (
	maxCoded    = 2 << 20
	encoderSize = 1 << 20
)

// unknown is the length of a body that is coded while it is sent.
const unknown = -1

// stopper calls stop, which does not return, once so many bytes were written.
type stopper struct {
	w    io.Writer
	left int
	stop func()
}

// Write implements io.Writer.
func (s *stopper) Write(b []byte) (int, error) {
	n, err := s.w.Write(b[:min(len(b), s.left)])
	if s.left -= n; s.left == 0 {
		s.stop()
	}
	return n, err
}

// padded writes body and white space behind it, a piece at a time, so that a bomb costs
// nobody but its target. A client that has gone ends it, and is seen by its context.
func padded(w io.WriteCloser, body []byte, pad int) {
	if _, err := w.Write(body); err == nil {
		_, _ = io.CopyN(w, spaces{}, int64(pad))
	}
	_ = w.Close()
}

// spaces has any number of them.
type spaces struct{}

// Read implements io.Reader.
func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// flushCloser is what all compressors are.
type flushCloser interface {
	io.WriteCloser
	Flush() error
}

func encoder(w io.Writer, name string) flushCloser {
	switch name {
	case "gzip":
		return gzip.NewWriter(w)
	case "deflate":
		// RFC 9110 section 8.4.1.2: deflate is the zlib format.
		return zlib.NewWriter(w)
	case "br":
		return &storedBrotli{w: w}
	case "zstd":
		return &storedZstd{w: w}
	default:
		return plain{w}
	}
}

type plain struct{ io.Writer }

func (plain) Flush() error { return nil }
func (plain) Close() error { return nil }

// pieces returns w, or a writer that flushes after every few bytes.
func (c *exchange) pieces(w io.Writer) io.Writer {
	if c.fault.Split == 0 {
		return w
	}
	return splitter{w: w, flush: http.NewResponseController(c.w).Flush, size: c.fault.Split}
}

type splitter struct {
	w     io.Writer
	flush func() error
	size  int
}

// Write writes b piece by piece.
func (s splitter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := s.w.Write(b[done:min(done+s.size, len(b))])
		done += n
		if err == nil {
			err = s.flush()
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// stream sends events. Without pace it flushes after the first and then as
// buffers fill, as a service that is faster than its network does.
func (c *exchange) stream(ans answer) {
	f := &c.fault
	control := http.NewResponseController(c.w)
	c.w.Header().Set("Cache-Control", "no-cache")
	c.w.WriteHeader(ans.status)
	w := encoder(c.pieces(c.w), f.Encoding)
	flush := func() bool { return w.Flush() == nil && control.Flush() == nil }
	if f.TTFT > 0 {
		flush()
		c.wait(f.TTFT)
	}
	var raw []byte
	for range f.Comments {
		raw = append(raw, ": processing\n\n"...)
	}
	sent := 0
	for e := range ans.events {
		if stop := c.atEvent(sent, &ans, w); stop {
			return
		}
		if f.NoDone && e.last {
			break
		}
		if sent > 0 {
			c.wait(f.Pace)
		}
		sent++
		if sent == f.Malformed {
			e.data = e.data[:len(e.data)*2/3]
		}
		raw = f.lines(sse.AppendEvent(raw, e.name, e.data))
		if _, err := w.Write(raw); err != nil {
			return
		}
		raw = raw[:0]
		if (f.Pace > 0 || sent == 1) && !flush() {
			return
		}
	}
	if !c.atEvent(sent, &ans, w) {
		_ = w.Close() // a client that has gone is seen by its context
	}
}

// atEvent does what is to happen after so many events, and reports whether
// the stream is over by it.
func (c *exchange) atEvent(sent int, ans *answer, w flushCloser) bool {
	f := &c.fault
	switch sent {
	case f.Cut:
		_ = w.Flush()
		c.abort()
	case f.Stall:
		_ = w.Flush()
		c.stall()
	case f.ErrorEvent:
		e := ans.errorEvent
		if e == nil {
			e = &event{data: errorAnswer(serviceError(http.StatusInternalServerError)).body}
		}
		_, _ = w.Write(f.lines(sse.AppendEvent(nil, e.name, e.data)))
		_ = w.Close()
		return true
	}
	return false
}

// lines gives the event's lines the wanted ends.
func (f *Fault) lines(raw []byte) []byte {
	switch f.EOL {
	case "cr":
		return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r"))
	case "crlf":
		return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	}
	return raw
}

// wrongLength writes the reply by hand, as net/http would not lie.
func (c *exchange) wrongLength(ans answer) {
	conn, buf, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		c.w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(c.w, `{"error":{"message":"The fault wrong-length needs HTTP/1.1.","type":"invalid_request_error","param":null,"code":"invalid_fault"}}`)
		return
	}
	defer func() { _ = conn.Close() }()
	h := c.w.Header()
	h.Set("Content-Length", strconv.Itoa(max(0, len(ans.body)+c.fault.WrongLength)))
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\n", ans.status, http.StatusText(ans.status))
	_ = h.Write(buf)
	_, _ = buf.WriteString("\r\n")
	_, _ = buf.Write(ans.body)
	_ = buf.Flush()
}
