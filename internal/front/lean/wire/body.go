package wire

// Body takes the framing off a request's body. It looks at each byte once and keeps
// none, so that a body can come in any pieces. The zero Body is an empty one.
type Body struct {
	// left is what of the body, or of the chunk, has not been given.
	left  int64
	state bodyState

	digits  int // of the size of a chunk
	line    int // bytes of a chunk's size with its extension
	excess  int // see maxExcess
	trailer int // bytes of the trailers
	name    [maxFramingName]byte
	named   int // bytes of a trailer's name, of which name has the first
	err     error
}

// bodyState is what comes next.
type bodyState uint8

const (
	bodyWhole     bodyState = iota // nothing
	bodySized                      // left bytes, the last ones
	chunkSize                      // hexadecimal digits
	chunkExt                       // what stands after the size
	chunkSizeLF                    // LF
	chunkData                      // left bytes
	chunkCR                        // CR
	chunkLF                        // LF
	trailerBegins                  // a trailer's name, or CR
	trailerName                    // more of that
	trailerValue                   //
	trailerLF                      // LF
	lastLF                         // LF
)

// after is what follows when all of a kind has come.
var after = [...]bodyState{bodySized: bodyWhole, chunkData: chunkCR}

const (
	maxChunkDigits = 15      // so that a size fits an int64
	maxChunkLine   = 256     // bytes of a size with its extension
	maxTrailer     = 4 << 10 // bytes of all trailers

	// maxExcess bounds what comes of sizes and extensions beyond what is due to the
	// chunks, in bytes: each has lineDue, and twice what it holds. Small chunks are
	// as good as large ones, but not a body that is all extensions.
	maxExcess = 4 << 10
	lineDue   = 16

	maxFramingName = len("transfer-encoding")
)

// Begin makes b ready for the body of a request.
func (b *Body) Begin(h *Head) {
	*b = Body{}
	switch {
	case h.Length < 0:
		b.state = chunkSize
	case h.Length > 0:
		b.state, b.left = bodySized, h.Length
	}
}

// Whole reports whether the body has ended: what comes next is another request.
func (b *Body) Whole() bool { return b.state == bodyWhole }

// Left is how many bytes of the body are still to come. Of one in chunks that is not
// known, but for those of the chunk that has begun.
func (b *Body) Left() (n int64, known bool) { return b.left, b.state <= bodySized }

// Next takes the first n bytes of p, and gives what is body in them: a part of p, up
// to where a chunk ends. Where nothing is given, either the body is Whole, or all of
// p was taken and more has to come. The error is a *Refusal, at every later call too.
func (b *Body) Next(p []byte) (data []byte, n int, err error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	for n < len(p) && b.state != bodyWhole {
		if b.state == bodySized || b.state == chunkData {
			data = p[n:][:min(int64(len(p)-n), b.left)]
			n += len(data)
			if b.left -= int64(len(data)); b.left == 0 {
				b.state = after[b.state]
			}
			return data, n, nil
		}
		if r := b.framing(p[n]); r != nil {
			b.err = r
			return nil, n, r
		}
		n++
	}
	return nil, n, nil
}

// framing takes a byte that is none of the body's (RFC 9112 section 7.1).
func (b *Body) framing(c byte) *Refusal {
	const noLF = "A chunk has CR without LF."
	switch b.state {
	case chunkSize, chunkExt:
		return b.size(c)
	case chunkSizeLF:
		if c != '\n' {
			return malformed(noLF)
		}
		return b.begin()
	case chunkCR:
		if c != '\r' {
			return malformed("A chunk does not end where its size says.")
		}
		b.state = chunkLF
	case chunkLF:
		if c != '\n' {
			return malformed(noLF)
		}
		b.state, b.digits, b.line = chunkSize, 0, 0
	case lastLF:
		if c != '\n' {
			return malformed(noLF)
		}
		b.state = bodyWhole
	default:
		return b.trail(c)
	}
	return nil
}

// size takes a byte of the line with which a chunk begins. Whitespace at its end, or
// before an extension, is none that anybody has to take.
func (b *Body) size(c byte) *Refusal {
	b.line++
	if b.line > maxChunkLine {
		return malformed("A chunk's extension is longer than the gateway takes.")
	}
	if c == '\r' || c == ';' {
		if b.digits == 0 {
			return malformed("A chunk has no size.")
		}
		if b.state = chunkExt; c == '\r' {
			b.state = chunkSizeLF
		}
		return nil
	}
	if b.state == chunkExt {
		if class[c]&text == 0 {
			return malformed("A chunk's extension has a control character.")
		}
		return nil
	}
	d := hexDigit(c)
	if d < 0 {
		return malformed("A chunk's size is no hexadecimal number.")
	}
	if b.digits++; b.digits > maxChunkDigits {
		return malformed("A chunk's size has too many digits.")
	}
	b.left = b.left<<4 | int64(d)
	return nil
}

// begin begins the chunk whose size has come.
func (b *Body) begin() *Refusal {
	due := int64(lineDue)
	due += 2 * min(b.left, 1<<40)
	b.excess = int(max(int64(b.excess+b.line+len("\r\n"))-due, 0))
	if b.excess > maxExcess {
		return malformed("The body has more chunk extensions than content.")
	}
	b.state = chunkData
	if b.left == 0 {
		b.state = trailerBegins
	}
	return nil
}

// trail takes a byte of the trailers, which are read as strictly as fields are, and
// dropped.
func (b *Body) trail(c byte) *Refusal {
	if b.trailer++; b.trailer > maxTrailer {
		return malformed("The trailers are longer than the gateway takes.")
	}
	switch b.state {
	case trailerLF:
		if c != '\n' {
			return malformed("A trailer has a control character.")
		}
		b.state = trailerBegins
		return nil
	case trailerValue:
		if c == '\r' {
			b.state = trailerLF
		} else if class[c]&text == 0 {
			return malformed("A trailer has a control character.")
		}
		return nil
	case trailerBegins:
		if c == '\r' {
			b.state = lastLF
			return nil
		}
		b.state, b.named = trailerName, 0
	}
	if c == ':' {
		if b.named == 0 {
			return malformed("A trailer has no name.")
		}
		if b.named <= len(b.name) && frames(b.name[:b.named]) {
			return malformed("A trailer frames the request.")
		}
		b.state = trailerValue
		return nil
	}
	if class[c]&token == 0 {
		return malformed("A trailer's name is no token, or is not followed by a colon at once.")
	}
	if b.named < len(b.name) {
		b.name[b.named] = c
	}
	b.named++
	return nil
}
