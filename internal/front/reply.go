package front

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/front/engine"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// lossyHeader names what of a request was lost in translation.
const lossyHeader = "X-Sluice-Lossy"

// errMisuse is a handler's fault.
var errMisuse = errors.New("the handler broke the order of Start and Send")

// reply is the writing of a reply. It is the Sink of the handlers.
type reply struct {
	*given
	in  *request
	rec *record

	head    *engine.Head // that is being made; nil once that of a stream was written
	kind    llm.ReplyKind
	length  int64 // of the body, -1 for one that is not known
	status  int   // 0 before there is one, and where nobody waits for it
	started bool  // the handler gave a head
	wrote   bool  // the head is on its way
	wrapped bool  // its pieces are the one element of an array
	last    bool  // on its connection
	unsent  error // why the client has not all of it; see also stream.err

	stream stream
	tunnel *tunnel // of a request for a WebSocket, else nil
	unfit  bool    // a timer may still refer to it: not to be used again
	place  place
}

var _ llm.Sink = (*reply)(nil)

// reset forgets the reply.
func (out *reply) reset() {
	if out.head != nil {
		clearHead(out.head)
	}
	out.kind, out.length, out.status, out.started, out.wrote, out.wrapped, out.last = llm.Unary, 0, 0, false, false, false, false
	out.unsent, out.tunnel, out.place = nil, nil, place{}
	out.stream.reset()
}

func clearHead(h *engine.Head) {
	h.Fields.Clear()
	h.Status, h.Length, h.Close = 0, 0, false
}

// needHead has a reply have room for its head again.
func (out *reply) needHead() {
	if out.head != nil {
		return
	}
	var ok bool
	if out.head, ok = out.s.heads.Get().(*engine.Head); !ok {
		out.head = new(engine.Head)
	}
}

// lighten lets go of what a stream needs no more whose head has left: it may wait for
// minutes, and there may be thousands of them.
func (out *reply) lighten() {
	if out.head == nil {
		return
	}
	clearHead(out.head)
	out.s.heads.Put(out.head)
	out.head = nil
	out.e.Forget(func(string, []string) bool { return false })
}

// Start implements llm.Sink. Nothing is written before the first Send, so an
// error up to then still becomes a whole error reply.
func (out *reply) Start(h *llm.Head) error {
	if out.started {
		return errMisuse
	}
	committed := out.stopHeartbeat()
	out.started = true
	out.kind, out.length = h.Kind, h.Length
	out.rec.noteHead(h)
	if h.Sent && h.Kind == llm.EventStream && !out.rec.wantsBodies() {
		out.in.dropBody()
	}
	if committed {
		return out.startCommitted(h)
	}
	out.status = h.Status
	fields := &out.head.Fields
	fields.Set("X-Request-Id", out.in.req.ID)
	out.allowOrigin()
	if h.Upstream != "" {
		fields.Set("X-Sluice-Upstream", h.Upstream)
	}
	out.attemptsHeader(h.Attempts)
	if h.Batch > 0 {
		out.head.Fields.Set("X-Sluice-Batch-Size", strconv.Itoa(h.Batch))
	}
	if d := h.Deduped; d != (llm.Deduped{}) {
		fields.Set(dedupHeader, dedupText(d))
	}
	if h.Lossy != "" {
		fields.Set(lossyHeader, h.Lossy)
	}
	out.limitHeader()
	out.timingHeader(time.Since(out.begun))
	out.copyHeader(h.Header, h.Status) // a Server-Timing of the upstream's after ours
	if out.in.own != nil {
		fields.Set("Cache-Control", "no-store")
	}
	out.cacheHeader(h)
	if h.Kind == llm.EventStream {
		// An upstream's own type stays, right or wrong, and so does it that there is none.
		theirs, typed := fields.Get("Content-Type")
		out.streamHeader()
		switch {
		case !typed && out.in.form != arrayForm:
			fields.Del("Content-Type")
		case !hasFold(theirs, eventStream) && out.in.form != arrayForm:
			fields.Set("Content-Type", theirs)
		}
		out.openStream()
	}
	if h.Status == 101 {
		return out.startTunnel()
	}
	return nil
}

// hasFold reports whether s begins with prefix, whatever its case.
func hasFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// copyHeader takes over an upstream's fields. status is that of its reply.
func (out *reply) copyHeader(fields []llm.Field, status int) {
	for i := range fields {
		f := &fields[i]
		switch {
		case !llm.ForClient(f.Name, status), out.in.req.Meter != nil && ofLimits(f.Name):
		case f.Name == "X-Request-Id":
			out.head.Fields.Set("X-Upstream-Request-Id", f.Value)
		default:
			out.head.Fields.Add(f.Name, f.Value)
		}
	}
}

// attemptsHeader tells of a request that was sent to upstreams more than once.
func (out *reply) attemptsHeader(n int) {
	if n > 1 {
		out.head.Fields.Set("X-Sluice-Attempts", strconv.Itoa(n))
	}
}

// closes reports whether the connection is closed after the reply.
func (out *reply) closes() bool {
	return out.last || out.s.draining.Load() || out.answersEarly()
}

// answersEarly reports whether a reply begins while its request still comes. Where
// the rest does not come in time an engine may go on all the same, and take what
// does for the next request.
func (out *reply) answersEarly() bool {
	in := out.in
	return in.req.BodyReader != nil && in.own == nil && out.q.Length != 0 && !out.q.Many() && !in.body.whole.Load()
}

// cacheHeader says what a cache had to do with the reply. An Age that came with
// it is of another cache further up and is not the age any more.
func (out *reply) cacheHeader(h *llm.Head) {
	if h.Cache == 0 {
		return
	}
	fields := &out.head.Fields
	fields.Set("X-Cache", h.Cache.String())
	fields.Del("Age")
	// Both values stand in one string, for one allocation.
	var space [2*len(h.CacheKey) + 20]byte
	text := space[:0]
	if h.CacheKey != [32]byte{} {
		text = hex.AppendEncode(text, h.CacheKey[:])
	}
	n := len(text)
	if h.Age > 0 || h.Cache == llm.CacheHit || h.Cache == llm.CacheStale {
		text = strconv.AppendInt(text, int64(max(h.Age, 0)/time.Second), 10)
	}
	both := string(text)
	if n > 0 {
		fields.Set("X-Cache-Key", both[:n])
	}
	if n < len(both) {
		fields.Set("Age", both[n:])
	}
}

// startCommitted begins a reply after a heartbeat has begun the stream.
func (out *reply) startCommitted(h *llm.Head) error {
	if h.Kind == llm.Pieces || h.Status != 200 {
		return out.unexpected("something that is not an event stream, and cannot be made one")
	}
	return nil
}

// unexpected is that the upstream answered with something that the client cannot be given in the
// form of a stream that it wants.
func (out *reply) unexpected(what string) error {
	e := llm.Errorf(502, "unexpected_reply", "The model service answered with %s.", what)
	e.Fault, e.Upstream = llm.BadReply, out.rec.Upstream
	return e
}

// Send implements llm.Sink.
func (out *reply) Send(events []llm.Event) error {
	if !out.started {
		return errMisuse
	}
	if out.kind == llm.EventStream {
		return out.queue(events)
	}
	for i := range events {
		var err error
		out.rec.Told = out.rec.Told || events[i].Failed
		switch {
		case out.status == 101:
			err = out.tunnel.send(events[i].Raw)
		case out.stream.open || out.startArray(events[i].Raw):
			err = out.queueWhole(&events[i])
		case out.kind == llm.Unary:
			err = out.sendWhole(events[i].Raw)
		default:
			err = out.sendPiece(events[i].Raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// queueWhole sends a whole reply to a client to which events were promised: it is one of them. A list
// is that of all of them, as Google's API has it.
func (out *reply) queueWhole(e *llm.Event) error {
	body := bytes.TrimSpace(e.Raw)
	if !bytes.HasPrefix(body, []byte("[")) {
		return out.queue([]llm.Event{{Raw: sse.AppendEvent(nil, "", body), Failed: e.Failed}})
	}
	if jsonscan.Validate(body, 0) != nil {
		return out.unexpected("a list that is not JSON")
	}
	var events []llm.Event
	for element := range jsonscan.ElementsOf(body) {
		events = append(events, llm.Event{Raw: sse.AppendEvent(nil, "", element), Failed: e.Failed})
	}
	return out.queue(events)
}

func (out *reply) sendWhole(b []byte) error {
	if out.wrote {
		return errMisuse
	}
	out.rec.noteWhole(b)
	return out.whole(b)
}

// whole writes the head and the body.
func (out *reply) whole(b []byte) error {
	out.wrote = true
	out.head.Status, out.head.Close = out.status, out.closes()
	if !out.e.Holds(len(b)) {
		out.rec.mayEnd()
	}
	n, err := out.e.Whole(out.head, b)
	out.wroteBody(n)
	out.unsent = err
	return err
}

// begin writes the head, where that was not done, of a body of length bytes, -1 for
// a length that is not known.
func (out *reply) begin(length int64) {
	if !out.wrote {
		out.wrote = true
		out.head.Status, out.head.Length, out.head.Close = out.status, length, out.closes()
		out.e.Begin(out.head)
	}
}

func (out *reply) sendPiece(b []byte) error {
	if out.in.form == arrayForm && !out.wrote {
		if b = bytes.TrimLeft(b, " \t\r\n"); len(b) == 0 {
			return nil
		}
		switch b[0] {
		case '[':
			out.length = -1 // of what stood before
		case '{':
			out.length, out.wrapped = -1, true
			b = append([]byte("["), b...)
		default:
			return out.unexpected("something that is neither an event stream nor JSON")
		}
	}
	if !out.wrote {
		out.rec.answered(time.Since(out.begun))
		out.begin(out.length)
	}
	out.rec.notePiece(b)
	if out.length >= 0 && out.rec.BytesOut+int64(len(b)) >= out.length {
		out.rec.mayEnd()
	}
	n, err := out.e.Write(b)
	out.wroteBody(n)
	if err == nil && out.length < 0 {
		err = out.e.Flush()
	}
	out.unsent = err
	return err
}

// wroteBody counts n bytes of a body. Those of a reply to HEAD stay here.
func (out *reply) wroteBody(n int) {
	if out.q.Method != "HEAD" {
		out.rec.BytesOut += int64(n)
	}
}

// undelivered takes note of a reply that its client did not take to its end.
func (out *reply) undelivered() {
	cause := abortClient
	if errors.Is(cmp.Or(out.stream.err, out.unsent), os.ErrDeadlineExceeded) || out.e.GivenUp() {
		cause = abortSlow
	}
	out.rec.Status = out.status
	out.rec.abort(cause)
}

// replyError sends e as the whole reply. Nothing has been written before.
func (out *reply) replyError(e *llm.Error) {
	stranger := out.q.Many() && out.in.tenant == nil
	if stranger {
		out.place.enter(out.e, &out.s.strangers, out.s.mostStrangers(&out.st.cfg))
		defer out.place.leave()
	}
	h := &out.head.Fields
	h.Clear()
	h.Set("X-Request-Id", out.in.req.ID)
	out.allowOrigin()
	if e.Upstream != "" {
		h.Set("X-Sluice-Upstream", e.Upstream)
	}
	out.attemptsHeader(e.Attempts)
	out.limitHeader()
	var body []byte
	if e.Reply != nil {
		body = e.Reply.Body
	} else {
		body = append(known.ErrorsOf(out.in.req.Op, out.q.Path).AppendError(nil, e), '\n')
	}
	if out.in.form == arrayForm && isObject(body) { // their clients read errors as lists too
		body = append(append([]byte("["), bytes.TrimSpace(body)...), ']')
	}
	out.rec.noteError(e, body)
	out.timingHeader(0)
	if e.Reply != nil {
		out.copyHeader(e.Reply.Header, e.Status) // a Server-Timing of the upstream's after ours
	} else {
		out.copyHeader(e.Header, e.Status)
	}
	h.Set("Content-Type", "application/json")
	if _, theirs := h.Get("Retry-After"); e.RetryAfter > 0 && !theirs {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
	switch e.Advice { // in place of what the upstream's reply says
	case llm.SendAgain:
		h.Set("X-Should-Retry", "true")
	case llm.DoNotRetry:
		h.Set("X-Should-Retry", "false")
	}
	switch {
	case e.Status == 401 && e.Upstream == "":
		h.Set("Www-Authenticate", "Bearer")
	case e.Allow != "":
		h.Set("Allow", e.Allow)
	}
	// What is left of a body that was refused is not worth reading.
	out.last = out.last || out.in.body.failed() != nil && !out.q.Many()
	if out.in.body.e == nil {
		boundUnread(out.e, out.st.cfg.BodyTimeout)
	}
	out.status = e.Status
	if stranger {
		out.in.forget()
	}
	if err := out.whole(body); err != nil {
		out.undelivered()
		out.status = 0
	}
}

// sendError ends a stream with an event that tells of e.
func (out *reply) sendError(e *llm.Error) {
	q := &out.stream
	q.mu.Lock()
	// Where there is no memory for it the way the stream ends says so too.
	err := out.append(appendErrorEvent(nil, out.in.req.Op, e, q.count))
	out.wake()
	q.mu.Unlock()
	out.settle()
	if err == nil {
		_ = out.endArray()
	}
}

// isObject reports whether JSON is an object.
func isObject(b []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) }

// startArray reports whether a whole reply is to be the one element of an array, which it then
// begins.
func (out *reply) startArray(b []byte) bool {
	if out.in.form != arrayForm || out.kind != llm.Unary || !isObject(b) {
		return false
	}
	out.openStream()
	return true
}

// endArray ends a stream that is an array, all of which has been written.
func (out *reply) endArray() error {
	end := "]"
	switch {
	case out.in.form == arrayForm && out.stream.open:
		end = out.stream.array.End()
	case !out.wrapped:
		return nil
	}
	out.rec.mayEnd()
	out.begin(-1)
	n, err := out.e.Write([]byte(end))
	out.wroteBody(n)
	return err
}
