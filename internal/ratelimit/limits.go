package ratelimit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/monotonic"
	"sluice/internal/perf"
	"sluice/internal/redis"
)

// Limits are those of all keys of a configuration.
type Limits struct {
	cfg    Config
	clock  monotonic.Clock
	keys   map[string]*Key
	store  store // nil: nothing is shared
	before *Limits
	calls  sync.Pool // of *call

	admitted  atomic.Uint64
	refused   [causes]atomic.Uint64
	alone     atomic.Uint64 // calls that the store did not answer for
	estimated atomic.Uint64 // tokens
	used      atomic.Uint64 // tokens, of calls that have ended
}

// cause is why a call was refused.
type cause uint8

const (
	byRequests cause = iota
	byTokens
	bySize  // it is more than the limit allows at once
	byStore // the store did not answer for it
	causes  // how many there are
)

func (c cause) String() string {
	return [causes]string{"requests", "tokens", "size", "redis"}[c]
}

// Spec is a key and what it may use.
type Spec struct {
	Name string // for people
	ID   string // tells keys apart, also those of other machines; holds no secret

	RequestsPerMinute, TokensPerMinute int64 // 0: no limit
}

// store knows what all machines together have used.
type store interface {
	// take asks for what a key's call costs, after what is to be put right was. It
	// waits no longer than a request may.
	take(k *Key, cost, owed amounts) (answer, error)
	// settle puts right what keys have used.
	settle(owing []owing)
	perf.Examined
	perf.Source
	start()
	close()
}

// answer is what a store says to a call.
type answer struct {
	admitted bool
	levels   amounts
}

// owing is what a key's use is to be put right by.
type owing struct {
	key  *Key
	owed amounts
}

// Options is what Limits may need besides their configuration.
type Options struct {
	// Redis is where machines count together; nil is nowhere.
	Redis *redis.Use

	// Before are the Limits whose counts these take over, with TakeOver; nil for none.
	Before *Limits
}

// New makes the Limits of keys. It asks nobody and changes nothing; TakeOver and Run
// do. The configuration is valid. Errors are those of Redis's URL.
func New(cfg Config, keys []Spec, o Options) (*Limits, error) {
	l := &Limits{cfg: cfg, clock: monotonic.New(), keys: make(map[string]*Key, len(keys)), before: o.Before}
	if o.Before != nil {
		l.clock = o.Before.clock
	}
	l.calls.New = func() any { return new(call) }
	place := func(string) string { return "" }
	if o.Redis != nil {
		s, err := newRedisStore(o.Redis)
		if err != nil {
			return nil, err
		}
		l.store, place = s, s.place
	}
	for _, s := range keys {
		if s.RequestsPerMinute == 0 && s.TokensPerMinute == 0 {
			continue
		}
		k := &Key{
			limits: l, name: s.Name, place: place(s.ID), perMinute: [kinds]int64{s.RequestsPerMinute, s.TokensPerMinute},
			bucket: newBucket(s.RequestsPerMinute, s.TokensPerMinute, cfg.Burst),
		}
		if before := o.Before.Key(s.ID); before != nil {
			k.account = before.account
		} else {
			k.account = &account{at: l.clock.Now()}
		}
		l.keys[s.ID] = k
	}
	return l, nil
}

// Key gives the key of an ID; nil where nothing limits it.
func (l *Limits) Key(id string) *Key {
	if l == nil {
		return nil
	}
	return l.keys[id]
}

// TakeOver goes on from Options.Before, and begins to ask Redis. It is called once,
// before the first call.
func (l *Limits) TakeOver() {
	if l.before != nil {
		for _, k := range l.before.keys { // at the rates that held up to now
			k.account.mu.Lock()
			k.drain()
			k.account.mu.Unlock()
		}
	}
	l.before = nil
	if l.store != nil {
		l.store.start()
	}
}

// settleEvery is how long the store may go without hearing what calls really used,
// where no other call of the key tells it.
const settleEvery = time.Second

// Run tells the store what calls really used, until ctx is done.
func (l *Limits) Run(ctx context.Context) {
	if l.store == nil {
		return
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		l.settleAll()
	}
}

// settleAll tells the store what no call has told it yet.
func (l *Limits) settleAll() {
	var list []owing
	for _, k := range l.keys {
		if owed := k.takeOwed(); owed != (amounts{}) {
			list = append(list, owing{k, owed})
		}
	}
	if len(list) > 0 {
		l.store.settle(list)
	}
}

// Close ends what asks Redis. It is called after Run has returned.
func (l *Limits) Close() {
	if l.store != nil {
		l.store.close()
	}
}

// Key is a key that is limited. It implements llm.Meter.
type Key struct {
	limits    *Limits
	name      string // for people
	place     string // in the store; "" without one
	perMinute [kinds]int64
	bucket
	account *account // which the key of the next configuration has too
}

// account is what a key has used.
type account struct {
	mu   sync.Mutex
	at   time.Duration // when the levels were so, on the clock
	own  amounts       // level by what this machine has admitted
	seen amounts       // level that the store told last
	owed amounts       // what it is to be put right by
}

// drain brings the levels up to now. The account is locked.
func (k *Key) drain() {
	a, now := k.account, k.limits.clock.Now()
	a.own, a.seen, a.at = k.drained(a.own, now-a.at), k.drained(a.seen, now-a.at), now
}

// levels are what is known to be used. The account is locked.
func (k *Key) levels() amounts {
	a := k.account
	return amounts{max(a.own[requests], a.seen[requests]), max(a.own[tokens], a.seen[tokens])}
}

// Left implements llm.Meter.
func (k *Key) Left() (r, t llm.Allowance) {
	a := k.account
	a.mu.Lock()
	k.drain()
	levels := k.levels()
	a.mu.Unlock()
	return k.left(requests, levels), k.left(tokens, levels)
}

func (k *Key) left(i int, levels amounts) llm.Allowance {
	if k.rate[i] == 0 {
		return llm.Allowance{}
	}
	return llm.Allowance{Limit: k.perMinute[i], Left: int64(max(k.burst[i]-levels[i]+slack, 0)), Reset: seconds(levels[i] / k.rate[i])}
}

// take admits a call, or says why not. shared is whether the store has counted it.
func (k *Key) take(cost amounts) (shared bool, err error) {
	l := k.limits
	if k.rate[tokens] > 0 && cost[tokens] > k.burst[tokens]+slack {
		l.refused[bySize].Add(1)
		return false, k.tooLarge(cost)
	}
	a := k.account
	a.mu.Lock()
	k.drain()
	if !k.room(a.own, cost) { // then the store has none either
		levels := k.levels()
		a.mu.Unlock()
		return false, k.refuse(levels, cost)
	}
	a.own = k.filled(a.own, cost)
	owed := a.owed
	if l.store != nil {
		a.owed = amounts{}
	}
	a.mu.Unlock()
	if l.store == nil {
		l.admitted.Add(1)
		return false, nil
	}
	told, err := l.store.take(k, cost, owed)
	if err != nil && l.cfg.RedisFailure == FailOpen {
		l.alone.Add(1)
		l.admitted.Add(1)
		return false, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k.drain()
	if err == nil {
		a.seen = told.levels
		if told.admitted {
			l.admitted.Add(1)
			return true, nil
		}
	}
	a.own = k.filled(a.own, amounts{-cost[requests], -cost[tokens]})
	if err != nil {
		l.refused[byStore].Add(1)
		return false, errStore(err)
	}
	return false, k.refuse(told.levels, cost)
}

// correct puts right what a call was taken to cost in tokens.
func (k *Key) correct(by float64, shared bool) {
	a, diff := k.account, amounts{tokens: by}
	a.mu.Lock()
	defer a.mu.Unlock()
	k.drain()
	a.own = k.filled(a.own, diff)
	if shared {
		a.seen = k.filled(a.seen, diff)
		a.owed[tokens] += by
	}
}

// takeOwed gives what the store is to be told.
func (k *Key) takeOwed() amounts {
	a := k.account
	a.mu.Lock()
	defer a.mu.Unlock()
	owed := a.owed
	a.owed = amounts{}
	return owed
}
