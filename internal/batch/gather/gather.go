package gather

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"sluice/internal/lifetime"
	"sluice/internal/llm"
	"sluice/internal/monotonic"
)

// Strategy says when items that gather leave.
type Strategy uint8

// The strategies.
const (
	// Adaptive lets items of an idle lane leave at once, and others with the next
	// call, when one comes back or their window ends.
	Adaptive Strategy = iota
	// Size lets items leave when a call is full, or their window ends.
	Size
	// Time lets items leave when their window ends.
	Time
)

// Options say how items gather. All but Target and MaxWeight is above 0.
type Options[I, R any] struct {
	Strategy Strategy

	MaxItems  int           // of a call
	MaxWeight int           // of the items of a call together; 0 for no bound
	MaxWait   time.Duration // the longest window
	Target    time.Duration // within which Adaptive wants items answered; 0 for none

	// MaxWaiting bounds the items that gather, of all lanes together, MaxBytes what is
	// held for callers until they are answered, or, where they have left, until the call
	// that their items are in has ended. Beyond that callers send their items by
	// themselves.
	MaxWaiting, MaxBytes int

	// Send makes a call. It gives a result for each item, in their order, or the
	// error that all of them have. It returns soon after ctx is done. The call is as
	// urgent as the most urgent of its callers.
	Send func(ctx context.Context, u llm.Urgency, items []I) ([]Result[R], Trip, error)

	// Blame says of whom an error may be, and so whether items are sent again.
	Blame func(error) Blame
}

// Blame is of whom an error of a call with several items may be.
type Blame uint8

const (
	// None is all callers': it is of no single item.
	None Blame = iota
	// Item may be of one item alone. The others are sent again without it.
	Item
	// Either may be of one item alone, or of the upstream whatever it is asked. The
	// items are sent again in two halves, and on as long as one of two is answered.
	Either
)

// Result is what one item of a call became.
type Result[R any] struct {
	Value R
	OK    bool // false where the call's reply has none for the item
}

// Trip is how a call went.
type Trip struct {
	Queued   time.Duration // that it waited for its turn before the upstream was asked
	Upstream string        // that answered; "" where none did, or it is not known
}

// ErrAlone says that a caller's items are its own to send; ErrLate that they were not
// sent because they could not be answered within their deadline.
var (
	ErrAlone = errors.New("the items are the caller's to send")
	ErrLate  = errors.New("the items cannot be answered within their deadline")
)

// Want is what a caller wants for its items.
type Want struct {
	llm.Urgency
	Weight int // of its items together
	Bytes  int // that are held for them
}

// Outcome tells a caller what became of its items.
type Outcome struct {
	Size   int           // items of the call that they were answered by
	Queued time.Duration // that they gathered, and that the calls below waited for their turn

	// Calls are those that they were in before, which were refused or whose replies
	// were incomplete, and Waited is how long these took at the upstream.
	Calls  int
	Waited time.Duration
}

// Batcher gathers items. It is safe for concurrent use.
type Batcher[I, R any] struct {
	opts  Options[I, R]
	clock monotonic.Clock

	mu      sync.Mutex
	lanes   map[string]*lane[I, R]
	free    []*lane[I, R] // for use again
	paces   map[string]*pace
	sites   map[string]*site
	doubts  map[string]doubt // of lanes that were given up
	items   int              // that wait
	bytes   int              // held for callers that have no answer, and by calls for those that left
	running sync.WaitGroup
	counts  counts
}

const (
	// maxPaces bounds the courses that something is known of, maxFree the lanes that
	// are kept for use again, maxDoubts those whose doubts are remembered.
	maxPaces, maxFree, maxDoubts = 256, 64, 256
	// ageing is what one more of priority is worth: an item goes before those that
	// came so much earlier. So nobody waits for ever, whoever else comes.
	ageing = 10 * time.Millisecond
)

// lane is where items of one key gather. It is there while some do, or a call is
// under way.
type lane[I, R any] struct {
	b     *Batcher[I, R]
	key   string
	pace  *pace
	doubt doubt
	queue []*member[I, R] // the first to go first
	at    int             // in its site's waiting, while there are some
	items int
	load  int // weight of the items

	inFlight int

	timer *time.Timer
	armed time.Duration // when timer fires; 0 while it does not
}

// member is one caller's items.
type member[I, R any] struct {
	b        *Batcher[I, R]
	items    []I
	want     Want
	class    int
	rank     time.Duration
	since    time.Duration
	deadline time.Duration // 0 for none

	place llm.Place     // where its call waits
	lane  *lane[I, R]   // that they gather in; nil when they do not any more
	call  *call[I, R]   // that they are in, nil for none
	done  chan struct{} // closed when there is an answer

	answered bool
	results  []Result[R]
	err      error
	out      Outcome
	turn     Turn[I, R]
}

// call is one call under way.
type call[I, R any] struct {
	lane    *lane[I, R]
	turn    Turn[I, R]
	members []*member[I, R]
	size    int
	urgency llm.Urgency
	shared  llm.Turn
	present int  // callers that still want it
	again   bool // it is a part of one that was refused
	ctx     lifetime.Context
	halves  *halves[I, R] // that it is one of; nil for none
	err     error         // once it has failed

	queued, took time.Duration // once it has come back: for its turn, and at the upstream
}

// Turn is a call's place in its lane, which Batcher.End gives back. The zero Turn is
// none.
type Turn[I, R any] struct {
	lane  *lane[I, R]
	site  *site
	items int
	begun time.Duration
	area  float64

	shared bool // by several callers
	again  bool // the items were in a call that was refused
}

// halves are two calls that were one, which failed for what may be one item's fault or
// the upstream's. Where both fail it is the upstream's. One that was cancelled tells
// nothing of that, and leaves the other to be halved as one that is no half.
type halves[I, R any] struct {
	ended  bool        // one of them has
	failed bool        // and speaks against the upstream
	waits  *call[I, R] // the one that has failed, for the other; nil for none
}

// New makes a Batcher.
func New[I, R any](o Options[I, R]) *Batcher[I, R] {
	return &Batcher[I, R]{opts: o, clock: monotonic.New(), lanes: make(map[string]*lane[I, R]), paces: make(map[string]*pace), sites: make(map[string]*site), doubts: make(map[string]doubt)}
}

// Close waits until no call is under way. Callers have left before.
func (b *Batcher[I, R]) Close() { b.running.Wait() }

// Enter asks whether a caller with n items may send them by itself at once: because
// the lane is idle, or nothing more can wait. Then t is its turn. The first course
// bytes of the key name what its calls have in common with those of other lanes: how
// long they take. The key is the caller's again when Enter returns.
func (b *Batcher[I, R]) Enter(t *Turn[I, R], key []byte, course, n, bytes int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	full := b.items+n > b.opts.MaxWaiting || b.bytes+bytes > b.opts.MaxBytes
	l := b.lanes[string(key)]
	switch {
	case full:
		b.counts.full++
	case b.opts.Strategy != Adaptive:
		return false
	case l != nil && (len(l.queue) > 0 || !l.pace.room(now, l.inFlight)) && now >= l.doubt.rest:
		return false
	case l == nil:
		if p := b.paces[string(key[:course])]; p != nil && !p.room(now, 0) && now >= b.doubts[string(key)].rest {
			return false
		}
	}
	if l == nil {
		l = b.lane(key, course)
	}
	*t = l.enter(now, n)
	b.counts.alone++
	b.counts.items += uint64(n)
	return true
}

// End gives a turn back: the upstream has answered, or the call has failed. Calls that
// failed say nothing of how long others will take.
func (b *Batcher[I, R]) End(t *Turn[I, R], ok bool, trip Trip) {
	if t.lane == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l, now := t.lane, b.clock.Now()
	l.leave(t, now, ok, trip)
	if t.again && !ok {
		l.doubt.blame()
	}
	*t = Turn[I, R]{}
	l.back(now)
}

// Gather has items wait for a call and gives what they became. With ErrAlone they are
// the caller's to send; turn then is its turn. ctx ends the wait: items that have not
// been sent are not, and a call that nobody else waits for is cancelled. Items are
// kept until Gather returns, and beyond that while a call with them is under way.
func (b *Batcher[I, R]) Gather(ctx context.Context, turn *Turn[I, R], key []byte, course int, items []I, w Want) ([]Result[R], Outcome, error) {
	m := &member[I, R]{b: b, items: items, want: w, done: make(chan struct{})}
	b.mu.Lock()
	now := b.clock.Now()
	m.since, m.place = now, m
	b.bytes += w.Bytes
	m.want.Wait(m)
	m.urge(now)
	l := b.lanes[string(key)]
	if l == nil {
		l = b.lane(key, course)
	}
	l.add(m)
	l.dispatch(now)
	b.mu.Unlock()
	defer m.leave()
	if why := m.await(ctx); why != nil && b.abandon(m, why) {
		return nil, m.out, why
	}
	*turn = m.turn
	return m.results, m.out, m.err
}

// await waits for the answer, nil; or for a reason to do without: that the caller has
// left, or its deadline has come and nothing was sent.
func (m *member[I, R]) await(ctx context.Context) error {
	var late <-chan time.Time
	if _, deadline := m.want.Now(); !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-m.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
		}
		if m.late() {
			return ErrLate
		}
		late = nil
		if _, deadline := m.want.Now(); time.Now().Before(deadline) { // it was lent time
			late = time.After(time.Until(deadline))
		}
	}
}

// late reports whether the deadline has come before anything was sent: the call that the
// items are in waits for its turn, for others who have longer.
func (m *member[I, R]) late() bool {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	waits := m.call == nil || !m.call.urgency.Sent()
	return !m.answered && waits && m.out.Calls == 0 && m.want.Late(time.Now())
}

// urge takes note of how urgent the items are now. b.mu is held.
func (m *member[I, R]) urge(now time.Duration) {
	p, deadline := m.want.Now()
	m.class, m.rank, m.deadline = classOf(p), m.since-time.Duration(p)*ageing, 0
	if !deadline.IsZero() {
		m.deadline = max(now+time.Until(deadline), 1)
	}
}

// Lend implements llm.Place.
func (m *member[I, R]) Lend(p llm.Priority, deadline time.Time) bool {
	b := m.b
	b.mu.Lock()
	if l := m.lane; l != nil {
		l.queue = slices.DeleteFunc(l.queue, func(q *member[I, R]) bool { return q == m })
		l.count(m, -1)
		l.shortened()
		m.urge(b.clock.Now())
		l.add(m)
	}
	c := m.call // it may have come to be in one just now
	b.mu.Unlock()
	return c == nil || c.urgency.Lend(p, deadline)
}

// joins has a member's call wait for another one, which its items are in. b.mu is held.
func (m *member[I, R]) joins(c *call[I, R]) {
	m.call = c
	m.want.Join(&c.urgency)
	m.want.Leave(m.place)
	m.place = &c.urgency
}

// leave has the member's call wait here no more. The member has its answer, or has left.
func (m *member[I, R]) leave() { m.want.Leave(m.place) }

// abandon gives up a caller's interest, and takes note of why. It is false where there
// is an answer already that is an answer all the same.
func (b *Batcher[I, R]) abandon(m *member[I, R], why error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch l := m.turn.lane; {
	case m.answered && m.err == nil:
		return false
	case l != nil: // it will not send them
		now := b.clock.Now()
		l.leave(&m.turn, now, false, Trip{})
		l.back(now)
	case m.lane != nil:
		m.leaves(beforeSent, why)
		m.lane.remove(m)
		m.release()
	case m.call != nil:
		m.leaves(whileSent, why)
		m.call.without(m)
	}
	m.answered = true
	return true
}

// without has a call go on without a member that leaves. b.mu is held.
func (c *call[I, R]) without(m *member[I, R]) {
	c.present--
	switch {
	case c.err != nil: // it is over, and waits for its other half
		c.members = slices.DeleteFunc(c.members, func(other *member[I, R]) bool { return other == m })
		m.release()
	case c.present == 0:
		c.lane.b.counts.cancelled++
		c.ctx.End(nil)
	}
}

// leaves counts a caller that goes without an answer. b.mu is held.
func (m *member[I, R]) leaves(when int, why error) {
	if errors.Is(why, ErrLate) {
		m.b.counts.late++
		m.out.Queued = m.b.clock.Now() - m.since
	} else {
		m.b.counts.left[when]++
	}
}

// lane makes the lane of a key. b.mu is held.
func (b *Batcher[I, R]) lane(key []byte, course int) *lane[I, R] {
	var l *lane[I, R]
	if n := len(b.free); n > 0 {
		l, b.free = b.free[n-1], b.free[:n-1]
	} else {
		l = &lane[I, R]{b: b}
	}
	l.key = string(key)
	b.recall(l)
	p := b.paces[l.key[:course]]
	if p == nil {
		if len(b.paces) >= maxPaces {
			for name, other := range b.paces { // any: it is learnt again
				delete(b.paces, name)
				b.depart(other)
				other.evicted = true
				break
			}
		}
		p = &pace{site: &site{courses: 1}, most: b.opts.MaxItems, wait: b.opts.MaxWait, target: b.opts.Target}
		b.paces[l.key[:course]] = p
	}
	l.pace = p
	b.lanes[l.key] = l
	return l
}

func (l *lane[I, R]) enter(now time.Duration, items int) Turn[I, R] {
	at := l.pace.site
	at.tick(now)
	at.inFlight++
	l.inFlight++
	return Turn[I, R]{lane: l, site: at, items: items, begun: now, area: at.area}
}

func (l *lane[I, R]) leave(t *Turn[I, R], now time.Duration, ok bool, trip Trip) {
	at, p := t.site, l.pace
	at.tick(now)
	at.inFlight--
	l.inFlight--
	if ok && t.items > 1 {
		l.doubt.clear()
	}
	if took := now - t.begun; ok && took > 0 && at == p.site { // else nobody knows how many were under way
		p.took(now, (at.area-t.area)/took.Seconds(), t.items, t.shared, took, trip.Queued, len(at.waiting) > 0)
	}
	l.b.answered(p, trip.Upstream, now)
}

// add takes a member in, behind those that go first.
func (l *lane[I, R]) add(m *member[I, R]) {
	at, _ := slices.BinarySearchFunc(l.queue, m.rank, func(q *member[I, R], rank time.Duration) int {
		if q.rank <= rank {
			return -1
		}
		return 1
	})
	l.queue = slices.Insert(l.queue, at, m)
	switch {
	case len(l.queue) == 1:
		l.pace.add(l)
	case at == 0:
		l.pace.moved(l)
	}
	m.lane = l
	l.count(m, 1)
}

// remove takes a member out that waits and has left.
func (l *lane[I, R]) remove(m *member[I, R]) {
	at := slices.Index(l.queue, m)
	l.queue = slices.Delete(l.queue, at, at+1)
	l.takeOut(m, l.b.clock.Now())
	l.shortened()
	l.end()
}

// shortened has the site know that some do not gather in the lane any more.
func (l *lane[I, R]) shortened() {
	if len(l.queue) == 0 {
		l.pace.remove(l)
	} else {
		l.pace.moved(l)
	}
}

// count notes that a member waits, or does not any more.
func (l *lane[I, R]) count(m *member[I, R], by int) {
	n, w := by*len(m.items), by*m.want.Weight
	l.items, l.load = l.items+n, l.load+w
	l.pace.items += n
	l.b.items += n
	l.b.counts.waiting[m.class] += n
}

// end gives the lane up where nothing is left in it.
func (l *lane[I, R]) end() {
	if l.inFlight > 0 || len(l.queue) > 0 {
		return
	}
	if l.armed > 0 {
		l.timer.Stop()
		l.armed = 0
	}
	b := l.b
	delete(b.lanes, l.key)
	b.remember(l)
	l.key, l.pace, l.doubt = "", nil, doubt{}
	if len(b.free) < maxFree {
		b.free = append(b.free, l)
	}
}

// first implements waiting.
func (l *lane[I, R]) first() time.Duration { return l.queue[0].rank }

// index implements waiting.
func (l *lane[I, R]) index() *int { return &l.at }

// next implements waiting: one call leaves.
func (l *lane[I, R]) next(now time.Duration) {
	if l.refuseLate(now); len(l.queue) > 0 {
		l.launch(l.take(now), now, false, nil)
	}
	l.rest(now)
}

// back has leave what may since a call of the lane has ended.
func (l *lane[I, R]) back(now time.Duration) {
	if l.b.opts.Strategy == Adaptive {
		l.inFlight++ // it stays while others are looked at
		l.pace.fill(now)
		l.inFlight--
	}
	l.dispatch(now)
}

// dispatch has leave what is due, and sees that the rest does in time. b.mu is held.
func (l *lane[I, R]) dispatch(now time.Duration) {
	l.refuseLate(now)
	flush := l.b.opts.Strategy == Time && l.expired(now)
	for len(l.queue) > 0 && (flush || l.due(now)) {
		l.launch(l.take(now), now, false, nil)
	}
	l.rest(now)
}

// rest sees to what is left in the lane.
func (l *lane[I, R]) rest(now time.Duration) {
	if len(l.queue) > 0 {
		l.arm(l.expiry(), now)
		return
	}
	l.end()
}

// due reports whether a call is to be made.
func (l *lane[I, R]) due(now time.Duration) bool {
	o := &l.b.opts
	switch o.Strategy {
	case Size:
		return l.items >= o.MaxItems || o.MaxWeight > 0 && l.load >= o.MaxWeight || l.expired(now)
	case Time:
		return l.expired(now)
	default:
		return l.pace.room(now, l.inFlight) || l.expired(now)
	}
}

func (l *lane[I, R]) expired(now time.Duration) bool { return len(l.queue) > 0 && now >= l.expiry() }

// expiry is when the first window ends.
func (l *lane[I, R]) expiry() time.Duration {
	window := l.window()
	first := l.queue[0].since + window
	for _, m := range l.queue {
		first = min(first, m.since+window)
		if m.deadline > 0 {
			first = min(first, m.deadline-l.pace.expect(l.b.opts.MaxItems))
		}
	}
	return first
}

func (l *lane[I, R]) window() time.Duration {
	if l.b.opts.Strategy == Adaptive {
		return l.pace.window()
	}
	return l.b.opts.MaxWait
}

// refuseLate tells those so that can no longer be answered in time.
func (l *lane[I, R]) refuseLate(now time.Duration) {
	soonest, before := now+l.pace.soonest(), len(l.queue)
	l.queue = slices.DeleteFunc(l.queue, func(m *member[I, R]) bool {
		late := m.deadline > 0 && soonest > m.deadline && m.want.Late(time.Now().Add(soonest-now))
		if late {
			l.b.counts.late++
			l.takeOut(m, now)
			m.answer(nil, ErrLate)
		}
		return late
	})
	if len(l.queue) < before {
		l.shortened()
	}
}

// take takes those out of the queue that go together, the first in rank first.
func (l *lane[I, R]) take(now time.Duration) (members []*member[I, R]) {
	o := &l.b.opts
	most, weight, items := o.MaxItems, 0, 0
	if o.Strategy == Adaptive {
		most = l.pace.size(l.pace.items, l.pace.limit()-l.pace.inFlight)
	}
	if now < l.doubt.rest {
		most = 1
	}
	for _, m := range l.queue {
		items, weight = items+len(m.items), weight+m.want.Weight
		if len(members) > 0 && (items > most || o.MaxWeight > 0 && weight > o.MaxWeight) {
			break
		}
		l.takeOut(m, now)
		l.b.counts.wait.Observe(m.out.Queued)
		members = append(members, m)
	}
	l.queue = slices.Delete(l.queue, 0, len(members))
	l.shortened()
	return members
}

// takeOut notes that a member gathers no more.
func (l *lane[I, R]) takeOut(m *member[I, R], now time.Duration) {
	l.count(m, -1)
	m.lane = nil
	m.out.Queued = now - m.since
}

// launch makes a call of some members. Where there is one it does so by itself. again
// says that they were in one before that was refused, h which one it is a half of.
func (l *lane[I, R]) launch(members []*member[I, R], now time.Duration, again bool, h *halves[I, R]) {
	b := l.b
	size := 0
	for _, m := range members {
		size += len(m.items)
	}
	switch len(members) {
	case 0:
		return
	case 1:
		t := l.enter(now, size)
		t.again = again
		members[0].alone(t)
		b.counts.alone++
		b.counts.items += uint64(size)
		return
	}
	c := &call[I, R]{lane: l, members: members, size: size, present: len(members), turn: l.enter(now, size), again: again, halves: h}
	c.turn.shared = true
	c.urgency.Priority, c.urgency.Deadline = members[0].want.Now()
	c.urgency.Turn = &c.shared
	for _, m := range members {
		m.joins(c)
	}
	b.counts.shared++
	b.counts.sharedItems += uint64(size)
	b.counts.items += uint64(size)
	b.counts.size.ObserveCount(int64(size))
	b.running.Go(func() { b.run(c) })
}

// run makes a call.
func (b *Batcher[I, R]) run(c *call[I, R]) {
	defer c.ctx.End(nil)
	items := make([]I, 0, c.size)
	for _, m := range c.members {
		items = append(items, m.items...)
	}
	results, trip, err := b.send(&c.ctx, c.urgency, items)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	c.queued, c.took = trip.Queued, max(now-c.turn.begun-trip.Queued, 0)
	c.lane.leave(&c.turn, now, err == nil, trip)
	for _, m := range c.members {
		if m.answered { // it left, and the call held its items
			m.release()
		}
	}
	switch c.err = err; {
	case err == nil:
		c.share(results, now)
		c.compare(false, now)
	case c.ctx.Err() != nil: // nobody is here any more
		c.compare(false, now)
	default:
		c.fail(now)
	}
	c.lane.back(now)
}

// send keeps a fault of Send's to the callers of this call.
func (b *Batcher[I, R]) send(ctx context.Context, u llm.Urgency, items []I) (results []Result[R], trip Trip, err error) {
	defer func() {
		if r := recover(); r != nil {
			results, trip, err = nil, Trip{}, fmt.Errorf("send %d items: %v\n%s", len(items), r, debug.Stack())
		}
	}()
	if results, trip, err = b.opts.Send(ctx, u, items); err == nil && len(results) != len(items) {
		err = fmt.Errorf("send %d items: there are %d results", len(items), len(results))
	}
	return results, trip, err
}

// share gives each member its results. One for which some are missing sends its items
// by itself, and learns what the upstream has to say. b.mu is held.
func (c *call[I, R]) share(results []Result[R], now time.Duration) {
	missing := false
	for _, m := range c.members {
		own := results[:len(m.items):len(m.items)]
		results = results[len(m.items):]
		switch {
		case m.answered: // it has left
		case slices.ContainsFunc(own, func(r Result[R]) bool { return !r.OK }):
			missing = true
			c.lane.b.counts.extra[incomplete]++
			m.again(c)
			m.alone(c.lane.enter(now, len(m.items)))
		default:
			m.out.Size = c.size
			m.answer(own, nil)
		}
	}
	if missing {
		c.lane.doubt.refuse(now, true)
	}
}

// fail tells the members of the call's error, or, where it may be of one of them, sends
// the items again in two halves. b.mu is held.
func (c *call[I, R]) fail(now time.Duration) {
	h := c.halves
	switch blame := c.lane.b.opts.Blame(c.err); {
	case blame == Item:
		if !c.again {
			c.lane.doubt.refuse(now, false)
		}
		c.halve(now, true, nil)
		c.compare(false, now) // the upstream answers
	case blame == Either && (h == nil || h.ended && !h.failed):
		c.halve(now, false, new(halves[I, R]))
	case blame == Either && !h.ended:
		h.ended, h.failed, h.waits = true, true, c
	default:
		c.refuse()
		c.compare(true, now)
	}
}

// compare has the other half go on that failed before this call ended: it is halved
// again unless this one failed as well. b.mu is held.
func (c *call[I, R]) compare(failed bool, now time.Duration) {
	h := c.halves
	if h == nil {
		return
	}
	h.ended, h.failed = true, failed
	if other := h.waits; other != nil {
		if h.waits = nil; failed {
			other.refuse()
		} else {
			other.halve(now, false, new(halves[I, R]))
		}
	}
}

// here are those members who have not left.
func (c *call[I, R]) here() []*member[I, R] {
	return slices.DeleteFunc(c.members, func(m *member[I, R]) bool { return m.answered })
}

// halve sends the items of a call that failed again in two. b.mu is held.
func (c *call[I, R]) halve(now time.Duration, refused bool, h *halves[I, R]) {
	here, why := c.here(), failedCall
	c.took = max(now-c.turn.begun-c.queued, 0) // with what it waited for the other half
	if refused {
		why = refusedCall
	}
	for _, m := range here {
		m.again(c)
	}
	half := len(here) / 2
	if half < 2 { // an item alone has nothing that it is compared with
		h = nil
	}
	for _, members := range [...][]*member[I, R]{here[:half:half], here[half:]} {
		if len(members) > 0 {
			c.lane.b.counts.extra[why]++
			c.lane.launch(members, now, refused, h)
		}
	}
}

// refuse tells all members of the call's error. b.mu is held.
func (c *call[I, R]) refuse() {
	for _, m := range c.here() {
		m.answer(nil, c.err)
	}
}

// again notes that a member was in a call that gave it nothing.
func (m *member[I, R]) again(c *call[I, R]) {
	m.out.Queued += c.queued
	m.out.Waited += c.took
	m.out.Calls++
	m.call = nil
}

// answer ends a member's wait.
func (m *member[I, R]) answer(results []Result[R], err error) {
	m.results, m.err, m.answered, m.call = results, err, true, nil
	m.release()
	close(m.done)
}

// release notes that nothing is held for the member any more. b.mu is held.
func (m *member[I, R]) release() {
	m.b.bytes -= m.want.Bytes
	m.want.Bytes = 0
}

// alone leaves its items to the caller.
func (m *member[I, R]) alone(t Turn[I, R]) {
	m.turn = t
	m.answer(nil, ErrAlone)
}

// arm has dispatch be called at a time.
func (l *lane[I, R]) arm(at, now time.Duration) {
	if l.armed > 0 && l.armed <= at {
		return
	}
	l.armed = at
	if l.timer == nil {
		l.timer = time.AfterFunc(max(at-now, 0), l.fire)
	} else {
		l.timer.Reset(max(at-now, 0))
	}
}

// fire is called when a window ends. The lane may be another key's by then.
func (l *lane[I, R]) fire() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.armed = 0
	if len(l.queue) > 0 {
		l.dispatch(l.b.clock.Now())
	}
}
