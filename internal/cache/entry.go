package cache

import (
	"strings"
	"sync/atomic"
	"time"
	"unique"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// entry is one stored reply. Its content is not changed after it was stored.
type entry struct {
	head unique.Handle[head] // few differ, so they are shared
	body []byte              // the reply, or the events of a stream one after the other
	ends []uint32            // where each event ends; nil for a reply held whole

	said llm.Outline // of a reply held whole, of which somebody has made one
	id   Key         // what stands for the reply's id; zero for none, and of an embedding

	born, until time.Duration // by the cache's clock
	tokens      uint32        // of an embedding: what its input counts

	origin  origin
	used    atomic.Bool // it was of use
	renewed atomic.Bool // it was tried to load it anew
	hits    atomic.Uint32
}

// head is what is kept of a reply's head. Fields that speak of one call, such
// as what is left of a rate limit, are not.
type head struct {
	contentType, language, version string
	upstream                       string
	model                          string // as resolved; for purges
	reported                       string // of an embedding: the model's name in the reply, as JSON
	lossy                          string // what the upstream was not asked of the request; see llm.Head
}

// origin is how an entry came into memory.
type origin uint8

const (
	fetched   origin = iota // for a request that waited for it
	restored                // from the hot set, at the start
	refreshed               // ahead of its expiry
	predicted               // because it tends to follow what was asked for
	origins
)

func (o origin) String() string {
	return [...]string{"fetched", "restored", "refreshed", "predicted"}[o]
}

// overhead is about what an entry takes besides its bytes: itself, its node in
// the eviction policy, its place in the hash table and that of its id.
const overhead = 400

// size is what an entry counts against the bound of bytes.
func (e *entry) size() int64 {
	// A client chooses what is lossy, so that heads with it are not few.
	return int64(cap(e.body)) + 4*int64(cap(e.ends)) + int64(len(e.head.Value().lossy)) + overhead
}

// stream reports whether the entry is a stream's.
func (e *entry) stream() bool { return e.ends != nil }

// usable gives the state of an entry towards a client's wishes: whether it may
// be used, and whether it has expired (RFC 9111, sections 4.2 and 5.2.1).
func (e *entry) usable(p *llm.CachePolicy, now time.Duration) (ok, stale bool) {
	age, left := now-e.born, e.until-now
	if p.HasMaxAge && age > p.MaxAge && (p.MaxStale != llm.AnyStale && age-p.MaxAge > p.MaxStale) {
		return false, false
	}
	if left > 0 {
		return left >= p.MinFresh, false
	}
	return -left <= p.MaxStale && p.MaxStale > 0 && p.MinFresh == 0, true
}

// makeHead gives what is kept of the head of a reply to op.
func makeHead(h *llm.Head, op llm.Operation, model string) head {
	return head{
		lossy:       lossesOf(op, h.Lossy),
		contentType: h.Get("Content-Type"), language: h.Get("Content-Language"), version: h.Get("Openai-Version"),
		upstream: h.Upstream, model: model,
	}
}

// shared gives a head that is shared by all entries whose head is the same. As a rule the
// last one's is, which costs less to find out than to look for it.
func (c *Cache) shared(h head) unique.Handle[head] {
	if last := c.head.Load(); last != nil && last.Value() == h {
		return *last
	}
	made := unique.Make(h)
	c.head.Store(&made)
	return made
}

// lossesOf gives what was lost of whatever has a request's key. Of members that are in no
// key another request with it may have others, or none.
func lossesOf(op llm.Operation, lossy string) string {
	api := known.StoredOf(op)
	if lossy == "" || api == nil {
		return lossy
	}
	var rest []string
	for name := range strings.SplitSeq(lossy, ", ") {
		if api.Member([]byte(name))&dialect.LeftOut == 0 {
			rest = append(rest, name)
		}
	}
	return strings.Join(rest, ", ")
}

// lostOf gives which of the members that were lost of a request an input has, an object.
func lostOf(lossy string, input []byte) string {
	var rest []string
	for name := range strings.SplitSeq(lossy, ", ") {
		if dialect.OrNil(jsonscan.Member(input, name)) != nil {
			rest = append(rest, name)
		}
	}
	return strings.Join(rest, ", ")
}

// joined gives what is in either of two lists of what was lost.
func joined(a, b string) string {
	if a == "" || a == b {
		return b
	}
	for name := range strings.SplitSeq(b, ", ") {
		if name != "" && !strings.Contains(", "+a+", ", ", "+name+", ") {
			a += ", " + name
		}
	}
	return a
}

// appendFields gives the head's fields as they go to a client.
func (h *head) appendFields(dst []llm.Field) []llm.Field {
	for _, f := range [...]llm.Field{
		{Name: "Content-Type", Value: h.contentType}, {Name: "Content-Language", Value: h.language}, {Name: "Openai-Version", Value: h.version},
	} {
		if f.Value != "" {
			dst = append(dst, f)
		}
	}
	return dst
}

// copied gives another entry of the same content, as new.
func (e *entry) copied() *entry {
	return &entry{head: e.head, body: e.body, ends: e.ends, said: e.said, id: e.id, born: e.born, until: e.until, tokens: e.tokens, origin: e.origin}
}

// reply is a stored reply on its way to a client, kept for use again.
type reply struct {
	head   llm.Head
	fields [4]llm.Field
	event  [1]llm.Event
	events []llm.Event

	// A reply that is made of stored ones.
	body []byte
	ends []uint32
}

// begin readies the head of the answer that e gives.
func (r *reply) begin(e *entry, key Key, status llm.CacheStatus, now time.Duration) {
	h := e.head.Value()
	r.head = llm.Head{
		Status: 200, Header: h.appendFields(r.fields[:0]),
		Upstream: h.upstream, Lossy: h.lossy, Cache: status, Age: max(now-e.born, 0), CacheKey: key,
	}
}

// send answers with e as it was stored.
func (r *reply) send(e *entry, out llm.Sink) error {
	if e.stream() {
		return r.sendEvents(e.body, e.ends, out)
	}
	r.head.Outline = e.said
	return r.sendBody(e.body, out)
}

// sendBody answers with a whole reply.
func (r *reply) sendBody(body []byte, out llm.Sink) error {
	r.head.Kind, r.head.Length = llm.Unary, int64(len(body))
	r.event[0].Raw = body
	return r.sendAll(r.event[:], out)
}

// sendEvents answers with the events of a stream, which stand one after the
// other in body.
func (r *reply) sendEvents(body []byte, ends []uint32, out llm.Sink) error {
	r.head.Kind, r.head.Length = llm.EventStream, -1
	for i := range r.head.Header {
		if f := &r.head.Header[i]; f.Name == "Content-Type" {
			f.Value = "text/event-stream"
		}
	}
	r.events = r.events[:0]
	start := uint32(0)
	for _, end := range ends {
		r.events = append(r.events, llm.Event{Raw: body[start:end]})
		start = end
	}
	return r.sendAll(r.events, out)
}

func (r *reply) sendAll(events []llm.Event, out llm.Sink) error {
	if err := out.Start(&r.head); err != nil {
		return err
	}
	return out.Send(events)
}

// clear forgets the reply, so that one kept for use again keeps none alive.
func (r *reply) clear() {
	clear(r.events)
	events, body, ends := kept(r.events), kept(r.body), kept(r.ends)
	*r = reply{} // with those in it, it would be made on the stack first
	r.events, r.body, r.ends = events, body, ends
}

// kept gives the scratch memory that is kept for use again, unless it is large.
func kept[E any](s []E) []E {
	if cap(s) > scratch {
		return nil
	}
	return s[:0]
}

// scratch bounds each piece of it, in elements.
const scratch = 64 << 10
