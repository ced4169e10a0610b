package front

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

// errMisuse is a handler's fault.
var errMisuse = errors.New("the handler broke the order of Start and Send")

// Start implements llm.Sink. Nothing is written before the first Send, so an
// error up to then still becomes a whole error reply.
func (x *exchange) Start(h *llm.Head) error {
	if x.started {
		return errMisuse
	}
	committed := x.stopHeartbeat()
	x.started = true
	x.kind, x.length = h.Kind, h.Length
	x.noteHead(h)
	if committed {
		return x.startCommitted(h)
	}
	x.status = h.Status
	header := x.w.Header()
	x.set(header, "X-Request-Id", x.req.ID)
	x.allowOrigin(header)
	if h.Upstream != "" {
		x.set(header, "X-Sluice-Upstream", h.Upstream)
	}
	x.attemptsHeader(header, h.Attempts)
	x.timingHeader(header, time.Since(x.begun))
	x.copyHeader(header, h.Header, h.Status) // a Server-Timing of the upstream's after ours
	if x.own != nil {
		x.set(header, "Cache-Control", "no-store")
	}
	x.cacheHeader(header, h)
	x.connectionHeader(header)
	contentType := header["Content-Type"]
	if h.Kind == llm.EventStream {
		x.streamHeader(header)
		x.openStream()
	}
	if len(contentType) == 0 || h.Kind == llm.EventStream && !hasFold(contentType[0], eventStream) {
		// An upstream's own, right or wrong, or none: net/http would look at the
		// body and make one up (RFC 9110 section 8.3).
		header["Content-Type"] = contentType
	}
	if h.Status == http.StatusSwitchingProtocols {
		return x.startTunnel(header)
	}
	return nil
}

// hasFold reports whether s begins with prefix, whatever its case.
func hasFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// attemptsHeader tells of a request that was sent to upstreams more than once.
func (x *exchange) attemptsHeader(header http.Header, n int) {
	if n > 1 {
		x.set(header, "X-Sluice-Attempts", strconv.Itoa(n))
	}
}

// connectionHeader says so where the connection is closed after the reply.
func (x *exchange) connectionHeader(h http.Header) {
	if x.last || x.s.draining.Load() || x.answersEarly() {
		x.set(h, "Connection", "close")
	}
}

// answersEarly reports whether a reply begins while its request still comes. Where
// the rest does not come in time net/http would go on all the same, and take what
// does for the next request.
func (x *exchange) answersEarly() bool {
	return x.req.BodyReader != nil && x.own == nil && x.r.ContentLength != 0 && !x.many && !x.body.whole.Load()
}

// cacheHeader says what a cache had to do with the reply. An Age that came with
// it is of another cache further up and is not the age any more.
func (x *exchange) cacheHeader(header http.Header, h *llm.Head) {
	if h.Cache == 0 {
		return
	}
	x.set(header, "X-Cache", h.Cache.String())
	delete(header, "Age")
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
		x.set(header, "X-Cache-Key", both[:n])
	}
	if n < len(both) {
		x.set(header, "Age", both[n:])
	}
}

// startCommitted begins a reply after a heartbeat has begun the stream.
func (x *exchange) startCommitted(h *llm.Head) error {
	if h.Kind == llm.Pieces || h.Status != http.StatusOK {
		return llm.Errorf(http.StatusBadGateway, "unexpected_reply", "The model service answered with something that is not an event stream.")
	}
	return nil
}

// Send implements llm.Sink.
func (x *exchange) Send(events []llm.Event) error {
	if !x.started {
		return errMisuse
	}
	if x.kind == llm.EventStream {
		return x.queue(events)
	}
	for i := range events {
		var err error
		x.record.Told = x.record.Told || events[i].Failed
		switch {
		case x.status == http.StatusSwitchingProtocols:
			err = x.tunnel.send(events[i].Raw)
		case x.stream.open:
			// A whole reply to a client to which a heartbeat has promised events.
			err = x.queue([]llm.Event{{Raw: sse.AppendEvent(nil, "", events[i].Raw), Failed: events[i].Failed}})
		case x.kind == llm.Unary:
			err = x.sendWhole(events[i].Raw)
		default:
			err = x.sendPiece(events[i].Raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// engineCounts is the length in bytes up to which net/http finds out the
// Content-Length by itself, without an allocation.
const engineCounts = 2 << 10

func (x *exchange) sendWhole(b []byte) error {
	if x.wrote {
		return errMisuse
	}
	x.wrote = true
	if len(b) > engineCounts || x.many && len(b) > 0 {
		x.set(x.w.Header(), "Content-Length", strconv.Itoa(len(b)))
	}
	x.noteWhole(b)
	x.w.WriteHeader(x.status)
	if len(b) >= engineBuffer || x.many {
		x.mayEnd()
	}
	if len(b) >= engineBuffer && !x.many {
		return x.writeLarge(b)
	}
	n, err := x.w.Write(b)
	x.wroteBody(n)
	x.unsent = err
	return err
}

// writeLarge writes a body that does not fit into net/http's buffer together
// with the reply's head.
func (x *exchange) writeLarge(b []byte) error {
	c, plain := x.r.Context().Value(connKey{}).(*conn)
	if plain { // else it is TLS, which makes records of its own
		c.join()
	}
	n, err := x.w.Write(b)
	x.wroteBody(n)
	if plain {
		if e := c.settle(); err == nil {
			err = e
		}
	}
	x.unsent = err
	return err
}

func (x *exchange) sendPiece(b []byte) error {
	if !x.wrote {
		x.wrote = true
		x.answered(time.Since(x.begun))
		if x.length >= 0 {
			x.set(x.w.Header(), "Content-Length", strconv.FormatInt(x.length, 10))
		}
		x.w.WriteHeader(x.status)
	}
	x.notePiece(b)
	if x.length >= 0 && x.record.BytesOut+int64(len(b)) >= x.length {
		x.mayEnd()
	}
	n, err := x.w.Write(b)
	x.wroteBody(n)
	if err == nil && x.length < 0 {
		err = flush(x.w)
	}
	x.unsent = err
	return err
}

// wroteBody counts n bytes of a body. Those of a reply to HEAD stay here.
func (x *exchange) wroteBody(n int) {
	if x.r.Method != http.MethodHead {
		x.record.BytesOut += int64(n)
	}
}
