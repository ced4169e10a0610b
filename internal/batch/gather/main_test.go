package gather

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBad, errBroken = errors.New("bad item"), errors.New("it broke")

// service is an upstream that works at so many calls at once. A call takes fixed and
// item for each of its items. Calls wait for their turn in the order in which they
// come. It is for a bubble of synctest, or for services without costs.
type service struct {
	names       []string // of upstreams, each of which answers in its turn; none where there is none
	fixed, item time.Duration
	slots       chan struct{} // nil for as many as come
	before      time.Duration // that each waits for its turn in the gateway
	gateway     bool          // the slots are the gateway's, and the service works at any number

	// fail is asked for the error of a call; nil for none. lose for the items that the
	// reply lacks.
	fail func(items []string) error
	lose func(item string) bool

	mu    sync.Mutex
	sizes []int          // of each call
	seen  map[string]int // how often each item came
	cut   int            // calls that were cancelled

	answers int
	last    llm.Urgency // of the last call that callers shared
}

func newService(fixed, item time.Duration, slots int) *service {
	s := &service{fixed: fixed, item: item, seen: map[string]int{}}
	s.turn(slots)
	return s
}

// turn has the service work at so many calls at once from now on, 0 for as many as come.
func (s *service) turn(slots int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots = nil; slots > 0 {
		s.slots = make(chan struct{}, slots)
	}
}

func (s *service) call(ctx context.Context, items []string) ([]Result[string], error) {
	results, _, err := s.send(ctx, items)
	return results, err
}

// share is a call of several callers' items.
func (s *service) share(ctx context.Context, u llm.Urgency, items []string) ([]Result[string], Trip, error) {
	s.mu.Lock()
	s.last = u
	s.mu.Unlock()
	u.Send()
	results, queued, err := s.send(ctx, items)
	return results, Trip{queued, s.upstream()}, err
}

// upstream gives the name of the one that answered.
func (s *service) upstream() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == 0 {
		return ""
	}
	s.answers++
	return s.names[s.answers%len(s.names)]
}

// send tells as well how long the call waited for its turn.
func (s *service) send(ctx context.Context, items []string) (results []Result[string], queued time.Duration, err error) {
	s.mu.Lock()
	s.sizes = append(s.sizes, len(items))
	for _, item := range items {
		s.seen[item]++
	}
	fail, lose, slots := s.fail, s.lose, s.slots
	s.mu.Unlock()
	queued = s.before
	if slots != nil {
		begun := time.Now()
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return s.cancelled(ctx)
		}
		if s.gateway {
			queued += time.Since(begun)
		}
	}
	if d := s.before + s.fixed + time.Duration(len(items))*s.item; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return s.cancelled(ctx)
		}
	}
	if fail != nil {
		if err := fail(items); err != nil {
			return nil, queued, err
		}
	}
	out := make([]Result[string], len(items))
	for i, item := range items {
		out[i] = Result[string]{"of " + item, lose == nil || !lose(item)}
	}
	return out, queued, nil
}

func (s *service) cancelled(ctx context.Context) ([]Result[string], time.Duration, error) {
	s.mu.Lock()
	s.cut++
	s.mu.Unlock()
	return nil, 0, ctx.Err()
}

// calls gives the sizes of the calls since it was asked last.
func (s *service) calls() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes := s.sizes
	s.sizes = nil
	return sizes
}

type batcher = Batcher[string, string]

func defaults(s *service) Options[string, string] {
	return Options[string, string]{
		MaxItems: 10, MaxWait: 100 * time.Millisecond, MaxWaiting: 10_000, MaxBytes: 1 << 20,
		Send: s.share, Blame: func(err error) Blame {
			switch {
			case errors.Is(err, errBad):
				return Item
			case errors.Is(err, errBroken):
				return Either
			default:
				return None
			}
		},
	}
}

// answer is what a caller got.
type answer struct {
	results []Result[string]
	out     Outcome
	alone   bool
	err     error
}

// ask has a caller's items answered as a stage does. Calls of its own go to s.
func ask(ctx context.Context, b *batcher, s *service, key string, w Want, items ...string) answer {
	if w.Weight == 0 {
		w.Weight = len(items)
	}
	if w.Bytes == 0 {
		w.Bytes = len(items)
	}
	var t Turn[string, string]
	var a answer
	if a.alone = b.Enter(&t, []byte(key), 1, len(items), w.Bytes); !a.alone {
		a.results, a.out, a.err = b.Gather(ctx, &t, []byte(key), 1, items, w)
		a.alone = errors.Is(a.err, ErrAlone)
	}
	if a.alone {
		var queued time.Duration
		a.results, queued, a.err = s.send(ctx, items)
		a.out.Size = len(items)
		b.End(&t, a.err == nil, Trip{queued, s.upstream()})
	}
	return a
}

// check says what is wrong with what a caller got, "" for nothing.
func (a answer) check(items []string) string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case len(a.results) != len(items):
		return fmt.Sprintf("%d results of %d items", len(a.results), len(items))
	}
	for i, r := range a.results {
		if r.Value != "of "+items[i] {
			return fmt.Sprintf("item %s has the result %s", items[i], r.Value)
		}
	}
	return ""
}

// empty checks that nothing is left of any caller.
func empty(t *testing.T, b *batcher) {
	t.Helper()
	b.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lanes) != 0 || b.items != 0 || b.bytes != 0 || b.counts.waiting != [classes]int{} {
		t.Errorf("%d lanes, %d items, %d bytes, %v are left", len(b.lanes), b.items, b.bytes, b.counts.waiting)
	}
	courses := 0
	for name, s := range b.sites {
		courses += s.courses
		if name != s.name || s.courses == 0 || s.inFlight != 0 || len(s.waiting) != 0 || s.items != 0 {
			t.Errorf("site %q: %+v", name, s)
		}
	}
	for _, p := range b.paces {
		if s := p.site; s.name == "" {
			courses++
			if s.inFlight != 0 || len(s.waiting) != 0 || s.items != 0 {
				t.Errorf("a site without a name: %+v", s)
			}
		}
	}
	if courses != len(b.paces) {
		t.Errorf("sites have %d courses of %d", courses, len(b.paces))
	}
	for _, l := range b.free {
		if l.armed != 0 || len(l.queue) != 0 || l.inFlight != 0 {
			t.Errorf("a lane that was given up: %+v", l)
		}
	}
}
