package cache

import (
	"context"
	"errors"
	"time"

	"sluice/internal/embeddings"
	"sluice/internal/llm"
)

// embedding is what a lookup knows of an embedding's inputs. It is kept for
// use again.
type embedding struct {
	form    *embeddings.Form
	inputs  embeddings.Inputs
	items   []input     // one of each of them
	first   map[Key]int // the first item of each key
	whole   Key         // of all items together
	frame   *entry      // the reply to all items without them; nil while there is none
	missing int         // keys without an entry
	remote  bool        // something came from the second level
	stale   bool
	asked   [][]byte // the inputs that are missing
	body    []byte   // a request for them
	places  []Place
	found   []Found

	// Of the call for what is missing.
	waited, queued  time.Duration
	attempts, batch int    // batch is how many items it had, 0 where that is not told
	said            uint64 // tokens that the upstream counted

	// Of a reply that is composed.
	told     uint64 // tokens that it counts
	composer embeddings.Composer
}

// input is one of them.
type input struct {
	key   Key
	entry *entry // nil while there is none
	first int    // the first item that is equal; its own number mostly
}

func (m *embedding) clear() {
	clear(m.items)
	clear(m.places)
	clear(m.found)
	clear(m.first)
	clear(m.asked)
	*m = embedding{
		inputs: m.inputs, items: kept(m.items), first: m.first, asked: kept(m.asked), body: kept(m.body),
		places: kept(m.places), found: kept(m.found),
	}
}

// embed looks for the reply to an embedding. Each input has an entry of its own; an
// upstream is asked for those that have none.
func (l *lookup) embed(ctx context.Context, out llm.Sink) (f *flight, r *reader, err error) {
	m := &l.embeds
	if !l.split() {
		return nil, nil, errAside
	}
	m.whole = m.items[0].key
	if m.framed() {
		m.whole = l.keys.wholeKey(l.own(), l.form, m.items)
	}
	if l.look {
		l.recall()
		if m.missing > 0 && l.req.Cache.OnlyIfCached {
			l.recallRemote(ctx)
		}
		if m.missing == 0 {
			return nil, nil, l.compose(out)
		}
	}
	if l.req.Cache.OnlyIfCached {
		return nil, nil, l.c.refuse()
	}
	if f, r = l.flight(l.keys.sharedKey(m.whole, l.req)); r == nil {
		f.place = l.itemPlace()
	}
	return f, r, nil
}

// split finds the inputs and their keys. It is false where they are not what is
// known.
func (l *lookup) split() bool {
	m := &l.embeds
	if m.form = l.form; !m.inputs.Split(l.form, l.req.Body) {
		return false
	}
	if m.first == nil {
		m.first = make(map[Key]int)
	}
	for i := range m.inputs.Items {
		key, ok := l.keys.itemKey(l.own(), l.form, l.item(i), l.req.Model)
		if !ok {
			return false
		}
		first, seen := m.first[key]
		if !seen {
			first = i
			m.first[key] = i
			m.missing++
		}
		m.items = append(m.items, input{key: key, first: first})
	}
	return true
}

// item gives an input as it stands in the body.
func (l *lookup) item(i int) []byte {
	at := l.embeds.inputs.Items[i]
	return l.req.Body[at.Start:at.End]
}

// framed reports whether what stands around the vectors in a reply is kept by itself, and
// not with the vector of the only input.
func (m *embedding) framed() bool { return len(m.items) > 1 || m.form.Shared }

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
		if e := l.c.store.get(it.key); e != nil && l.use(it, e, now) {
			l.c.figures.items[0].Add(1)
			l.c.touch(e)
		}
	}
}

// use has an entry stand for an input, if the client's wishes allow.
func (l *lookup) use(it *input, e *entry, now time.Duration) bool {
	ok, stale := l.usable(e, now)
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
	if m.framed() { // last
		m.places, m.found = append(m.places, Place{Model: l.model, Key: m.whole}), append(m.found, Found{})
	}
	if l.c.second.Get(ctx, m.places, m.found) != nil {
		return
	}
	now := l.c.clock.Now()
	for i, f := range m.found {
		e := l.c.received(m.places[i].Key, f)
		if m.places[i].Key == m.whole && m.framed() {
			l.useFrame(e, now)
			continue
		}
		if e == nil || !l.use(&m.items[m.first[m.places[i].Key]], e, now) {
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
	c := collector{flights: &l.c.flights, op: l.form.Op, out: out, before: m.waited}
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
	req, asked, err := l.reduced()
	if err != nil { // as an input is not where the model's name is, there is none
		return false, nil
	}
	c := collector{flights: &l.c.flights, op: l.form.Op}
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
	m.waited, m.queued, m.attempts, m.batch = c.waited, c.queued, c.attempts, c.batch
	if !l.learn(&c, len(asked), func(n int) int { return asked[n] }) {
		return false, nil
	}
	l.c.figures.items[2].Add(uint64(len(asked)))
	m.missing = 0
	return true, l.composeAs(llm.CacheMiss, out)
}

// reduced makes the request for what is missing, and says which inputs that
// are.
func (l *lookup) reduced() (req llm.Request, asked []int, err error) {
	m := &l.embeds
	m.asked = m.asked[:0]
	for i := range m.items {
		if it := &m.items[i]; it.first == i && it.entry == nil {
			m.asked = append(m.asked, l.item(i))
			asked = append(asked, i)
		}
	}
	req, err = m.inputs.With(m.body[:0], l.req, m.asked)
	m.body = req.Body
	return req, asked, err
}

// useFrame uses an entry, which may be nil, for what stands around the items.
func (l *lookup) useFrame(e *entry, now time.Duration) {
	if e == nil || !e.frame().Sound(len(l.embeds.items)) {
		return
	}
	if ok, _ := l.usable(e, now); ok {
		l.embeds.frame = e
	}
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
	if m.framed() {
		if e := l.c.store.get(m.whole); e != nil {
			l.useFrame(e, l.c.clock.Now())
			l.c.touch(e)
		} else if m.frame != nil {
			l.c.store.put(m.whole, m.frame, l.gen, nil)
		}
	}
	return l.composeAs(status, out)
}

func (l *lookup) composeAs(status llm.CacheStatus, out llm.Sink) (err error) {
	m, r := &l.embeds, &l.replies
	now := l.c.clock.Now()
	oldest := now
	m.told = 0
	for i := range m.items {
		e := m.entryOf(i)
		oldest, m.told = min(oldest, e.born), m.told+uint64(e.tokens)
	}
	if m.frame != nil {
		m.told = uint64(m.frame.tokens) // as it stands there: the inputs may have been counted otherwise since
	}
	r.begin(m.items[0].entry, l.itemPlace(), status, now)
	if r.head.Age = now - oldest; status == llm.CacheMiss {
		r.head.Age, r.head.Saved = 0, int64(m.told-min(m.said, m.told))
	}
	if m.form.Objects && len(m.items) > 1 {
		r.head.Lossy = m.lossy()
	}
	r.head.Waited, r.head.Queued, r.head.Attempts, r.head.Batch = m.waited, m.queued, m.attempts, m.batch
	r.body, err = m.composer.Send(&r.head, m, out, r.body)
	return err
}

// Compose implements embeddings.Body: with what stood around the vectors in an
// earlier reply where that is known.
func (m *embedding) Compose(c *embeddings.Composer) {
	switch first := m.items[0].entry; {
	case !m.framed() && len(first.ends) == soleEnds:
		v, _ := first.vector()
		c.Add(first.body[:first.ends[0]])
		c.Vector(v, 0, v.Indexed())
		c.Add(first.body[first.ends[2]:])
	case m.frame != nil:
		c.Frame(m.frame.frame(), m.vector)
	default:
		c.List(m.form, len(m.items), m.vector, first.head.Value().reported, m.told)
	}
}

// lossy gives what was lost of any of the inputs.
func (m *embedding) lossy() (all string) {
	for i := range m.items {
		all = joined(all, m.entryOf(i).head.Value().lossy)
	}
	return all
}

// entryOf gives the entry of an input.
func (m *embedding) entryOf(i int) *entry { return m.items[m.items[i].first].entry }

// vector gives the vector of an input.
func (m *embedding) vector(i int) embeddings.Vector {
	v, _ := m.entryOf(i).vector()
	return v
}
