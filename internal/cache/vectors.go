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

// element is one of a reply's data.
type element struct {
	at    llm.Span // in the reply
	index llm.Span // in the element; empty where it has none
	place int      // in data
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

// vector is the stored element of an input.
type vector struct {
	head, tail []byte // around the value of its index
	indexed    bool   // else head is empty
}

// vector finds it. ok is false for what is none.
func (e *entry) vector() (v vector, ok bool) {
	begin, body, ends := uint32(0), e.body, e.ends
	if len(ends) == soleEnds {
		begin, ends = ends[0], ends[1:3]
	}
	if len(ends) != vectorEnds || begin > ends[0] || ends[0] > ends[1] || begin == ends[1] || int(ends[1]) > len(body) {
		return vector{}, false
	}
	return vector{head: body[begin:ends[0]], tail: body[ends[0]:ends[1]], indexed: ends[0] > begin}, true
}

// size is about what it takes, without the value of the index.
func (v *vector) size() int { return len(v.head) + len(v.tail) + len(indexName) + 1 }

// write writes the element of input n, with an index where one is wanted or its
// own has one.
func (v *vector) write(c *composer, n int, index bool) {
	switch {
	case v.indexed:
		c.add(v.head)
		c.number(n)
		c.add(v.tail)
	case index: // it has a member at least
		c.text(indexName)
		c.number(n)
		c.text(",")
		c.add(v.tail[1:])
	default:
		c.add(v.tail)
	}
}

const indexName = `{"index":`

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
	said := uint32(min(max(usage.Whole(c.body).Input, 0), math.MaxUint32)) // what the reply says its inputs count
	m.said = uint64(said)
	shares := make([]share, n)
	for i := range n {
		it := &m.items[item(i)]
		shares[i] = weigh(l.req.Body[it.at.Start:it.at.End])
	}
	divide(said, shares)
	now, settled := l.c.clock.Now(), l.settled()
	made := func(tokens uint32) *entry {
		return &entry{head: handle, born: now, until: now + l.c.ttl(llm.Embedding), origin: l.origin, tokens: tokens}
	}
	keep := func(key Key, e *entry) {
		if settled && int64(len(e.body)) <= l.c.cfg.MaxEntryBytes {
			l.c.keep(Place{Model: l.model, Key: key}, e, l.gen)
		}
	}
	// What else stands in the reply is given again to whoever asks for the same.
	again := c.out != nil && !repeats(llm.Embedding, c.body)
	for i, v := range vectors {
		it := &m.items[item(i)]
		e := made(shares[i].tokens)
		e.body, e.ends = v.cut(c.body)
		if again && n == 1 {
			e.body, e.ends = v.sole(c.body)
		}
		it.entry = e
		if it.first == item(i) { // of equal inputs the first one's is stored
			keep(it.key, e)
		}
	}
	if again && n > 1 {
		e := made(said)
		e.body, e.ends = frame(c.body, vectors)
		keep(m.whole, e)
	}
	return true
}

// vectorsOf finds the n vectors of a reply, each where its index says.
func vectorsOf(body []byte, n int) (vectors []element, ok bool) {
	data, ok := jsonscan.Get(body, "data")
	if !ok {
		return nil, false
	}
	vectors = make([]element, n)
	seen := 0
	raw := body[data.Start:data.End]
	ok = true
	jsonscan.Elements(raw, func(v llm.Span) bool {
		object := raw[v.Start:v.End]
		if ok = seen < n && has(object, "embedding"); !ok {
			return false
		}
		position := seen
		index, found := jsonscan.Get(object, "index")
		if found {
			i, err := strconv.ParseUint(string(object[index.Start:index.End]), 10, 31)
			if err != nil || i >= uint64(n) {
				ok = false
				return false
			}
			position = int(i)
		}
		if ok = vectors[position].at.End == 0; !ok { // twice
			return false
		}
		vectors[position] = element{at: llm.Span{Start: data.Start + v.Start, End: data.Start + v.End}, index: index, place: seen}
		seen++
		return true
	})
	return vectors, ok && seen == n
}

// cut gives the entry of an element.
func (v *element) cut(reply []byte) (body []byte, ends []uint32) {
	object := reply[v.at.Start:v.at.End]
	body = make([]byte, 0, len(object)-(v.index.End-v.index.Start))
	body = append(append(body, object[:v.index.Start]...), object[v.index.End:]...)
	return body, []uint32{uint32(v.index.Start), uint32(len(body))}
}

// sole gives that of a reply whose only element it is.
func (v *element) sole(reply []byte) (body []byte, ends []uint32) {
	begin, cut, gone := v.at.Start, v.at.Start+v.index.Start, v.index.End-v.index.Start
	body = make([]byte, 0, len(reply)-gone)
	body = append(append(body, reply[:cut]...), reply[cut+gone:]...)
	return body, []uint32{uint32(begin), uint32(cut), uint32(v.at.End - gone), uint32(len(body))}
}

// frame gives that of a reply with several.
func frame(reply []byte, elements []element) (body []byte, ends []uint32) {
	inOrder := make([]element, len(elements))
	for _, v := range elements {
		inOrder[v.place] = v
	}
	from := 0
	for _, v := range inOrder {
		body = append(body, reply[from:v.at.Start]...)
		ends = append(ends, uint32(len(body)))
		body = append(body, reply[v.at.Start+v.index.Start:v.at.Start+v.index.End]...)
		ends = append(ends, uint32(len(body)))
		from = v.at.End
	}
	body = append(body, reply[from:]...)
	return body, append(ends, uint32(len(body)))
}
