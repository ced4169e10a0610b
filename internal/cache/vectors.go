package cache

import (
	"math"
	"strconv"
	"time"
	"unique"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/perf/usage"
)

// maxCollected bounds a reply that is taken apart, in bytes.
const maxCollected = 64 << 20

// collector takes a reply whole, and passes it on where out is set.
type collector struct {
	flights *flights
	out     llm.Sink
	before  time.Duration // that the request waited for another call
	status  int
	head    head

	// Of the reply's head.
	waited   time.Duration
	attempts int

	body    []byte
	counted int64
	over    bool // it is too large
}

// Start implements llm.Sink.
func (c *collector) Start(h *llm.Head) error {
	c.status, c.head = h.Status, makeHead(h, "")
	c.waited, c.attempts = h.Waited, h.Attempts
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
	if len(c.body)+len(b) > maxCollected || c.flights.recorded.Load() > c.flights.budget {
		c.release()
		c.over = true
		return
	}
	c.body = append(c.body, b...)
	c.flights.recorded.Add(int64(len(b)))
	c.counted += int64(len(b))
}

// release forgets the body.
func (c *collector) release() {
	c.flights.recorded.Add(-c.counted)
	c.body, c.counted = nil, 0
}

// vector is one element of a reply's data.
type vector struct {
	at    llm.Span // in the reply
	index llm.Span // in the element; empty where it has none
}

// learn takes a reply with n vectors apart and stores each. item says which
// input a vector belongs to. It is false where the reply is not understood;
// nothing is stored then.
func (l *lookup) learn(c *collector, n int, item func(n int) int) bool {
	m := &l.embeds
	if c.over || c.status != 200 || jsonscan.Validate(c.body, maxReplyDepth) != nil || has(c.body, "error") {
		return false
	}
	vectors, ok := vectorsOf(c.body, n)
	if !ok {
		return false
	}
	h := c.head
	h.model = l.model
	if v, ok := jsonscan.Get(c.body, "model"); ok && c.body[v.Start] == '"' {
		h.reported = string(c.body[v.Start:v.End])
	} else {
		h.reported = string(jsonscan.AppendString(nil, l.req.Model))
	}
	handle := unique.Make(h)
	count := uint64(min(usage.Whole(c.body).Input, math.MaxUint32)) // what the reply says its inputs count
	all, before := 0, 0
	for i := range n {
		all += m.items[item(i)].size()
	}
	now, settled := l.c.clock.now(), l.settled()
	for i, v := range vectors {
		it := &m.items[item(i)]
		e := &entry{
			head: handle, born: now, until: now + l.c.ttl(llm.Embedding), origin: l.origin,
			// Each has its part of the tokens by its length, and all have them all.
			tokens: uint32(portion(count, before+it.size(), all) - portion(count, before, all)),
		}
		before += it.size()
		e.body, e.ends = v.cut(c.body)
		it.entry = e
		// Of equal inputs the first one's is stored.
		if settled && it.first == item(i) && int64(len(e.body)) <= l.c.cfg.MaxEntryBytes {
			l.c.keep(Place{Model: l.model, Key: it.key}, e, l.gen)
		}
	}
	return true
}

func (it *input) size() int { return it.at.End - it.at.Start }

// portion is the part of total that the first bytes of all have.
func portion(total uint64, first, all int) uint64 {
	return total * uint64(first) / uint64(all)
}

// vectorsOf finds the n vectors of a reply, each where its index says.
func vectorsOf(body []byte, n int) (vectors []vector, ok bool) {
	data, ok := jsonscan.Get(body, "data")
	if !ok {
		return nil, false
	}
	vectors = make([]vector, n)
	seen := 0
	raw := body[data.Start:data.End]
	ok = true
	jsonscan.Elements(raw, func(v llm.Span) bool {
		element := raw[v.Start:v.End]
		if ok = seen < n && has(element, "embedding"); !ok {
			return false
		}
		position := seen
		index, found := jsonscan.Get(element, "index")
		if found {
			i, err := strconv.ParseUint(string(element[index.Start:index.End]), 10, 31)
			if err != nil || i >= uint64(n) {
				ok = false
				return false
			}
			position = int(i)
		}
		if ok = vectors[position].at.End == 0; !ok { // twice
			return false
		}
		vectors[position] = vector{at: llm.Span{Start: data.Start + v.Start, End: data.Start + v.End}, index: index}
		seen++
		return true
	})
	return vectors, ok && seen == n
}

// cut copies the vector without its index. What the ends name are the two
// pieces around it.
func (v *vector) cut(reply []byte) (body []byte, ends []uint32) {
	element := reply[v.at.Start:v.at.End]
	head, tail := element[:v.index.Start], element[v.index.End:]
	const name = `{"index":`
	if v.index.End == 0 { // it has a member at least
		body = make([]byte, 0, len(name)+len(element))
		body = append(body, name...)
		body = append(body, ',')
		body = append(body, element[1:]...)
		return body, []uint32{uint32(len(name)), uint32(len(body))}
	}
	body = make([]byte, 0, len(head)+len(tail))
	body = append(append(body, head...), tail...)
	return body, []uint32{uint32(len(head)), uint32(len(body))}
}
