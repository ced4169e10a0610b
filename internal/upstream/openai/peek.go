package openai

import (
	"bytes"
	"io"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// maxPeek bounds what is read of a body before it has to show what it is, in
// bytes.
const maxPeek = 4 << 10

// kind is what the beginning of a body shows.
type kind uint8

const (
	unknown kind = iota // too little came
	events              // server-sent events
	object              // JSON
	other
)

// mislabelled answers a call for a stream whose reply is not called one. Some
// upstreams, and proxies before them, give events a wrong type or none; others
// answer every call with a whole reply. The body itself says which it is. Its
// type goes on as it came.
func (h *Handler) mislabelled(req *llm.Request, r *upstream.Reply, out llm.Sink, begun time.Time) error {
	read, is, err := peek(r, h.stream, begun)
	if err != nil {
		return err
	}
	await(&h.stream, r, begun, true)
	json := isJSON(r.Get("Content-Type"), req.Op)
	switch {
	case is == events:
		return h.relay(req, r, read, out, begun)
	case is != other && json:
		return h.unary(req.Op, r, read, out, begun)
	default:
		unfit := isPage(req.Op, r) || json && known.Answers(req.Op) && r.Status == 200 && kindOf(read) == other
		return h.pieces(r, read, out, begun, unfit)
	}
}

// peek reads a body until it shows what it is. read is valid until the body is
// read on; unknown is a body that has come to its end. begun is when its request
// went out.
func peek(body source, cfg upstream.StreamConfig, begun time.Time) (read []byte, is kind, err error) {
	for {
		await(&cfg, body, begun, false)
		piece, err := body.Next()
		switch {
		case err == io.EOF: //nolint:errorlint // Next returns it unwrapped
			return read, is, nil
		case err != nil:
			return nil, is, err
		case read == nil: // nearly always all that it takes
			read = piece
		default:
			read = append(read, piece...)
		}
		if is = kindOf(read); is != unknown {
			return read, is, nil
		}
		if len(read) > maxPeek {
			return read, other, nil
		}
		read = bytes.Clone(read)
	}
}

// kindOf tells a body by its beginning, past a byte order mark and white space.
func kindOf(b []byte) kind {
	const mark = "\ufeff"
	if len(b) < len(mark) && bytes.HasPrefix([]byte(mark), b) {
		return unknown
	}
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte(mark)), " \t\r\n")
	if len(b) == 0 {
		return unknown
	}
	switch b[0] {
	case '{', '[':
		return object
	case ':': // a comment
		return events
	}
	for _, name := range [...]string{"data:", "event:", "id:", "retry:"} {
		if bytes.HasPrefix(b, []byte(name)) {
			return events
		}
		if bytes.HasPrefix([]byte(name), b) {
			return unknown
		}
	}
	return other
}
