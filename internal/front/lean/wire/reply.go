package wire

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
)

// ErrField is wrapped by the error of a reply that has a field which would not be
// read as it is meant: its name is no token, or its value has a control character,
// with which one reply could be made two.
var ErrField = errors.New("field cannot be sent")

// ErrStatus is wrapped by the error of a reply whose status has not three digits, or
// is not final.
var ErrStatus = errors.New("no status of a reply")

const (
	// Continue tells a client that waits for it to send its body.
	Continue = "HTTP/1.1 100 Continue\r\n\r\n"

	// ChunkEnd stands after the bytes of a chunk, LastChunk after all chunks.
	ChunkEnd  = "\r\n"
	LastChunk = "0\r\n\r\n"
)

// Framing is how a client sees where a reply's body ends.
type Framing uint8

const (
	NoBody  Framing = iota // there is none, whatever the fields say
	Sized                  // by its length
	Chunked                // by the last chunk
	ToClose                // by the connection's end, as HTTP/1.0 has no chunks
)

// Reply is what decides how a reply is written, besides what it is.
type Reply struct {
	Head  bool // HEAD was asked for
	Minor int  // of the request's version
	Close bool // the connection ends with the reply; set by AppendHead where it has to

	// Framing of the body, set by AppendHead.
	Framing Framing
}

// Reply gives how the reply to h is to be written.
func (h *Head) Reply() Reply {
	return Reply{Head: h.Method == "HEAD", Minor: h.Minor, Close: !h.Persistent}
}

// AppendHead appends the head of a reply. date is the value of Date, see AppendDate,
// which one among the fields takes the place of. The other fields that are between
// the server and its client are r's: what the head has of them is left out. The
// error wraps ErrField or ErrStatus; dst is returned as it was then.
func (r *Reply) AppendHead(dst []byte, h *engine.Head, date []byte) ([]byte, error) {
	if h.Status < 200 || h.Status > 999 {
		return dst, fmt.Errorf("write reply: %w: %d", ErrStatus, h.Status)
	}
	r.Close = r.Close || h.Close
	bodiless := h.Status == 204 || h.Status == 304
	switch {
	case bodiless || r.Head:
		r.Framing = NoBody
	case h.Length >= 0:
		r.Framing = Sized
	case r.Minor > 0:
		r.Framing = Chunked
	default:
		r.Framing, r.Close = ToClose, true
	}

	b := r.appendStatus(dst, h.Status)
	dated := false
	for i := 0; i < h.Fields.Len(); {
		name, values := h.Fields.Run(i)
		i += len(values)
		switch name {
		case "Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding":
			continue
		case "Content-Type":
			if h.Status == 304 { // which has no content to describe (RFC 9110 section 15.4.5)
				continue
			}
		case "Date":
			dated = true
		}
		for _, value := range values {
			var ok bool
			if b, ok = appendField(b, name, value); !ok {
				return dst, fmt.Errorf("write reply: %w: %.40q", ErrField, name)
			}
		}
	}
	if !dated {
		b = append(append(append(b, "Date: "...), date...), "\r\n"...)
	}
	switch {
	case r.Framing == Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case h.Length >= 0 && !bodiless:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, h.Length, 10), "\r\n"...)
	}
	switch {
	case r.Close:
		b = append(b, "Connection: close\r\n"...)
	case r.Minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// appendStatus appends the status line, in the request's version.
func (r *Reply) appendStatus(dst []byte, status int) []byte {
	switch {
	case r.Minor == 0:
		dst = append(dst, "HTTP/1.0 "...)
	case status == 200:
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	default:
		dst = append(dst, "HTTP/1.1 "...)
	}
	dst = append(strconv.AppendInt(dst, int64(status), 10), ' ')
	return append(append(dst, phrase(status)...), "\r\n"...)
}

func appendField(dst []byte, name, value string) ([]byte, bool) {
	if name == "" {
		return dst, false
	}
	for i := range len(name) {
		if class[name[i]]&token == 0 {
			return dst, false
		}
	}
	if !llm.FieldValue(value) {
		return dst, false
	}
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...), true
}

// AppendChunkSize appends what stands before the n bytes of a chunk. A chunk of none
// would be the last.
func AppendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), "\r\n"...)
}

// AppendChunk appends a whole chunk, nothing for an empty one.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	return append(append(AppendChunkSize(dst, len(data)), data...), ChunkEnd...)
}

// AppendDate appends a time as Date has it.
func AppendDate(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "Mon, 02 Jan 2006 15:04:05 GMT")
}
