package cache

import (
	"context"
	"errors"
	"strconv"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// maxInputs bounds the inputs of a call that are looked up each by itself. It
// is OpenAI's limit.
const maxInputs = 2048

// embedding is what a lookup knows of an embedding's inputs. It is kept for
// use again.
type embedding struct {
	input   llm.Span // in the body
	items   []input
	first   map[Key]int // the first item of each key
	whole   Key         // of all items together
	frame   *entry      // the reply to all items without them; nil while there is none
	missing int         // keys without an entry
	remote  bool        // something came from the second level
	stale   bool
	body    []byte // a request for what is missing
	tail    []byte // of a reply
	places  []Place
	found   []Found

	// Of the call for what is missing.
	waited   time.Duration
	attempts int
	said     uint64 // tokens that the upstream counted

	compose composer
}

// input is one of them.
type input struct {
	at    llm.Span
	key   Key
	entry *entry // nil while there is none
	first int    // the first item that is equal; its own number mostly
}

func (m *embedding) clear() {
	clear(m.items)
	clear(m.places)
	clear(m.found)
	clear(m.first)
	*m = embedding{items: kept(m.items), first: m.first, body: kept(m.body), tail: kept(m.tail), places: kept(m.places), found: kept(m.found)}
}

// embed answers an embedding. Each input has an entry of its own; an upstream
// is asked for those that have none.
func (l *lookup) embed(ctx context.Context, out llm.Sink) error {
	m := &l.embeds
	if !l.split() {
		return l.stage.bypass(ctx, l.req, out)
	}
	m.whole = m.items[0].key
	if len(m.items) > 1 {
		m.whole = l.keys.wholeKey(l.own(), m.items)
	}
	if l.look {
		l.recall()
		if m.missing > 0 && l.req.Cache.OnlyIfCached {
			l.recallRemote(ctx)
		}
		if m.missing == 0 {
			return l.compose(out)
		}
	}
	if l.req.Cache.OnlyIfCached {
		return l.c.refuse()
	}
	f, r := l.flight(l.keys.sharedKey(m.whole, l.req.Body))
	if r != nil {
		l.c.figures.coalesced.Add(1)
		return r.read(ctx, out)
	}
	f.place = l.itemPlace()
	return f.fly(ctx, out, func(ctx context.Context, out llm.Sink) error { return l.fetchItems(ctx, out) })
}

// split finds the inputs. It is false where they are not what is known.
func (l *lookup) split() bool {
	m, body := &l.embeds, l.req.Body
	var ok bool
	if m.input, ok = jsonscan.Get(body, "input"); !ok {
		return false
	}
	raw := body[m.input.Start:m.input.End]
	if m.first == nil {
		m.first = make(map[Key]int)
	}
	if raw[0] == '"' || tokens(raw) {
		l.add(m.input)
		return true
	}
	sound := raw[0] == '['
	jsonscan.Elements(raw, func(v llm.Span) bool {
		item := raw[v.Start:v.End]
		sound = len(m.items) < maxInputs && (item[0] == '"' || tokens(item))
		if sound {
			l.add(llm.Span{Start: m.input.Start + v.Start, End: m.input.Start + v.End})
		}
		return sound
	})
	return sound && len(m.items) > 0
}

// tokens reports whether a JSON value is an array of token numbers.
func tokens(raw []byte) bool {
	if raw[0] != '[' {
		return false
	}
	digits := 0
	for _, c := range raw[1 : len(raw)-1] {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c != ',' && c > ' ':
			return false
		}
	}
	return digits > 0
}

func (l *lookup) add(at llm.Span) {
	m := &l.embeds
	i := len(m.items)
	key := l.keys.itemKey(l.own(), l.req.Body[at.Start:at.End])
	first, seen := m.first[key]
	if !seen {
		first = i
		m.first[key] = i
		m.missing++
	}
	m.items = append(m.items, input{at: at, key: key, first: first})
}

// itemPlace is the key of the only input, zero where there are several.
func (l *lookup) itemPlace() Key {
	if len(l.embeds.items) > 1 {
		return Key{}
	}
	return l.embeds.items[0].key
}

// recall looks in memory for what is missing.
func (l *lookup) recall() {
	m, now := &l.embeds, l.c.clock.Now()
	for i := range m.items {
		it := &m.items[i]
		if it.first != i || it.entry != nil {
			continue
		}
		if e := l.c.store.get(it.key); e != nil && l.take(it, e, now) {
			l.c.figures.items[0].Add(1)
			l.c.touch(e)
		}
	}
}

// take uses an entry for an input, if the client's wishes allow.
func (l *lookup) take(it *input, e *entry, now time.Duration) bool {
	ok, stale := e.usable(&l.req.Cache, now)
	if _, sound := e.vector(); !ok || !sound {
		return false
	}
	it.entry = e
	l.embeds.stale = l.embeds.stale || stale
	l.embeds.missing--
	return true
}

// recallRemote looks in the second level for what is missing, in one trip.
func (l *lookup) recallRemote(ctx context.Context) {
	m := &l.embeds
	if l.c.second == nil || m.missing == 0 {
		return
	}
	m.places, m.found = m.places[:0], m.found[:0]
	for i := range m.items {
		if it := &m.items[i]; it.first == i && it.entry == nil {
			m.places = append(m.places, Place{Model: l.model, Key: it.key})
			m.found = append(m.found, Found{})
		}
	}
	if len(m.items) > 1 { // last
		m.places, m.found = append(m.places, Place{Model: l.model, Key: m.whole}), append(m.found, Found{})
	}
	if l.c.second.Get(ctx, m.places, m.found) != nil {
		return
	}
	now := l.c.clock.Now()
	for i, f := range m.found {
		e := l.c.received(m.places[i].Key, f)
		if m.places[i].Key == m.whole && len(m.items) > 1 {
			l.takeFrame(e, now)
			continue
		}
		if e == nil || !l.take(&m.items[m.first[m.places[i].Key]], e, now) {
			continue
		}
		l.c.store.put(m.places[i].Key, e, l.gen, nil)
		l.c.figures.items[1].Add(1)
		m.remote = true
	}
}

// fetchItems gets what is missing, in the end from the upstream.
func (l *lookup) fetchItems(ctx context.Context, out llm.Sink) error {
	m := &l.embeds
	if l.look {
		l.recall()
		l.recallRemote(ctx)
		if m.missing == 0 {
			return l.compose(out)
		}
	}
	l.asks()
	if m.missing < len(m.items) {
		done, err := l.fetchMissing(ctx, out)
		if done {
			return err
		}
		// The upstream did not take the smaller request, or the reply to it is
		// not understood. It is asked for everything, as the client did.
	}
	l.c.figures.items[2].Add(uint64(len(m.items)))
	c := collector{flights: &l.c.flights, out: out, before: m.waited}
	defer c.release()
	if err := l.stage.next.Serve(ctx, l.req, &c); err != nil {
		return err
	}
	for i := range m.items { // a reply to equal inputs has a vector of each
		m.items[i].entry = nil
	}
	l.learn(&c, len(m.items), func(n int) int { return n })
	return nil
}

// fetchMissing asks the upstream for what is missing alone and answers with
// that and what is there. done is false where that did not come off and the
// upstream may do better with the whole request.
func (l *lookup) fetchMissing(ctx context.Context, out llm.Sink) (done bool, err error) {
	m := &l.embeds
	req, asked := l.reduced()
	c := collector{flights: &l.c.flights}
	defer c.release()
	begun := time.Now()
	if err := l.stage.next.Serve(ctx, &req, &c); err != nil {
		m.waited = time.Since(begun)
		var e *llm.Error
		if errors.As(err, &e) && e.Fault == llm.Answered && e.Status < 500 && e.Status != 429 && ctx.Err() == nil {
			return false, nil
		}
		return true, err
	}
	m.waited, m.attempts = c.waited, c.attempts
	if !l.learn(&c, len(asked), func(n int) int { return asked[n] }) {
		return false, nil
	}
	l.c.figures.items[2].Add(uint64(len(asked)))
	m.missing = 0
	return true, l.composeAs(llm.CacheMiss, out)
}

// reduced makes the request for what is missing, and says which inputs that
// are.
func (l *lookup) reduced() (req llm.Request, asked []int) {
	m, body := &l.embeds, l.req.Body
	b := append(m.body[:0], body[:m.input.Start]...)
	b = append(b, '[')
	for i, it := range m.items {
		if it.first != i || it.entry != nil {
			continue
		}
		if len(asked) > 0 {
			b = append(b, ',')
		}
		b = append(b, body[it.at.Start:it.at.End]...)
		asked = append(asked, i)
	}
	b = append(b, ']')
	shift := len(b) - m.input.End
	b = append(b, body[m.input.End:]...)
	m.body = b
	req = *l.req
	req.Body, req.BodyLen = b, int64(len(b))
	if req.ModelSpan.Start >= m.input.End {
		req.ModelSpan.Start += shift
		req.ModelSpan.End += shift
	}
	return req, asked
}

// takeFrame uses an entry, which may be nil, for what stands around the items.
func (l *lookup) takeFrame(e *entry, now time.Duration) {
	if e == nil || !e.frames(len(l.embeds.items)) {
		return
	}
	if ok, _ := e.usable(&l.req.Cache, now); ok {
		l.embeds.frame = e
	}
}

// frames reports whether an entry is what stands around n items, each of them
// once.
func (e *entry) frames(n int) bool {
	if len(e.ends) != 2*n+1 {
		return false
	}
	var seen [maxInputs / 64]uint64
	for i := range n {
		at := i
		if index := e.body[e.ends[2*i]:e.ends[2*i+1]]; len(index) > 0 {
			var err error
			if at, err = strconv.Atoi(string(index)); err != nil || at < 0 || at >= n {
				return false
			}
		}
		if seen[at/64]&(1<<(at%64)) != 0 {
			return false
		}
		seen[at/64] |= 1 << (at % 64)
	}
	return true
}

// compose answers with what is stored: with the reply that was given before where
// that is known, and else with one made of its inputs' vectors.
func (l *lookup) compose(out llm.Sink) error {
	status, f, m := llm.CacheHit, &l.c.figures, &l.embeds
	if m.remote {
		f.hits2.Add(1)
	} else {
		f.hits.Add(1)
	}
	if m.stale {
		status = llm.CacheStale
		f.stale.Add(1)
	}
	if len(m.items) > 1 {
		if e := l.c.store.get(m.whole); e != nil {
			l.takeFrame(e, l.c.clock.Now())
			l.c.touch(e)
		} else if m.frame != nil {
			l.c.store.put(m.whole, m.frame, l.gen, nil)
		}
	}
	return l.composeAs(status, out)
}

func (l *lookup) composeAs(status llm.CacheStatus, out llm.Sink) error {
	m, r := &l.embeds, &l.replies
	now := l.c.clock.Now()
	oldest, told := now, uint64(0)
	for i := range m.items {
		e := m.entryOf(i)
		oldest, told = min(oldest, e.born), told+uint64(e.tokens)
	}
	if m.frame != nil {
		told = uint64(m.frame.tokens) // as it stands there: the inputs may have been counted otherwise since
	}
	m.tail = l.appendTail(m.tail[:0], told)
	r.begin(m.items[0].entry, l.itemPlace(), status, now)
	if r.head.Age = now - oldest; status == llm.CacheMiss {
		r.head.Age, r.head.Saved = 0, int64(told-min(m.said, told))
	}
	r.head.Waited, r.head.Attempts = m.waited, m.attempts
	m.compose = composer{buf: r.body[:0], event: r.event[:]}
	m.write(&m.compose)
	length := m.compose.length
	r.head.Length, r.head.Kind = int64(length), llm.Unary
	if length > composed {
		r.head.Kind = llm.Pieces
	}
	if err := out.Start(&r.head); err != nil {
		return err
	}
	m.compose.out, m.compose.pieces = out, length > composed
	m.write(&m.compose)
	r.body = m.compose.buf
	return m.compose.flush()
}

// composer sends the body of a reply, in pieces where it is too long for one, or
// measures it where out is nil.
type composer struct {
	out    llm.Sink
	pieces bool
	buf    []byte
	event  []llm.Event
	length int
	err    error
}

// room begins a new piece where the next n bytes have no room in this one.
func (c *composer) room(n int) {
	if c.pieces && len(c.buf) > 0 && len(c.buf)+n > composed {
		if c.err == nil {
			c.err = c.flush()
		}
		c.buf = c.buf[:0]
	}
}

func (c *composer) add(b []byte) {
	if c.out == nil {
		c.length += len(b)
	} else if c.err == nil {
		c.buf = append(c.buf, b...)
	}
}

func (c *composer) text(s string) {
	if c.out == nil {
		c.length += len(s)
	} else if c.err == nil {
		c.buf = append(c.buf, s...)
	}
}

func (c *composer) number(n int) {
	var b [maxDigits]byte
	c.add(strconv.AppendUint(b[:0], uint64(n), 10))
}

func (c *composer) flush() error {
	if c.err != nil {
		return c.err
	}
	c.event[0].Raw = c.buf
	return c.out.Send(c.event)
}

// write puts the reply together.
func (m *embedding) write(c *composer) {
	switch first := m.items[0].entry; {
	case len(m.items) == 1 && len(first.ends) == soleEnds:
		v, _ := first.vector()
		c.add(first.body[:first.ends[0]])
		v.write(c, 0, v.indexed)
		c.add(first.body[first.ends[2]:])
	case m.frame != nil:
		m.writeFrame(c)
	default:
		c.text(listHead)
		for i := range m.items {
			v, _ := m.entryOf(i).vector()
			c.room(v.size() + maxDigits)
			if i > 0 {
				c.text(",")
			}
			v.write(c, i, true)
		}
		c.add(m.tail)
	}
}

// writeFrame puts the items into what stood around them.
func (m *embedding) writeFrame(c *composer) {
	body, ends, from := m.frame.body, m.frame.ends, uint32(0)
	for i := 0; i+1 < len(ends); i += 2 {
		c.add(body[from:ends[i]])
		n, indexed := i/2, ends[i+1] > ends[i]
		if indexed {
			n, _ = strconv.Atoi(string(body[ends[i]:ends[i+1]])) // as checked
		}
		v, _ := m.entryOf(n).vector()
		c.room(v.size() + maxDigits)
		v.write(c, n, indexed)
		from = ends[i+1]
	}
	c.add(body[from:])
}

const (
	// composed is how much of a reply is put together at a time, in bytes.
	composed = 60 << 10
	// maxDigits is what an index and a comma take.
	maxDigits = 8
	listHead  = `{"object":"list","data":[`
)

// entryOf gives the entry of an input.
func (m *embedding) entryOf(i int) *entry { return m.items[m.items[i].first].entry }

// appendTail gives what follows the vectors in a reply that none was like before.
func (l *lookup) appendTail(b []byte, tokens uint64) []byte {
	b = append(append(b, `],"model":`...), l.embeds.items[0].entry.head.Value().reported...)
	b = append(b, `,"usage":{"prompt_tokens":`...)
	b = strconv.AppendUint(b, tokens, 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendUint(b, tokens, 10)
	return append(b, "}}"...)
}
