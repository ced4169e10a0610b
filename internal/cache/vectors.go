package cache

import (
	"time"
	"unique"

	"sluice/internal/dialect/known"
	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// maxCollected bounds a reply that is taken apart, in bytes.
const maxCollected = 64 << 20

// collector takes a reply whole, and passes it on where out is set.
type collector struct {
	flights *flights
	op      llm.Operation
	out     llm.Sink
	before  time.Duration // that the request waited for another call
	status  int
	head    head

	// Of the reply's head.
	waited, queued  time.Duration
	attempts, batch int

	body    []byte
	counted int64
	over    bool // it is too large
}

// Start implements llm.Sink.
func (c *collector) Start(h *llm.Head) error {
	c.status, c.head = h.Status, makeHead(h, c.op, "")
	c.waited, c.queued, c.attempts, c.batch = h.Waited, h.Queued, h.Attempts, h.Batch
	if c.out == nil {
		return nil
	}
	h.Waited += c.before
	return c.out.Start(h)
}

// Send implements llm.Sink.
func (c *collector) Send(events []llm.Event) error {
	for i := range events {
		c.collect(events[i].Raw)
	}
	if c.out == nil {
		return nil
	}
	return c.out.Send(events)
}

func (c *collector) collect(b []byte) {
	if c.over {
		return
	}
	if len(c.body)+len(b) > maxCollected || c.flights.recorded.Load() > c.flights.budget || c.out != nil && c.flights.tight() {
		c.release()
		c.over = true
		return
	}
	c.body = append(c.body, b...)
	c.flights.hold(int64(len(b)))
	c.counted += int64(len(b))
}

// release forgets the body.
func (c *collector) release() {
	c.flights.hold(-c.counted)
	c.body, c.counted = nil, 0
}

// An entry of an embedding has one of these:
//
//	a vector, the element without the value of its index   cut | end
//	the reply to a call with one input, likewise           begin | cut | end of the element | end
//	the reply to a call with several, with the values of   begin | end of each value | end
//	the indices alone in the place of the elements
//
// Below them is what its ends are. cut is where the value of the index goes,
// the beginning of the element where that has none.
const (
	vectorEnds = 2
	soleEnds   = 4
)

// vector finds the stored element of an input. ok is false for what is none.
func (e *entry) vector() (v embeddings.Vector, ok bool) {
	begin, body, ends := uint32(0), e.body, e.ends
	if len(ends) == soleEnds {
		begin, ends = ends[0], ends[1:3]
	}
	if len(ends) != vectorEnds || begin > ends[0] || ends[0] > ends[1] || begin == ends[1] || int(ends[1]) > len(body) {
		return embeddings.Vector{}, false
	}
	return embeddings.Vector{Head: body[begin:ends[0]], Tail: body[ends[0]:ends[1]]}, true
}

// frame gives what stands around the vectors in a reply to a call with several
// inputs. It is not sound for what is none.
func (e *entry) frame() embeddings.Frame { return embeddings.Frame{Body: e.body, Ends: e.ends} }

// learn takes a reply with n vectors apart and stores each. item says which
// input a vector belongs to. It is false where the reply is not understood;
// nothing is stored then.
func (l *lookup) learn(c *collector, n int, item func(n int) int) bool {
	m := &l.embeds
	if c.over || c.status != 200 {
		return false
	}
	r, err := embeddings.Read(l.form, c.body, n)
	if err != nil {
		return false
	}
	h := c.head
	h.model = l.model
	if h.reported = r.Model; h.reported == "" {
		h.reported = string(jsonscan.AppendString(nil, l.req.Model))
	}
	handle := unique.Make(h)
	m.said = uint64(r.Tokens)
	shares := make([]embeddings.Share, n)
	for i := range n {
		shares[i] = embeddings.Weigh(l.item(item(i)))
	}
	embeddings.Divide(r.Tokens, shares)
	now, settled := l.c.clock.Now(), l.settled()
	made := func(tokens uint32) *entry {
		return &entry{head: handle, born: now, until: now + l.c.ttl(l.form.Op), origin: l.origin, tokens: tokens}
	}
	keep := func(key Key, e *entry) {
		if settled && int64(len(e.body)) <= l.c.cfg.MaxEntryBytes {
			l.c.keep(Place{Model: l.model, Key: key}, e, l.gen)
		}
	}
	// What else stands in the reply is given again to whoever asks for the same.
	again := c.out != nil && !repeats(known.StoredOf(l.form.Op), c.body)
	for i := range n {
		it := &m.items[item(i)]
		e := made(shares[i].Tokens)
		if l.form.Objects && h.lossy != "" {
			of := h
			of.lossy = lostOf(h.lossy, l.item(item(i)))
			e.head = unique.Make(of)
		}
		if again && !m.framed() {
			e.body, e.ends = sole(&r)
		} else {
			e.body, e.ends = cut(r.Vector(i))
		}
		it.entry = e
		if it.first == item(i) { // of equal inputs the first one's is stored
			keep(it.key, e)
		}
	}
	if again && m.framed() {
		e, f := made(r.Tokens), r.Frame()
		e.body, e.ends = f.Body, f.Ends
		keep(m.whole, e)
	}
	return true
}

// cut gives the entry of a vector.
func cut(v embeddings.Vector) (body []byte, ends []uint32) {
	body = make([]byte, 0, len(v.Head)+len(v.Tail))
	body = append(append(body, v.Head...), v.Tail...)
	return body, []uint32{uint32(len(v.Head)), uint32(len(body))}
}

// sole gives that of a reply with one.
func sole(r *embeddings.Reply) (body []byte, ends []uint32) {
	at, v := r.Elements[0].At, r.Vector(0)
	body = make([]byte, 0, len(r.Body)-(at.End-at.Start)+len(v.Head)+len(v.Tail))
	body = append(append(body, r.Body[:at.Start]...), v.Head...)
	index := len(body)
	body = append(body, v.Tail...)
	end := len(body)
	body = append(body, r.Body[at.End:]...)
	return body, []uint32{uint32(at.Start), uint32(index), uint32(end), uint32(len(body))}
}
