package http1

import (
	"bytes"

	"sluice/internal/llm"
)

// chunkState is a place in the chunked coding (RFC 9112 section 7.1).
type chunkState uint8

const (
	atSize      chunkState = iota // before or amid the digits of a size
	atExtSpace                    // in white space after a size: a ';' must come
	atExt                         // in a chunk extension
	atSizeLF                      // after the CR of a size line
	atData                        // in chunk data
	atDataCR                      // after chunk data
	atDataLF                      // after the CR behind chunk data
	atTrailer                     // at the start of a trailer line
	atName                        // in a trailer's name
	atValue                       // in a trailer's value
	atTrailerLF                   // after the CR of a trailer line
	atEndLF                       // after the CR of the last line
	atEnd
)

// chunkParser holds what there is to know about the framing bytes seen so far,
// so that none of them has to be kept over to the next read.
type chunkParser struct {
	state   chunkState
	digits  int // of the size so far
	line    int // bytes of the size line so far
	trailer int // bytes of the trailers so far
	fields  int // trailer fields so far
}

// dechunk takes the framing out of buf[r:w] in place and returns the chunk data
// as one slice.
func (c *Conn) dechunk() []byte {
	start := -1 // where the data begins
	end := 0    // where the data found so far ends
	for c.r < c.w {
		if c.chunk.state == atData {
			n := int(min(c.left, int64(c.w-c.r)))
			if start < 0 {
				start, end = c.r, c.r+n
			} else {
				end += copy(c.buf[end:], c.buf[c.r:c.r+n])
			}
			c.r += n
			c.left -= int64(n)
			if c.left == 0 {
				c.chunk.state = atDataCR
			}
			continue
		}
		reason := c.chunkByte(c.buf[c.r])
		c.r++
		if reason != "" {
			_ = c.fail("read reply body", &ProtocolError{reason}) // Next reports it
			break
		}
		if c.chunk.state == atEnd {
			c.phase = idle
			break
		}
	}
	if start < 0 {
		return nil
	}
	return c.buf[start:end]
}

// chunkByte takes one byte that is not chunk data. It returns what is wrong
// with it, "" when nothing is.
func (c *Conn) chunkByte(b byte) string {
	p := &c.chunk
	switch p.state {
	case atSize, atExtSpace, atExt:
		if p.line++; p.line > c.limits.MaxChunkLine {
			return "chunk size line too long"
		}
		return c.sizeByte(b)
	case atSizeLF:
		if b != '\n' {
			return "chunk size line that does not end in CRLF"
		}
		p.state = atData
		if c.left == 0 {
			p.state = atTrailer
		}
		p.digits, p.line = 0, 0
	case atDataCR:
		if b != '\r' {
			return "chunk data that does not end in CRLF"
		}
		p.state = atDataLF
	case atDataLF:
		if b != '\n' {
			return "chunk data that does not end in CRLF"
		}
		p.state = atSize
	default:
		if p.trailer++; p.trailer > c.limits.MaxHead {
			return "trailers too large"
		}
		return c.trailerByte(b)
	}
	return ""
}

// sizeByte takes one byte of a size line: 1*HEXDIG *( BWS ";" extension ) CR.
func (c *Conn) sizeByte(b byte) string {
	p := &c.chunk
	digit := hexDigit(b)
	switch {
	case p.state == atSize && digit >= 0:
		// 15 digits fit an int64 and are more than any body has.
		if p.digits++; p.digits > 15 {
			return "chunk size too large"
		}
		c.left = c.left<<4 | int64(digit)
	case p.state == atSize && p.digits == 0:
		return "bad chunk size"
	case b == '\r' && p.state != atExtSpace:
		p.state = atSizeLF
	case p.state == atExt:
		if !isValueChar(b) {
			return "control character in a chunk extension"
		}
	case b == ';':
		p.state = atExt
	case b == ' ', b == '\t':
		p.state = atExtSpace
	default:
		return "bad chunk size"
	}
	return ""
}

// trailerByte takes one byte after the last chunk. Trailer fields are checked
// like header fields, and kept for Trailer.
func (c *Conn) trailerByte(b byte) string {
	p := &c.chunk
	switch p.state {
	case atTrailer:
		switch {
		case b == '\r':
			p.state = atEndLF
			return ""
		case !isTokenChar(b):
			return "bad trailer field"
		}
		if p.fields++; p.fields > c.limits.MaxFields {
			return "too many trailer fields"
		}
		p.state = atName
	case atName:
		switch {
		case b == ':':
			p.state = atValue
		case !isTokenChar(b):
			return "bad trailer field"
		}
	case atValue:
		switch {
		case b == '\r':
			p.state = atTrailerLF
		case !isValueChar(b):
			return "control character in a trailer field"
		}
	default: // atTrailerLF, atEndLF
		if b != '\n' {
			return "trailer line that does not end in CRLF"
		}
		if p.state == atEndLF {
			p.state = atEnd
			return ""
		}
		p.state = atTrailer
	}
	c.trailers = append(c.trailers, b)
	return ""
}

// Trailer returns the trailer fields of a reply that Next has brought to its
// end, as Head.Header has the others; nil where there are none. They are the
// caller's, and given once.
func (c *Conn) Trailer() []llm.Field {
	b := c.trailers
	if c.phase != idle || len(b) == 0 {
		return nil
	}
	c.trailers = nil // an idle connection holds none
	for line := b; len(line) > 0; line = line[bytes.IndexByte(line, '\n')+1:] {
		canonicalize(line[:bytes.IndexByte(line, ':')])
	}
	fields := make([]llm.Field, 0, c.chunk.fields)
	for rest := string(b); rest != ""; {
		var f llm.Field
		f, rest = cutField(rest)
		fields = append(fields, f)
	}
	return fields
}

func hexDigit(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return int(b|0x20-'a') + 10
	}
	return -1
}
