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
	f, r := l.flight(l.keys.sharedKey(l.keys.wholeKey(l.own(), m.items), l.req.Body))
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
	m, now := &l.embeds, l.c.clock.now()
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
	if !ok || len(e.ends) != 2 {
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
	if l.c.second.Get(ctx, m.places, m.found) != nil {
		return
	}
	now := l.c.clock.now()
	for i, f := range m.found {
		e := l.c.received(m.places[i].Key, f)
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
		if errors.As(err, &e) && e.Answered && e.Status < 500 && e.Status != 429 && ctx.Err() == nil {
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

// compose answers with what is stored.
func (l *lookup) compose(out llm.Sink) error {
	status, f := llm.CacheHit, &l.c.figures
	if l.embeds.remote {
		f.hits2.Add(1)
	} else {
		f.hits.Add(1)
	}
	if l.embeds.stale {
		status = llm.CacheStale
		f.stale.Add(1)
	}
	return l.composeAs(status, out)
}

func (l *lookup) composeAs(status llm.CacheStatus, out llm.Sink) error {
	m, r := &l.embeds, &l.replies
	now := l.c.clock.now()
	m.tail = l.appendTail(m.tail[:0])
	length, oldest := len(listHead)+len(m.tail), now
	for i := range m.items {
		e := m.entryOf(i)
		length += len(e.body) + len(strconv.AppendInt(r.body[:0], int64(i), 10)) + min(i, 1)
		oldest = min(oldest, e.born)
	}
	r.begin(m.items[0].entry, l.itemPlace(), status, now)
	if r.head.Age = now - oldest; status == llm.CacheMiss {
		r.head.Age = 0
	}
	r.head.Waited, r.head.Attempts = m.waited, m.attempts
	r.head.Length, r.head.Kind = int64(length), llm.Unary
	if length > composed {
		r.head.Kind = llm.Pieces
	}
	if err := out.Start(&r.head); err != nil {
		return err
	}
	return l.sendItems(length, out)
}

// sendItems sends the body of a reply, in pieces where it is too long for one.
func (l *lookup) sendItems(length int, out llm.Sink) error {
	m, r := &l.embeds, &l.replies
	b := append(r.body[:0], listHead...)
	for i := range m.items {
		e := m.entryOf(i)
		if length > composed && len(b) > 0 && len(b)+len(e.body) > composed-maxDigits {
			r.event[0].Raw = b
			if err := out.Send(r.event[:]); err != nil {
				return err
			}
			b = b[:0]
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e.body[:e.ends[0]]...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, e.body[e.ends[0]:]...)
	}
	b = append(b, m.tail...)
	r.body, r.event[0].Raw = b, b
	return out.Send(r.event[:])
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

// appendTail gives what follows the vectors.
func (l *lookup) appendTail(b []byte) []byte {
	m, total := &l.embeds, uint64(0)
	for i := range m.items {
		total += uint64(m.entryOf(i).tokens)
	}
	b = append(append(b, `],"model":`...), m.items[0].entry.head.Value().reported...)
	b = append(b, `,"usage":{"prompt_tokens":`...)
	b = strconv.AppendUint(b, total, 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendUint(b, total, 10)
	return append(b, "}}"...)
}
