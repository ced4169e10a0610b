package front

import (
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// readRequest reads and checks what the handlers need of the request.
func (x *exchange) readRequest() error {
	x.forwardHeader()
	x.req.Method, x.req.RawQuery = x.r.Method, x.r.URL.RawQuery
	x.req.Cache = cachePolicy(x.r.Header)
	x.body.open(x)
	switch x.req.Op {
	case llm.ListModels, llm.GetModel:
		boundUnread(x.w, x.r, x.st.cfg.BodyTimeout)
		return nil
	case llm.Passthrough:
		boundUnread(x.w, x.r, x.st.cfg.BodyTimeout) // upstreams may answer before they take it
		return x.readPassthrough()
	}
	if err := checkContentType(x.r.Header); err != nil {
		return err
	}
	if err := x.hold(x.st.cfg.MaxBodyBytes); err != nil {
		return err
	}
	return x.scan()
}

// checkContentType accepts JSON. A body without a type is taken for JSON too.
func checkContentType(h http.Header) error {
	if values := h["Content-Encoding"]; len(values) > 0 && values[0] != "identity" {
		return llm.Errorf(http.StatusUnsupportedMediaType, "unsupported_content_encoding", "The body's Content-Encoding %q is not supported. Send it as it is.", values[0])
	}
	values := h["Content-Type"]
	if len(values) == 0 || values[0] == "application/json" || isJSON(values[0]) {
		return nil
	}
	return llm.Errorf(http.StatusUnsupportedMediaType, "unsupported_content_type", "The Content-Type %q is not supported here. Send the header Content-Type: application/json", values[0])
}

// isJSON goes by the media type alone: JSON has no parameters, and those that
// clients send all the same, such as charset, mean nothing (RFC 8259 section 11).
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.Trim(kind, " \t"), "application/json")
}

// hold reads the whole body, at most limit bytes.
func (x *exchange) hold(limit int64) error {
	x.body.limit = limit
	length := x.r.ContentLength
	if length > limit {
		return x.refuseBody(errTooLarge(limit))
	}
	// One byte more, so that the end is seen without another buffer; and no more
	// than is kept, since what a client announces is not what it sends.
	room := int(min(length+1, memory.Largest))
	if length < 0 {
		room = unannounced
	}
	var err error
	if x.buf, err = x.s.buffers.Get(room); err != nil {
		return x.refuseBody(err)
	}
	for {
		if n := len(x.buf.B); n == cap(x.buf.B) {
			if x.buf, err = x.s.buffers.Grow(x.buf, roomier(n, n+1)); err != nil {
				return x.refuseBody(err)
			}
		}
		b := x.buf.B
		n, err := x.body.Read(b[len(b):cap(b)])
		x.buf.B = b[:len(b)+n]
		if err == io.EOF { //nolint:errorlint // body.Read returns it unwrapped
			break
		}
		if err != nil {
			return err
		}
	}
	x.req.Body, x.req.BodyLen = x.buf.B, int64(len(x.buf.B))
	return nil
}

// unannounced is the room that a body of unknown length gets at first, in bytes.
const unannounced = 16 << 10

// refuseBody has err be the answer to a body that is not read to its end.
func (x *exchange) refuseBody(err error) error {
	boundUnread(x.w, x.r, x.st.cfg.BodyTimeout)
	x.body.err = err
	return err
}

// scan validates the body and finds the members that decide where it goes.
func (x *exchange) scan() error {
	body := x.req.Body
	prompt := false // /v1/responses: a stored prompt names its own model
	err := jsonscan.Members(body, x.st.cfg.MaxJSONDepth, func(key []byte, value llm.Span) error {
		switch string(key) {
		case "model":
			return x.setModel(body, value)
		case "stream":
			return x.setStream(body[value.Start:value.End])
		case "prompt":
			prompt = true
		}
		return nil
	})
	if fault, ok := errors.AsType[*jsonscan.Error](err); ok {
		return errJSON(body, fault)
	}
	if err != nil {
		return err
	}
	if x.req.Model == "" && !(x.req.Op == llm.Response && prompt) {
		return errParam("missing_required_parameter", "model", "The request names no model. Give one as \"model\".")
	}
	return nil
}

func (x *exchange) setModel(body []byte, value llm.Span) error {
	if x.req.ModelSpan.End > 0 {
		return errParam("duplicate_parameter", "model", "\"model\" is given twice.")
	}
	model, err := jsonscan.String(body[value.Start:value.End])
	if err != nil {
		return errParam("invalid_type", "model", "\"model\" is not a string.")
	}
	x.req.Model, x.req.ModelSpan = model, value
	return nil
}

func (x *exchange) setStream(value []byte) error {
	if x.streamSeen {
		return errParam("duplicate_parameter", "stream", "\"stream\" is given twice.")
	}
	x.streamSeen = true
	on, ok := jsonscan.Bool(value)
	if !ok && string(value) != "null" {
		return errParam("invalid_type", "stream", "\"stream\" is neither true nor false.")
	}
	x.req.Stream = on && x.req.Op != llm.Embedding
	return nil
}

// body reads a request's body under its limits of size and time.
type body struct {
	src      io.ReadCloser
	control  interface{ SetReadDeadline(time.Time) error }
	timeout  time.Duration
	limit, n int64
	began    time.Time
	live     bool        // it comes as slowly as its messages are made
	whole    atomic.Bool // it was read to its end
	err      error       // why it could not be read to its end
}

// leastRate is how fast a body has to arrive on average, in bytes a second.
const leastRate = 1 << 10

func (b *body) open(x *exchange) {
	b.src, b.began, b.timeout = x.r.Body, x.begun, x.st.cfg.BodyTimeout
	b.control, _ = x.w.(interface{ SetReadDeadline(time.Time) error })
}

// Read implements io.Reader. Its errors are io.EOF and those meant for a client.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.control != nil {
		// A deadline would end net/http's watch for the client's leaving as well,
		// which begins with the body's end, so it is taken back then.
		due := time.Now().Add(b.timeout)
		if earned := b.began.Add(b.timeout + time.Duration(b.n)*time.Second/leastRate); earned.Before(due) && !b.live {
			due = earned
		}
		_ = b.control.SetReadDeadline(due)
	}
	n, err := b.src.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.limit:
		b.err = errTooLarge(b.limit)
		return 0, b.err
	case err == nil:
		return n, nil
	}
	// After a fault the deadline stays: net/http reads what is left of a body
	// before it writes the reply, and would wait for it.
	if err == io.EOF {
		b.whole.Store(true)
		if b.control != nil {
			_ = b.control.SetReadDeadline(time.Time{})
		}
		return n, io.EOF
	}
	e := llm.Errorf(http.StatusBadRequest, "incomplete_body", "The request's body ended before its announced end.")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e = llm.Errorf(http.StatusRequestTimeout, "request_timeout", "The request's body came too slowly.")
	}
	e.Err = err
	b.err = e
	return n, b.err
}

// requestID returns the client's id for the request if it is fit for a header
// and a log, else a new one.
func requestID(h http.Header) string {
	if values := h["X-Request-Id"]; len(values) == 1 && saneID(values[0]) {
		return values[0]
	}
	const prefix = "req_"
	var raw [16]byte
	var text [len(prefix) + 2*len(raw)]byte
	copy(text[:], prefix)
	for i := 0; i < len(raw); i += 8 {
		n := rand.Uint64()
		for j := range 8 {
			raw[i+j] = byte(n >> (8 * j))
		}
	}
	hex.Encode(text[len(prefix):], raw[:])
	return string(text[:])
}

func saneID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// forwarding says which further request fields upstreams may see.
type forwarding struct {
	names    []string // canonical
	prefixes []string // canonical, without the "*"
}

func newForwarding(list []string) forwarding {
	var f forwarding
	for _, name := range list {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			f.prefixes = append(f.prefixes, http.CanonicalHeaderKey(prefix))
		} else if name = http.CanonicalHeaderKey(name); !slices.Contains(forwarded(), name) {
			f.names = append(f.names, name)
		}
	}
	return f
}

// forwarded are the fields that upstreams always see.
func forwarded() []string {
	return []string{
		"Accept", "Content-Type", "User-Agent", "Idempotency-Key", "Openai-Beta",
		"Traceparent", "Tracestate", "X-Request-Id", "X-Client-Request-Id",
	}
}

// withheld reports whether no upstream may see a field: the client's
// credentials, and what belongs to its connection.
func withheld(name string) bool {
	switch name {
	case "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key",
		"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol":
		return true
	}
	return llm.OfTransport(name)
}

// forwardHeader copies the fields that an upstream may see.
func (x *exchange) forwardHeader() {
	h := x.r.Header
	x.req.Header = x.fields[:0]
	x.forwardTrace()
	for _, name := range x.s.forwarded {
		x.forwardField(h, name)
	}
	if x.req.Op == llm.Passthrough {
		x.forwardField(h, "Content-Encoding")
		x.forwardField(h, "Range")
	}
	f := &x.st.forward
	for _, name := range f.names {
		x.forwardField(h, name)
	}
	if len(f.prefixes) == 0 {
		return
	}
	for name := range h {
		if slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) &&
			!withheld(name) && x.req.Get(name) == "" {
			x.forwardField(h, name)
		}
	}
}

func (x *exchange) forwardField(h http.Header, name string) {
	values := h[name]
	if len(values) == 0 || name == "X-Request-Id" && values[0] != x.req.ID || x.dropsTrace(name) {
		return
	}
	for _, options := range h["Connection"] {
		if llm.Nominates(options, name) {
			return
		}
	}
	for _, v := range values {
		x.req.Header = append(x.req.Header, llm.Field{Name: name, Value: v})
	}
}
