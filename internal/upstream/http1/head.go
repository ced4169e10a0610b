package http1

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"sluice/internal/llm"
)

// Head is the head of a reply. ReadHead fills it anew; one Head can serve many
// replies. The strings in Header share one allocation and stay valid.
type Head struct {
	Status int

	// Header holds all fields in the order they came, names in canonical form.
	// Names of one head may repeat.
	Header []llm.Field

	// Length is the length of the body in bytes, -1 when it is not known.
	Length int64

	// CloseDelimited says that the body ends when the upstream closes, so that
	// its end says nothing about its being complete (RFC 9112 section 6.3).
	CloseDelimited bool

	// KeepAliveTimeout is how long the upstream says it keeps the connection
	// when idle; 0 when it says nothing.
	KeepAliveTimeout time.Duration

	upgrade string // of the Upgrade field
	minor   int    // of HTTP/1.x
	close   bool   // Connection: close
	keep    bool   // Connection: keep-alive
	length  bool   // a Content-Length was there
	chunked bool   // a Transfer-Encoding was there
}

// ReadHead reads the head of the reply to the last request, past any 1xx
// replies. The error is io.EOF (wrapped) when the upstream closed without a
// byte of a reply, io.ErrUnexpectedEOF when it closed amid the head,
// *ProtocolError, or the connection's own.
func (c *Conn) ReadHead(h *Head) error {
	const doing = "read reply head"
	if c.phase == failed {
		return c.err
	}
	if c.phase != sent {
		return errors.New("read reply head: no request was written")
	}
	for interim := 0; ; interim++ {
		n, err := c.headLength()
		if err != nil {
			return c.fail(doing, err)
		}
		err = h.parse(c.buf[c.r:c.r+n], c.limits.MaxFields)
		c.r += n
		switch {
		case err != nil:
			return c.fail(doing, err)
		case h.Status >= 200:
			c.begin(h)
			return nil
		case h.Status == 101 && c.upgrade == "":
			return c.fail(doing, &ProtocolError{"101 without a request to switch protocols"})
		case h.Status == 101 && !strings.EqualFold(h.upgrade, c.upgrade):
			return c.fail(doing, &ProtocolError{"101 for another protocol than was asked for"})
		case h.Status == 101 && !h.length && !h.chunked:
			c.replied, c.keep, c.phase, c.framing = true, false, inBody, byClose
			h.CloseDelimited = true
			return nil
		case h.length || h.chunked:
			return c.fail(doing, &ProtocolError{"1xx reply with a body"})
		case interim >= c.limits.MaxInterim:
			return c.fail(doing, &ProtocolError{"too many 1xx replies"})
		}
	}
}

// headLength receives until the empty line and returns the length of the head
// from c.r with it.
func (c *Conn) headLength() (int, error) {
	line, scan := 0, 0 // from c.r, which receive may move
	for {
		have := c.buf[c.r:c.w]
		i := bytes.IndexByte(have[scan:], '\n')
		if i < 0 {
			scan = len(have)
			if scan >= c.limits.MaxHead {
				return 0, &ProtocolError{"head too large"}
			}
			if err := c.receive(); err != nil {
				return 0, err
			}
			continue
		}
		end := scan + i
		switch {
		case end >= c.limits.MaxHead:
			return 0, &ProtocolError{"head too large"}
		case end == line || have[end-1] != '\r':
			return 0, &ProtocolError{"line that does not end in CRLF"}
		case end == line+1:
			return end + 1, nil
		}
		line, scan = end+1, end+1
	}
}

// receive reads once behind the bytes that are there, making room for it.
func (c *Conn) receive() error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) && c.plain == nil {
		// Never so with the large one, since MaxHead is no more than its size.
		if err := c.grow(); err != nil {
			return err
		}
	}
	err := c.read()
	if err == io.EOF && c.got { //nolint:errorlint // a socket returns it unwrapped
		return io.ErrUnexpectedEOF
	}
	return err
}

// begin settles how the body is delimited and whether the connection may live
// on (RFC 9112 sections 6.3 and 9.3).
func (c *Conn) begin(h *Head) {
	c.replied = true
	if h.close || h.minor == 0 && !h.keep {
		c.keep = false
	}
	h.CloseDelimited = false
	c.phase, c.framing, c.left = inBody, byLength, 0
	switch {
	case c.noBody || h.Status == 304:
		h.Length = 0
	case h.Status == 204:
		// A 204 has no body. One that announces one is not to be trusted with
		// what follows.
		if h.chunked || h.Length > 0 {
			c.keep = false
		}
		h.Length = 0
	case h.chunked:
		c.framing, c.chunk, c.trailers = byChunks, chunkParser{}, nil
		return
	case h.length:
		c.left = h.Length
	default:
		c.framing, c.keep = byClose, false
		h.CloseDelimited = true
		return
	}
	if c.left == 0 {
		c.phase = idle
	}
}

// parse reads a whole head, empty line included, and makes its names canonical
// in place.
func (h *Head) parse(b []byte, maxFields int) error {
	*h = Head{Header: h.Header[:0], Length: -1}
	n, err := h.statusLine(b)
	if err != nil {
		return err
	}
	b = b[n:]
	if err := checkFields(b, maxFields); err != nil {
		return err
	}
	if h.Header == nil {
		h.Header = make([]llm.Field, 0, 16)
	}
	for s := string(b); len(s) > 2; {
		var f llm.Field
		f, s = cutField(s)
		h.Header = append(h.Header, f)
		if err := h.note(f); err != nil {
			return err
		}
	}
	if h.chunked && h.length {
		return &ProtocolError{"both Transfer-Encoding and Content-Length"}
	}
	if h.chunked && h.minor == 0 {
		return &ProtocolError{"Transfer-Encoding in HTTP/1.0"}
	}
	return nil
}

// statusLine reads HTTP/1.x SP 3DIGIT [SP reason] CRLF (RFC 9112 section 4)
// and returns its length. The space before an empty reason may be missing.
func (h *Head) statusLine(b []byte) (int, error) {
	const shape = "HTTP/1.1 200"
	end := bytes.IndexByte(b, '\n') - 1
	line := b[:max(end, 0)]
	if len(line) < len(shape) || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return 0, &ProtocolError{"bad status line"}
	}
	if line[7] != '0' && line[7] != '1' {
		return 0, &ProtocolError{"unsupported HTTP version"}
	}
	h.minor = int(line[7] - '0')
	for _, d := range line[9:12] {
		if d < '0' || d > '9' {
			return 0, &ProtocolError{"bad status code"}
		}
		h.Status = h.Status*10 + int(d-'0')
	}
	if h.Status < 100 || h.Status > 599 {
		return 0, &ProtocolError{"bad status code"}
	}
	if rest := line[12:]; len(rest) > 0 && (rest[0] != ' ' || !llm.FieldValue(rest)) {
		return 0, &ProtocolError{"bad status line"}
	}
	return end + 2, nil
}

// checkFields checks all field lines (RFC 9112 section 5) and makes their names
// canonical.
func checkFields(b []byte, maxFields int) error {
	for n := 0; len(b) > 2; n++ {
		if n == maxFields {
			return &ProtocolError{"too many header fields"}
		}
		if b[0] == ' ' || b[0] == '\t' {
			return &ProtocolError{"folded header line"}
		}
		end := bytes.IndexByte(b, '\n') - 1
		colon := bytes.IndexByte(b[:end], ':')
		if colon <= 0 || !canonicalize(b[:colon]) {
			return &ProtocolError{"bad header field name"}
		}
		if !llm.FieldValue(b[colon+1 : end]) {
			return &ProtocolError{"control character in a header field"}
		}
		b = b[end+2:]
	}
	return nil
}

// cutField takes the first of some field lines, which were checked, off the
// others.
func cutField(lines string) (f llm.Field, rest string) {
	colon, end := strings.IndexByte(lines, ':'), strings.IndexByte(lines, '\r')
	return llm.Field{Name: lines[:colon], Value: strings.Trim(lines[colon+1:end], " \t")}, lines[end+2:]
}

// note takes in a field that the codec itself has to obey.
func (h *Head) note(f llm.Field) error {
	switch f.Name {
	case "Content-Length":
		n, ok := parseLength(f.Value)
		if !ok {
			return &ProtocolError{"bad Content-Length"}
		}
		if h.length {
			return &ProtocolError{"repeated Content-Length"}
		}
		h.length, h.Length = true, n
	case "Transfer-Encoding":
		if h.chunked {
			return &ProtocolError{"repeated Transfer-Encoding"}
		}
		if !strings.EqualFold(f.Value, "chunked") {
			return &ProtocolError{"Transfer-Encoding other than chunked"}
		}
		h.chunked = true
	case "Connection":
		for option := range strings.SplitSeq(f.Value, ",") {
			option = strings.Trim(option, " \t")
			h.close = h.close || strings.EqualFold(option, "close")
			h.keep = h.keep || strings.EqualFold(option, "keep-alive")
		}
	case "Upgrade":
		h.upgrade = f.Value
	case "Keep-Alive":
		h.noteKeepAlive(f.Value)
	}
	return nil
}

// noteKeepAlive reads the hint "timeout=N" in seconds. What it cannot read it
// passes over, since the field is only a hint.
func (h *Head) noteKeepAlive(value string) {
	for param := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.Trim(name, " \t"), "timeout") {
			continue
		}
		if n, ok := parseLength(strings.Trim(v, " \t\"")); ok {
			h.KeepAliveTimeout = time.Duration(min(n, 24*3600)) * time.Second
		}
	}
}
