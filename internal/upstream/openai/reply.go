package openai

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/outline"
	"sluice/internal/upstream"
)

const (
	// maxUnary is the largest reply that is held whole, in bytes. A larger one
	// goes on in pieces.
	maxUnary = 1 << 20
	// unannounced is the room that a reply of unknown length gets at first, in bytes.
	unannounced = 16 << 10
)

// whole is what goes out with a reply that is held whole, kept for use again.
type whole struct {
	head  llm.Head
	event [1]llm.Event
}

// unary collects a reply, so that a cut before its end leaves the request free
// to go elsewhere, and so that a slow client does not keep the connection. read
// is what was already read of it.
func (h *Handler) unary(op llm.Operation, r *upstream.Reply, read []byte, out llm.Sink, begun time.Time) error {
	if r.Length > maxUnary {
		return h.pieces(r, read, out, begun, false)
	}
	w := h.wholes.Get().(*whole)
	held, err := h.hold(r, read)
	defer func() {
		h.client.Buffers().Put(held)
		*w = whole{}
		h.wholes.Put(w)
	}()
	if held == nil {
		return err
	}
	body := held.B
	if err == errLarger { //nolint:errorlint // hold returns it unwrapped
		return h.pieces(r, body, out, begun, false)
	}
	if err != nil {
		return err
	}
	if r.CloseDelimited && known.Answers(op) {
		if err := jsonscan.Validate(body, 0); err != nil {
			return h.unsound(body, err)
		}
	}
	waited := time.Since(begun)
	r.Close()
	said := outlined(op, body)
	if said.Failed {
		body = h.secrets.Redact(body) // services tell which key they did not like
		said = outline.Read(body)
	}
	if said.Failed && said.Nothing {
		return told(body, h.name, h.secrets) // the head has not gone out, so it is the reply
	}
	w.head = llm.Head{
		Status: r.Status, Kind: llm.Unary, Header: r.Header, Length: int64(len(body)), Upstream: h.name,
		Attempts: 1, Waited: waited, Queued: r.Queued, Outline: said,
	}
	if err := out.Start(&w.head); err != nil {
		return err
	}
	unfit := known.Answers(op) && r.Status == 200 && !said.Failed && !bracketed(body)
	w.event[0] = llm.Event{Raw: body, Failed: said.Failed || unfit}
	err = out.Send(w.event[:])
	switch {
	case unfit:
		return unreadable(h.name)
	case said.Failed: // which goes before that the client may have left
		e := told(body, h.name, h.secrets)
		e.Ended = err == nil
		return e
	}
	return err
}

// unsound is the error of a reply that ended where the connection did and is no JSON: it was
// cut, unless it ends as an object does and the fault is not that more had to follow.
func (h *Handler) unsound(body []byte, err error) error {
	if fault, ok := errors.AsType[*jsonscan.Error](err); ok && (fault.Limit || bracketed(body) && fault.Offset < len(body)) {
		return llm.UpstreamError(h.name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s answered with status 200 and something that is not JSON.", err)
	}
	return cutOff(h.name)
}

// outlined reads a reply that is a model's. Vectors are long, and say no more of
// themselves than whether they are an error.
func outlined(op llm.Operation, body []byte) llm.Outline {
	if !known.Answers(op) || known.EmbedderOf(op) != nil && !outline.Fails(body) {
		return llm.Outline{}
	}
	return outline.Read(body)
}

// bracketed reports whether a body begins and ends as an object or an array does.
// That tells a page, and nearly every answer that was cut, from one that is whole,
// at no cost: whoever keeps a reply looks at all of it.
func bracketed(body []byte) bool {
	if kindOf(body) != object {
		return false
	}
	end := bytes.TrimRight(body, " \t\r\n")
	return end[len(end)-1] == '}' || end[len(end)-1] == ']'
}

// unreadable is the fault of a reply of status 200, which went on as it came, that
// is none of a model.
func unreadable(name string) *llm.Error {
	e := llm.UpstreamError(name, llm.Told, 502, "upstream_bad_reply", "Upstream %s answered with status 200 and something that is not JSON.", nil)
	e.Advice, e.Ended = llm.DoNotRetry, true
	return e
}

// errLarger says that a body is larger than the limit; what came was collected.
var errLarger = larger{}

type larger struct{}

func (larger) Error() string { return "the body is larger than its limit" }

// hold collects a reply, of which read has come already, as collect does. The
// buffer is to be given back, after an error too; it is nil where none was lent.
func (h *Handler) hold(r *upstream.Reply, read []byte) (*memory.Buffer, error) {
	room := unannounced
	if r.Length >= 0 {
		room = int(r.Length)
	}
	lender := h.client.Buffers()
	held, err := lender.Get(max(room, len(read)))
	if err != nil {
		return nil, err
	}
	held.B = append(held.B, read...)
	for {
		piece, err := r.Next()
		if err == io.EOF { //nolint:errorlint // Next returns it unwrapped
			return held, nil
		}
		if err != nil {
			return held, err
		}
		if need := len(held.B) + len(piece); need > cap(held.B) {
			if held, err = lender.Grow(held, max(min(4*cap(held.B), maxUnary), need)); err != nil {
				return held, err
			}
		}
		if held.B = append(held.B, piece...); len(held.B) > maxUnary {
			return held, errLarger
		}
	}
}

// collect appends the rest of a body to dst until more than limit bytes came.
func collect(r *upstream.Reply, dst []byte, limit int) ([]byte, error) {
	if r.Length > 0 && r.Length <= int64(limit) {
		dst = slices.Grow(dst, int(r.Length))
	}
	for {
		piece, err := r.Next()
		if err == io.EOF { //nolint:errorlint // Next returns it unwrapped
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		dst = append(dst, piece...)
		if len(dst) > limit {
			return dst, errLarger
		}
	}
}

// isPage reports whether a page, such as a proxy's, stands in the place of a model's
// answer.
func isPage(op llm.Operation, r *upstream.Reply) bool {
	return known.Answers(op) && r.Status == 200 && mediaType(r.Get("Content-Type"), "text/html")
}

// pieces hands a body on as it comes, after the part that was already read. One that
// is unfit goes on too, and is a failure.
func (h *Handler) pieces(r *upstream.Reply, read []byte, out llm.Sink, begun time.Time, unfit bool) error {
	if err := h.startPieces(r, out, begun); err != nil {
		return err
	}
	if err := handOn(r, read, out, unfit); err != nil || !unfit {
		return err
	}
	return unreadable(h.name)
}

func (h *Handler) startPieces(r *upstream.Reply, out llm.Sink, begun time.Time) error {
	return out.Start(&llm.Head{
		Status: r.Status, Kind: llm.Pieces, Header: r.Header, Length: r.Length, Upstream: h.name,
		Attempts: 1, Waited: time.Since(begun), Queued: r.Queued,
	})
}

// tunnel hands on what both sides send once the upstream has left HTTP.
func (h *Handler) tunnel(r *upstream.Reply, from io.Reader, out llm.Sink, begun time.Time) error {
	if err := h.startPieces(r, out, begun); err != nil {
		return err
	}
	go r.Pour(from)
	return handOn(r, nil, out, false)
}

// handOn hands on what was read and then the rest, marked as a failure where it is
// one.
func handOn(from source, read []byte, out llm.Sink, failed bool) error {
	event := [1]llm.Event{{Failed: failed}}
	piece := read
	for {
		if len(piece) > 0 {
			event[0].Raw = piece
			err := out.Send(event[:])
			event[0].Raw = nil // what waits keeps no buffer alive
			if err != nil {
				return err
			}
		}
		var err error
		if piece, err = from.Next(); err != nil {
			if err == io.EOF { //nolint:errorlint // Next returns it unwrapped
				return nil
			}
			return err
		}
	}
}

// clientFields gives the fields of a reply that a client may see, in place of
// header. None of them holds the upstream's key, which a proxy or a server for
// testing may repeat.
func (h *Handler) clientFields(header []llm.Field, status int) []llm.Field {
	kept := header[:0]
	for i := range header {
		f := header[i]
		if !llm.ForClient(f.Name, status) || h.secrets.In(f.Name) {
			continue
		}
		f.Value = h.secrets.RedactField(f.Value)
		kept = append(kept, f)
	}
	clear(header[len(kept):])
	return kept
}

// isJSON reports whether a reply is JSON by its type. Where an operation's
// reply is always JSON a missing type is taken for it.
func isJSON(contentType string, op llm.Operation) bool {
	if contentType == "" {
		return op != llm.Passthrough
	}
	if mediaType(contentType, "application/json") {
		return true
	}
	name, _, _ := strings.Cut(contentType, ";")
	return strings.HasSuffix(strings.ToLower(strings.TrimSpace(name)), "+json")
}

// mediaType reports whether a Content-Type is the one named, whatever its
// parameters and case (RFC 9110 section 8.3.1).
func mediaType(contentType, want string) bool {
	if len(contentType) < len(want) || !strings.EqualFold(contentType[:len(want)], want) {
		return false
	}
	rest := strings.TrimLeft(contentType[len(want):], " \t")
	return rest == "" || rest[0] == ';'
}
