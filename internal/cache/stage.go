package cache

import (
	"context"
	"errors"
	"time"

	"sluice/internal/cache/replay"
	"sluice/internal/cache/successor"
	"sluice/internal/dialect/known"
	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/outline"
)

// stage is the cache's place in one chain.
type stage struct {
	cache  *Cache
	next   llm.Handler
	groups llm.Groups
	strict bool // see Cache.Stage
}

// Serve implements llm.Handler.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if known.StoredOf(req.Op) == nil { // lists of models are the router's to keep
		s.forget(ctx, req)
		return s.next.Serve(ctx, req, out)
	}
	l := s.cache.borrow(s, req)
	f, r, err := l.begin(ctx, out)
	switch {
	case f != nil:
		return f.fly(ctx, out, l)
	case err == errAside: //nolint:errorlint // begin returns it unwrapped
		return l.bypass(ctx, out)
	}
	s.cache.release(l)
	if r != nil {
		return s.join(ctx, req, out, r)
	}
	return err
}

// join answers with the reply to another's call.
func (s *stage) join(ctx context.Context, req *llm.Request, out llm.Sink, r *reader) error {
	s.cache.figures.coalesced.Add(1)
	err := r.read(ctx, out)
	if r.mayAsk(req, err) {
		return s.Serve(ctx, req, out)
	}
	return err
}

// errAside says that the cache takes no part in a request.
var errAside = errors.New("not for the cache")

// begin answers, or says what is to be done: the call to make, which the lookup is
// part of from then on, or the one to join. What it takes on the stack is not there
// while a stream waits.
func (l *lookup) begin(ctx context.Context, out llm.Sink) (f *flight, r *reader, err error) {
	if l.req.Cache.NoStore || !l.identify() {
		return nil, nil, errAside
	}
	if l.form != nil {
		f, r, err = l.embed(ctx, out)
	} else {
		f, r, err = l.seek(ctx, out)
	}
	if f == nil || r != nil {
		return nil, r, err
	}
	l.dropKeyer()
	f.lookup = l
	return f, nil, nil
}

// forget forgets the reply that a request ends or changes, if it is one that does.
func (s *stage) forget(ctx context.Context, req *llm.Request) {
	if id := ended(req); id != (Key{}) {
		s.cache.forgetReply(ctx, id)
	}
}

// bypass passes a request on that the cache takes no part in.
func (l *lookup) bypass(ctx context.Context, out llm.Sink) error {
	defer l.c.release(l)
	l.dropKeyer()
	if l.req.Cache.OnlyIfCached {
		return l.c.refuse()
	}
	l.c.figures.bypassed.Add(1)
	l.marked.Sink = out
	return l.stage.next.Serve(ctx, l.req, &l.marked)
}

// refuse answers a request that takes nothing but a stored reply.
func (c *Cache) refuse() error {
	c.figures.refused.Add(1)
	return llm.Errorf(504, "not_cached", "There is no stored reply to this request, and it allows no other (Cache-Control: only-if-cached).")
}

// marked notes in a reply's head that the cache stood aside.
type marked struct{ llm.Sink }

func (m *marked) Start(h *llm.Head) error {
	h.Cache = llm.CacheBypass
	return m.Sink.Start(h)
}

// lookup is one request on its way through the cache. It is kept for use again.
type lookup struct {
	c     *Cache
	stage *stage
	req   *llm.Request
	form  *embeddings.Form // of its embeddings; nil for anything else
	keys  *keyer           // nil once it has them

	group [32]byte
	model string     // as resolved
	gen   generation // the store's, when the request came
	look  bool       // whether a stored reply will do

	// places are where a reply may be, the best one first: of a streamed call
	// the events that were sent then, and a whole reply.
	places  [2]Place
	n       int
	found   [2]Found
	likely  [2]successor.Key // what may be asked for next
	origin  origin           // of what it stores
	marked  marked           // towards a client whose request is passed on
	replies reply
	embeds  embedding
}

func (c *Cache) borrow(s *stage, req *llm.Request) *lookup {
	l, ok := c.lookups.Get().(*lookup)
	if !ok {
		l = &lookup{c: c}
	}
	if l.keys, ok = c.keyers.Get().(*keyer); !ok {
		l.keys = newKeyer()
	}
	l.stage, l.req, l.gen, l.origin = s, req, c.store.generation(), fetched
	l.form = known.InputsOf(req.Op)
	return l
}

func (c *Cache) release(l *lookup) {
	l.dropKeyer()
	l.replies.clear()
	if l.form != nil {
		l.embeds.clear()
	}
	l.stage, l.req, l.found, l.marked = nil, nil, [2]Found{}, marked{}
	c.lookups.Put(l)
}

// dropKeyer gives back what made the keys. A call may go on for minutes after that.
func (l *lookup) dropKeyer() {
	if l.keys != nil {
		l.keys.release()
		l.c.keyers.Put(l.keys)
		l.keys = nil
	}
}

// identify finds out what the request's reply is stored under. It is false for
// a request that the cache takes no part in.
func (l *lookup) identify() (ok bool) {
	c, req := l.c, l.req
	if c.cfg.When == WhenDeterministic && !known.StoredOf(req.Op).Deterministic(req.Body) {
		return false
	}
	if l.group, l.model, ok = l.stage.groups.Group(req.Model); !ok {
		return false
	}
	key, ok := l.keys.key(req, c.cfg.Scope, l.group, c.cfg.Stored)
	if !ok {
		return false
	}
	l.places[0], l.n = Place{Model: l.model, Key: key}, 1
	if req.Stream {
		events, ok := l.keys.streamKey(key, req.Body)
		if !ok {
			return false
		}
		l.places = [2]Place{{Model: l.model, Key: events}, {Model: l.model, Key: key}}
		l.n = 2
	}
	l.look = !req.Cache.NoCache && (!req.Stream || c.cfg.Streams)
	return true
}

// own is the place of the reply that the upstream would give.
func (l *lookup) own() Key { return l.places[0].Key }

// seek looks for the reply to anything but an embedding.
func (l *lookup) seek(ctx context.Context, out llm.Sink) (f *flight, r *reader, err error) {
	if l.look {
		if done, err := l.local(out); done {
			return nil, nil, err
		}
		if l.req.Cache.OnlyIfCached {
			if done, err := l.remote(ctx, out); done {
				return nil, nil, err
			}
		}
	}
	if l.req.Cache.OnlyIfCached {
		return nil, nil, l.c.refuse()
	}
	f, r = l.board()
	return f, r, nil
}

// board joins the call that is under way for the same request, or makes a new one, with
// the place of its reply.
func (l *lookup) board() (f *flight, r *reader) {
	f, r = l.flight(l.keys.sharedKey(l.own(), l.req))
	if r == nil && (!l.req.Stream || l.c.cfg.Streams) {
		f.place = l.own()
	}
	return f, r
}

// flight joins the call of a key that is under way, or makes a new one.
func (l *lookup) flight(key Key) (*flight, *reader) {
	status := llm.CacheMiss
	if !l.look {
		status = llm.CacheBypass
	}
	if !l.c.cfg.Coalesce || l.req.Cache.NoCache {
		return newFlight(&l.c.flights, status, l.req), nil
	}
	if l.stage.strict { // what is under way for a chain that is not would be what this one refuses
		key[0] = ^key[0]
	}
	return l.c.flights.join(key, status, l.req)
}

// call implements caller: it gets the reply for a flight.
func (l *lookup) call(ctx context.Context, f *flight) error {
	if l.form != nil {
		return l.fetchItems(ctx, f)
	}
	if done, err := l.again(ctx, f); done {
		return err
	}
	l.asks()
	l.c.ahead.follow(l)
	f.keeper = l
	return l.stage.next.Serve(ctx, l.req, f) // which may end the lookup
}

// again answers from where a reply may have come to since it was looked for, or from
// the second level, if it can.
func (l *lookup) again(ctx context.Context, f *flight) (done bool, err error) {
	if !l.look {
		return false, nil
	}
	if done, err = l.local(f); done {
		return true, err
	}
	return l.remote(ctx, f)
}

// asks counts a call to the upstream.
func (l *lookup) asks() {
	if l.look {
		l.c.figures.misses.Add(1)
	} else {
		l.c.figures.bypassed.Add(1)
	}
}

// local answers from memory, if it can.
func (l *lookup) local(out llm.Sink) (done bool, err error) {
	for _, p := range l.places[:l.n] {
		e := l.c.store.get(p.Key)
		if e == nil {
			continue
		}
		if done, err = l.answer(e, out); done {
			l.c.figures.hits.Add(1)
			l.c.touch(e)
			l.c.ahead.follow(l)
			return true, err
		}
	}
	return false, nil
}

// remote answers from the second level, if it can, and keeps what is there.
func (l *lookup) remote(ctx context.Context, out llm.Sink) (done bool, err error) {
	found, places := l.found[:l.n], l.places[:l.n]
	if l.c.second == nil || l.c.second.Get(ctx, places, found) != nil {
		return false, nil
	}
	for i, f := range found {
		e := l.c.received(places[i].Key, f)
		if e == nil {
			continue
		}
		l.c.store.put(places[i].Key, e, l.gen, nil)
		if done, err = l.answer(e, out); done {
			l.c.figures.hits2.Add(1)
			l.c.touch(e)
			l.c.ahead.follow(l)
			return true, err
		}
	}
	return false, nil
}

// usable is entry.usable, towards the chain's wishes too.
func (l *lookup) usable(e *entry, now time.Duration) (ok, stale bool) {
	if l.stage.strict && e.head.Value().lossy != "" {
		return false, false
	}
	return e.usable(&l.req.Cache, now)
}

// answer replies with an entry, if the client's wishes and the kind of reply
// that it expects allow.
func (l *lookup) answer(e *entry, out llm.Sink) (done bool, err error) {
	now := l.c.clock.Now()
	ok, stale := l.usable(e, now)
	if !ok {
		return false, nil
	}
	status := llm.CacheHit
	if stale {
		status = llm.CacheStale
	}
	r := &l.replies
	if l.req.Stream && !e.stream() {
		usage, _ := jsonscan.Get(l.req.Body, "stream_options", "include_usage")
		include, _ := jsonscan.Bool(l.req.Body[usage.Start:usage.End])
		body, ends, ok := replay.Append(r.body[:0], r.ends[:0], l.req.Op, e.body, include)
		if !ok {
			return false, nil
		}
		r.body, r.ends = body, ends
		r.begin(e, l.own(), status, now)
		err = r.sendEvents(body, ends, out)
	} else {
		r.begin(e, l.own(), status, now)
		err = r.send(e, out)
	}
	if stale {
		l.c.figures.stale.Add(1)
	}
	return true, err
}

// touch notes that an entry was of use.
func (c *Cache) touch(e *entry) {
	e.hits.Add(1)
	if e.origin == fetched {
		return
	}
	c.figures.gained[e.origin].Add(1)
	if !e.used.Swap(true) {
		c.figures.used[e.origin].Add(1)
	}
}

// received reads an entry of the second level, which is not trusted.
func (c *Cache) received(key Key, f Found) *entry {
	if f.Value == nil || f.Left <= 0 {
		return nil
	}
	now := c.clock.Now()
	e, err := unmarshal(f.Value, key, now)
	if err != nil {
		c.figures.damaged.Add(1)
		return nil
	}
	// It was written when it was new or later, and has waited there since.
	left := min(f.Left, e.until-now)
	if left <= 0 || e.size() > c.cfg.MaxEntryBytes+overhead || e.id != (Key{}) && c.store.isForgotten(e.id) {
		return nil
	}
	e.born, e.until = e.born-(e.until-now-left), now+left
	return e
}

// keep stores a whole reply of the upstream, if it is one to be stored: what was
// sent, the bytes, which are its own now, and where the events end, nil for a reply
// held whole.
func (l *lookup) keep(h *llm.Head, body []byte, ends []uint32) {
	c := l.c
	if ends != nil && !l.keepsEvents() || int64(len(body)) > c.cfg.MaxEntryBytes {
		return
	}
	said := h.Outline
	if ends == nil && !said.Read {
		said = outline.Read(body)
	}
	if !complete(l.req, h, body, ends, &said) || !l.settled() {
		return
	}
	now := c.clock.Now()
	e := &entry{
		head: c.shared(makeHead(h, l.req.Op, l.model)), body: body, ends: ends, id: replyID(body, ends, &said), said: said,
		born: now, until: now + c.ttl(l.req.Op), origin: l.origin,
	}
	// A whole reply to a streamed call is under the key of whole replies.
	place := l.places[0]
	if l.req.Stream && ends == nil {
		place = l.places[1]
	}
	c.keep(place, e, l.gen)
}

// keepsEvents reports whether a reply is stored that is an event stream.
func (l *lookup) keepsEvents() bool { return l.req.Stream && l.c.cfg.Streams }

// settled reports whether those who may answer are still the ones that the key
// speaks of. A list of models that came meanwhile can have changed that.
func (l *lookup) settled() bool {
	id, _, ok := l.stage.groups.Group(l.req.Model)
	return ok && id == l.group
}

// keep stores an entry in both levels.
func (c *Cache) keep(place Place, e *entry, gen generation) {
	if int64(cap(e.body)) > int64(len(e.body))+int64(len(e.body)/8) { // of a buffer that was larger
		e.body = append(make([]byte, 0, len(e.body)), e.body...)
	}
	stored := c.store.put(place.Key, e, gen, func() {
		if c.second != nil {
			now := c.clock.Now()
			if e.id != (Key{}) {
				c.second.Put(Place{Key: e.id}, pointer(e.id, place, e, now), e.until-now)
			}
			c.second.Put(place, marshal(place.Key, e, now), e.until-now)
		}
	})
	if stored && e.origin != fetched {
		c.figures.loaded[e.origin].Add(1)
	}
}

// ttl is how long a reply is fresh.
func (c *Cache) ttl(op llm.Operation) time.Duration {
	if known.InputsOf(op) != nil {
		return c.cfg.DefaultTTL
	}
	return c.cfg.ResponseTTL
}
