package batch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/outline"
)

// reply is the reply to a call with several callers' items.
type reply struct {
	head    llm.Head
	body    []byte
	items   int
	per     int        // elements that each item has
	list    llm.Span   // of all elements, brackets included
	id      llm.Span   // of its id, quotes included; empty where it has none
	usage   llm.Span   // empty where it has none
	others  []llm.Span // of members that are not known, and may hold text
	in, out []uint64   // what each item weighs in what is counted of requests, and of replies
	all     []element  // in the order of the items

	lent    *memory.Buffer // backs body
	lender  *memory.Buffers
	unnamed bool // an element has no index
	left    atomic.Int64
}

// element is one of the list's.
type element struct {
	at    llm.Span // in the body
	index llm.Span // of the value of its index, in the body; empty where it has none
}

var errNoReply = errors.New("read reply: it is none of JSON, or tells of an error")

// readReply takes the body of a reply to so many items apart, each of which has per
// elements of the list. An element is of the item that its index says, and where none
// has an index, of that at its own place.
//
// The reply may lack elements, where those it has say whose they are: has tells
// whose are there. All else that does not fit is an error.
func readReply(body []byte, k *kind, items, per int) (*reply, error) {
	r := &reply{body: body, items: items, per: per}
	if outline.Fails(body) {
		return nil, errNoReply
	}
	twice := false
	take := func(s *llm.Span, v llm.Span) {
		twice = twice || s.End > 0
		*s = v
	}
	err := jsonscan.Members(body, maxDepth, func(key []byte, v llm.Span) error {
		switch string(key) {
		case k.list:
			take(&r.list, v)
		case "usage":
			take(&r.usage, v)
		case "id":
			if body[v.Start] == '"' {
				take(&r.id, v)
			}
		case "object", "model", "created", "system_fingerprint", "service_tier":
		default:
			if c := body[v.Start]; c == '"' || c == '[' || c == '{' {
				r.others = append(r.others, v)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, errNoReply
	case twice || r.list.End == 0 || body[r.list.Start] != '[':
		return nil, fmt.Errorf("read reply: it has not one list of %s", k.list)
	}
	return r, r.find()
}

// find finds the elements.
func (r *reply) find() (err error) {
	want := r.items * r.per
	r.all = make([]element, want)
	seen, unnamed := 0, 0
	list := r.body[r.list.Start:r.list.End]
	jsonscan.Elements(list, func(v llm.Span) bool {
		e := element{at: llm.Span{Start: r.list.Start + v.Start, End: r.list.Start + v.End}}
		object := r.body[e.at.Start:e.at.End]
		place := seen
		if object[0] != '{' || seen == want {
			err = fmt.Errorf("read reply: its element %d is too many, or is no object", seen)
			return false
		}
		if at, ok := jsonscan.Get(object, "index"); ok {
			e.index = llm.Span{Start: e.at.Start + at.Start, End: e.at.Start + at.End}
			n, bad := strconv.ParseUint(string(object[at.Start:at.End]), 10, 31)
			if bad != nil || n >= uint64(want) {
				err = fmt.Errorf("read reply: the index of its element %d is none", seen)
				return false
			}
			place = int(n)
		} else {
			unnamed++
		}
		if r.all[place].at.End != 0 {
			err = fmt.Errorf("read reply: two of its elements are number %d", place)
			return false
		}
		r.all[place] = e
		seen++
		return true
	})
	switch {
	case err != nil:
		return err
	case unnamed > 0 && unnamed < seen || unnamed > 0 && seen != want:
		return fmt.Errorf("read reply: nobody can tell whose its %d elements are, of %d", seen, want)
	}
	r.unnamed = unnamed > 0
	return nil
}

// unquote takes out what may quote an item and is not known to be of the one that it
// goes to: members that are not known are emptied, and header fields left out.
func (r *reply) unquote() {
	for _, v := range r.others {
		raw := r.body[v.Start:v.End]
		raw[1] = raw[len(raw)-1] // an empty one of the same type
		for i := range raw[2:] {
			raw[2+i] = ' '
		}
	}
	r.head.Header = slices.DeleteFunc(r.head.Header, func(f llm.Field) bool { return !unquoting(f.Name) })
}

// unquoting reports whether a field of a reply says nothing of the items.
func unquoting(name string) bool {
	switch name {
	case "Content-Type", "Date", "Server", "Retry-After", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(name, "Openai-") || strings.HasPrefix(name, "X-Ratelimit-")
}

// has reports whether all elements of an item are there.
func (r *reply) has(item int) bool {
	for _, e := range r.all[item*r.per : (item+1)*r.per] {
		if e.at.End == 0 {
			return false
		}
	}
	return true
}

// weigh readies the reply for being shared out among the items. What the upstream
// counted for it, all of them together have, to the last token.
func (r *reply) weigh(k *kind, input func(item int) []byte) {
	if r.usage.End == 0 {
		return
	}
	shares := make([]embeddings.Share, r.items)
	for i := range shares {
		shares[i] = embeddings.Weigh(input(i))
	}
	usage := r.body[r.usage.Start:r.usage.End]
	total, ok := count(usage, "prompt_tokens")
	if !ok {
		if total, ok = count(usage, "input_tokens"); !ok {
			total, _ = count(usage, "total_tokens")
		}
	}
	embeddings.Divide(uint32(min(total, 1<<32-1)), shares)
	r.in = make([]uint64, r.items)
	for i := range shares {
		r.in[i] = uint64(shares[i].Tokens)
	}
	if !k.choices {
		return
	}
	r.out = make([]uint64, r.items)
	for i := range r.out {
		for _, e := range r.all[i*r.per : (i+1)*r.per] {
			if text, ok := jsonscan.Get(r.body[e.at.Start:e.at.End], "text"); ok {
				r.out[i] += uint64(text.End - text.Start)
			}
		}
	}
}

// count reads a member of the usage.
func count(usage []byte, name string) (n uint64, ok bool) {
	v, ok := jsonscan.Get(usage, name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(usage[v.Start:v.End]), 10, 63)
	return n, err == nil
}

// done notes that an item's part is not needed any more. The last one's gives the
// body's memory back.
func (r *reply) done(items int) {
	if r.left.Add(int64(-items)) == 0 && r.lender != nil {
		r.lender.Put(r.lent)
	}
}

// part is what one item became.
type part struct {
	reply *reply
	item  int // of the reply
}

// compose appends the reply to one caller: what the upstream would have answered if
// it had been asked for the caller's items alone. Their parts are of one reply, or of
// several where the call was split.
func compose(dst []byte, parts []part) []byte {
	first := parts[0].reply
	c := composer{dst: dst, parts: parts}
	spans := [...]struct {
		at  llm.Span
		put func()
	}{
		{first.id, c.id}, {first.list, c.list}, {first.usage, c.usage},
	}
	for range len(spans) - 1 { // there are three
		for i := range len(spans) - 1 {
			if spans[i].at.Start > spans[i+1].at.Start {
				spans[i], spans[i+1] = spans[i+1], spans[i]
			}
		}
	}
	from := 0
	for _, s := range spans {
		if s.at.End > 0 {
			c.dst = append(c.dst, first.body[from:s.at.Start]...)
			s.put()
			from = s.at.End
		}
	}
	return append(c.dst, first.body[from:]...)
}

// composed is about how long the reply to a caller is.
func composed(parts []part) int {
	first := parts[0].reply
	n := len(first.body) - (first.list.End - first.list.Start) + 64
	for _, p := range parts {
		for _, e := range p.elements() {
			n += e.at.End - e.at.Start + 8
		}
	}
	return n
}

func (p part) elements() []element { return p.reply.all[p.item*p.reply.per : (p.item+1)*p.reply.per] }

// composer puts the reply to one caller together.
type composer struct {
	dst   []byte
	parts []part
}

// id is the upstream's, but for other callers than the first one: ids are for telling
// replies apart.
func (c *composer) id() {
	p := c.parts[0]
	id := p.reply.body[p.reply.id.Start:p.reply.id.End]
	if p.item > 0 {
		c.dst = append(append(c.dst, id[:len(id)-1]...), '-')
		c.dst = strconv.AppendInt(c.dst, int64(p.item), 10)
		id = id[len(id)-1:]
	}
	c.dst = append(c.dst, id...)
}

// list is the caller's elements, each with the index that it has among them.
func (c *composer) list() {
	c.dst = append(c.dst, '[')
	for i, p := range c.parts {
		for j, e := range p.elements() {
			if i+j > 0 {
				c.dst = append(c.dst, ',')
			}
			from := e.at.Start
			if e.index.End > 0 {
				c.dst = append(c.dst, p.reply.body[from:e.index.Start]...)
				c.dst = strconv.AppendInt(c.dst, int64(i*p.reply.per+j), 10)
				from = e.index.End
			}
			c.dst = append(c.dst, p.reply.body[from:e.at.End]...)
		}
	}
	c.dst = append(c.dst, ']')
}

// usage is the caller's part of what the upstream counted.
func (c *composer) usage() {
	first := c.parts[0].reply
	u := sharing{parts: c.parts}
	c.dst = u.value(c.dst, first.body[first.usage.Start:first.usage.End], input)
}

// collector takes a reply whole.
type collector struct {
	head    llm.Head
	buf     *memory.Buffer
	lender  *memory.Buffers
	started bool
}

// maxReply bounds a reply that is shared out, in bytes.
const maxReply = 64 << 20

var errTooLarge = errors.New("the reply is too large to be shared out")

// Start implements llm.Sink.
func (c *collector) Start(h *llm.Head) error {
	c.head, c.started = *h, true
	c.head.Header, c.head.Outline = nil, llm.Outline{} // each caller gets another body
	for _, f := range h.Header {
		if !ofBody(f.Name) {
			c.head.Header = append(c.head.Header, f)
		}
	}
	return nil
}

// Send implements llm.Sink.
func (c *collector) Send(events []llm.Event) error {
	for i := range events {
		b := events[i].Raw
		n := len(b)
		if c.buf != nil {
			n += len(c.buf.B)
		}
		var err error
		switch {
		case n > maxReply:
			return errTooLarge
		case c.buf == nil:
			// Loose, for a caller that leaves or is answered by another call does not say that
			// it needs its part no more.
			c.buf, err = c.lender.GetLoose(max(n, int(min(c.head.Length, maxReply))))
		case n > cap(c.buf.B):
			c.buf, err = c.lender.Grow(c.buf, max(n, min(2*cap(c.buf.B), maxReply)))
		}
		if err != nil {
			return err
		}
		c.buf.B = append(c.buf.B, b...)
	}
	return nil
}

// body gives what came.
func (c *collector) body() []byte {
	if c.buf == nil {
		return nil
	}
	return c.buf.B
}

func (c *collector) release() {
	c.lender.Put(c.buf)
	c.buf = nil
}

// ofBody reports whether a field of a reply speaks of the bytes of its body, which
// are others for each caller.
func ofBody(name string) bool {
	switch name {
	case "Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Content-Range", "Accept-Ranges", "Last-Modified":
		return true
	}
	return false
}
