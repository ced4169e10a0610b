package cache

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/lifetime"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/monotonic"
	"sluice/internal/sse"
)

// flights are the calls under way that others may join.
type flights struct {
	clock    monotonic.Clock
	joinable int64 // bytes of a reply that late joiners can still be given
	account  *memory.Account
	scarce   func() bool
	budget   int64 // bytes that all replies under way may be recorded with

	mu       sync.Mutex
	underWay map[Key]*flight
	recorded atomic.Int64
	landed   sync.Pool // of *flight, that only their first callers knew
}

const (
	// window is how many bytes a reader may be behind when a reply has become
	// too long to be recorded whole; tightWindow when the budget is spent. The
	// upstream is then read no further until the slowest reader has caught up.
	window, tightWindow = 4 << 20, 64 << 10
	// stuck is how long the first caller's own client may have been blocking
	// for others still to join.
	stuck = 100 * time.Millisecond
	// minJoinable is what late joiners can be given at least, in bytes.
	minJoinable = 1 << 20
	// firstChunk to chunk is what recorded events are copied into, in bytes: as much
	// again as there is.
	firstChunk, chunk = 1 << 10, 4 << 10
)

// flight is one upstream call and its reply, which equal requests share. It is
// the sink that the call's goroutine, the first caller's, sends to. Others read
// what is recorded. The first caller becomes a reader as well when there are
// others, so that they do not wait for its client.
type flight struct {
	all     *flights
	key     Key               // that it is joined by; zero when it cannot be
	tenant  string            // of the first caller
	place   Key               // that the reply is stored under; zero when it is not
	out     llm.Sink          // of the first caller
	client  context.Context   // of the first caller
	shared  *lifetime.Context // of the call; whoever was given it may keep it
	watch   lifetime.Watch    // on client
	lookup  *lookup           // of the first caller, to be given back; nil for none
	keeper  *lookup           // keeps a reply that is whole; nil for none
	told    error             // what became of the call
	record  bool              // there may be readers, or the reply is to be kept
	urgency llm.Urgency       // of the call, which those who join lend theirs
	status  llm.CacheStatus   // towards the first caller

	mu       sync.Mutex
	head     llm.Head
	fields   [12]llm.Field // where the fields of head stand, unless there are more
	started  bool
	few      [1]llm.Event // where log begins
	log      []llm.Event  // recorded, from event number base on
	base     int
	size     int64  // bytes of log
	arena    []byte // where events are copied to
	cut      bool   // the beginning is recorded no more
	whole    bool   // a reply that is held whole has been sent
	done     bool
	err      error
	changed  chan struct{} // closed at news, nil while nobody waits for any
	drained  chan struct{} // closed when a reader has read, nil while nobody waits for that
	readers  []*reader
	boarded  bool          // there has been one
	callers  int           // who still wants the reply
	lost     error         // why the first caller does not
	blocked  time.Duration // since when the first caller's client has been; 0 while it is not
	detached chan error    // what the first caller's own reader returns; nil while it has none
}

var errAbandoned = errors.New("the call ended without a verdict")

// join gives the flight of a key and a place as its reader, or a new flight
// that the caller has to take off for the request.
func (all *flights) join(key Key, status llm.CacheStatus, req *llm.Request) (f *flight, r *reader) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if f = all.underWay[key]; f != nil {
		if r = f.board(&req.Urgency); r != nil {
			return f, r
		}
	}
	f = newFlight(all, status, req)
	f.key = key
	all.underWay[key] = f
	return f, nil
}

// newFlight makes a flight that nobody can join.
func newFlight(all *flights, status llm.CacheStatus, req *llm.Request) *flight {
	f, ok := all.landed.Get().(*flight)
	if !ok {
		f = new(flight)
	}
	f.all, f.tenant, f.status, f.record, f.callers, f.urgency = all, req.Tenant, status, true, 1, req.Urgency
	f.log, f.shared = f.few[:0], new(lifetime.Context)
	return f
}

// forget has calls under way joined no more.
func (all *flights) forget() {
	all.mu.Lock()
	defer all.mu.Unlock()
	clear(all.underWay)
}

// forgetID has calls whose reply has an id joined no more.
func (all *flights) forgetID(id Key) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for key, f := range all.underWay {
		if f.replyID() == id {
			delete(all.underWay, key)
		}
	}
}

// replyID gives what stands for the reply's id, zero where there is none yet.
func (f *flight) replyID() Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut || f.done { // nobody can join
		return Key{}
	}
	for i := range f.log[:min(len(f.log), maxBefore)] {
		event := f.log[i].Raw
		if f.head.Kind != llm.Unary {
			event, _ = sse.Data(event, nil)
		}
		if id := idIn(event); id != (Key{}) {
			return id
		}
	}
	return Key{}
}

// board takes another caller in, whose urgency the call is lent, unless it is too late
// for that.
func (f *flight) board(u *llm.Urgency) *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.callers == 0 || f.cut || f.done || f.blocked > 0 && f.all.clock.Now()-f.blocked > stuck {
		return nil
	}
	if !f.started && !f.urgency.Lend(u.Now()) {
		return nil
	}
	r := &reader{flight: f, deadline: u.Deadline}
	f.readers, f.boarded = append(f.readers, r), true
	f.callers++
	return r
}

// caller makes a call to which a flight is the sink.
type caller interface {
	call(ctx context.Context, f *flight) error
}

// fly makes the call and returns when the first caller has its reply and the
// others have what they need of this goroutine.
func (f *flight) fly(ctx context.Context, out llm.Sink, c caller) (err error) {
	f.takeOff(ctx, out)
	defer func() { err = f.end(err) }()
	f.told = c.call(f.shared, f)
	return f.landed(f.told)
}

// takeOff has the first caller's leaving end the call, but only when there are no
// others.
func (f *flight) takeOff(ctx context.Context, out llm.Sink) {
	f.mu.Lock()
	f.out, f.client = out, ctx
	f.mu.Unlock()
	f.watch.Begin(ctx, f)
	f.told = errAbandoned // of a call that panics
}

// end ends the flight, and gives what the first caller is told.
func (f *flight) end(err error) error {
	if own := f.land(f.told); own != nil {
		err = <-own
	}
	unseen := f.watch.Stop()
	f.shared.End(nil)
	f.dropLookup()
	if unseen && !f.boarded && f.told != errAbandoned { //nolint:errorlint // it is unwrapped
		f.all.reuse(f)
	}
	return err
}

// reuse keeps a flight for use again that has landed and that nobody knows any more:
// nobody has joined it, and no end of its client's was or will be told to it.
func (all *flights) reuse(f *flight) {
	*f = flight{}
	all.landed.Put(f)
}

// dropLookup gives the first caller's lookup back.
func (f *flight) dropLookup() {
	if l := f.lookup; l != nil {
		f.lookup, f.keeper = nil, nil
		l.c.release(l)
	}
}

// landed keeps a reply that is whole, and gives what the first caller is told.
func (f *flight) landed(verdict error) error {
	if verdict == nil && f.keeper != nil && f.record && !f.cut && f.head.Kind == llm.EventStream {
		body, ends := f.joined()
		f.keeper.keep(&f.head, body, ends)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost != nil {
		return f.lost
	}
	return verdict
}

// ContextEnded implements lifetime.Ender: it gives up the first caller's interest.
func (f *flight) ContextEnded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.detached == nil { // a reader gives up by itself
		f.lose(f.client.Err())
	}
}

// lose notes why the first caller does not want the reply any more. f.mu is
// held.
func (f *flight) lose(err error) {
	if f.lost == nil {
		f.lost = err
		f.resign()
	}
}

// resign takes one caller out; the last one's leaving cancels the call, unless
// all that can come has. f.mu is held.
func (f *flight) resign() {
	if f.callers--; f.callers == 0 && !f.done && !f.whole {
		f.shared.End(nil)
	}
}

// land ends the flight. own is what the first caller's reader returns, nil when
// it has none.
func (f *flight) land(verdict error) (own chan error) {
	if f.key != (Key{}) {
		f.all.mu.Lock()
		if f.all.underWay[f.key] == f {
			delete(f.all.underWay, f.key)
		}
		f.all.mu.Unlock()
	}
	f.mu.Lock()
	f.done, f.err = true, verdict
	f.all.hold(-f.size)
	f.size = 0
	f.announce()
	own = f.detached
	f.mu.Unlock()
	return own
}

// joined gives all events of the log, one after the other. Only the goroutine
// of the call changes the log, so it takes no lock.
func (f *flight) joined() (body []byte, ends []uint32) {
	body = make([]byte, 0, f.size)
	ends = make([]uint32, 0, len(f.log))
	for i := range f.log {
		body = append(body, f.log[i].Raw...)
		ends = append(ends, uint32(len(body)))
	}
	return body, ends
}

// announce wakes those who wait for news. f.mu is held.
func (f *flight) announce() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Start implements llm.Sink.
func (f *flight) Start(h *llm.Head) error {
	f.mu.Lock()
	f.head, f.started = *h, true
	f.head.CacheKey = f.place
	if f.record {
		f.head.Header = append(f.fields[:0], h.Header...) // those of h are used again
	}
	f.announce()
	gone := f.lost != nil
	f.mu.Unlock()
	if gone {
		return nil
	}
	h.CacheKey = f.place
	if h.Cache == 0 {
		h.Cache = f.status
	}
	err := f.out.Start(h)
	if f.keeper != nil && h.Kind == llm.EventStream && !f.keeper.keepsEvents() {
		f.dropLookup() // the stream may go on for minutes
	}
	if err != nil {
		return f.failed(err)
	}
	return nil
}

// Send implements llm.Sink. Readers have the events before the first caller's
// own client does.
func (f *flight) Send(events []llm.Event) error {
	f.mu.Lock()
	before := f.base + len(f.log)
	if f.record {
		f.append(events)
	}
	if len(f.readers) > 0 && f.detached == nil && f.lost == nil && f.head.Kind != llm.Unary {
		f.detach(before)
	}
	f.announce()
	own := f.lost == nil && f.detached == nil
	if own {
		f.blocked = max(f.all.clock.Now(), 1)
	}
	f.await()
	f.mu.Unlock()
	if f.head.Kind == llm.Unary && f.keeper != nil {
		f.keeper.keep(&f.head, f.log[0].Raw, nil)
	}
	if own {
		err := f.out.Send(events)
		f.mu.Lock()
		f.blocked = 0
		f.mu.Unlock()
		if err != nil {
			return f.failed(err)
		}
	}
	return nil
}

// failed takes note that the first caller can take no more. It returns the
// error when nobody else wants the reply either.
func (f *flight) failed(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose(err)
	if f.callers > 0 {
		return nil
	}
	return err
}

// detach makes the first caller a reader from an event on. f.mu is held.
func (f *flight) detach(pos int) {
	r := &reader{flight: f, pos: pos, begun: true}
	f.readers = append(f.readers, r)
	f.detached = make(chan error, 1)
	go func() { f.detached <- r.read(f.client, f.out) }()
}

// append records events. f.mu is held.
func (f *flight) append(events []llm.Event) {
	if f.head.Kind == llm.Unary {
		body := bytes.Clone(events[0].Raw)
		f.log, f.whole = append(f.log, llm.Event{Raw: body, Failed: events[0].Failed}), true
		f.grow(int64(len(body)))
		return
	}
	for i := range events {
		f.log = append(f.log, llm.Event{Raw: f.copied(events[i].Raw), Failed: events[i].Failed})
		f.grow(int64(len(events[i].Raw)))
	}
	if f.size > f.all.joinable || f.all.tight() {
		f.cut = true
	}
	if f.cut {
		f.trim()
	}
}

// hold notes that n bytes more are recorded.
func (all *flights) hold(n int64) {
	all.recorded.Add(n)
	if n > 0 {
		all.account.Hold(n)
	} else {
		all.account.Give(-n)
	}
}

// tight reports whether little should be recorded.
func (all *flights) tight() bool {
	return all.recorded.Load() > all.budget || all.account.Share() > sharedShare || all.scarce()
}

// sharedShare is how much of the memory budget may be recorded for others.
const sharedShare = 0.1

func (f *flight) grow(n int64) {
	f.size += n
	f.all.hold(n)
}

func (f *flight) copied(b []byte) []byte {
	if len(b) > cap(f.arena)-len(f.arena) {
		f.arena = make([]byte, 0, max(int(min(max(f.size, firstChunk), chunk)), len(b)))
	}
	n := len(f.arena)
	f.arena = append(f.arena, b...)
	return f.arena[n:len(f.arena):len(f.arena)]
}

// trim forgets the events that all readers have had. f.mu is held.
func (f *flight) trim() {
	least := f.base + len(f.log)
	for _, r := range f.readers {
		least = min(least, r.pos)
	}
	for i := range f.log[:least-f.base] {
		f.grow(-int64(len(f.log[i].Raw)))
	}
	f.log = f.log[least-f.base:]
	f.base = least
	if len(f.readers) == 0 { // nobody can join any more
		f.record, f.log, f.arena = false, nil, nil
	}
}

// await waits while the slowest reader is too far behind. f.mu is held.
func (f *flight) await() {
	for f.cut {
		f.trim()
		limit := int64(window)
		if f.all.tight() {
			limit = tightWindow
		}
		if f.size <= limit || f.callers == 0 {
			return
		}
		f.drained = make(chan struct{})
		drained := f.drained
		f.mu.Unlock()
		<-drained
		f.mu.Lock()
	}
}
