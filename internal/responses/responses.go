package responses

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/redis"
)

// Options are what Responses need besides their configuration.
type Options struct {
	Account *memory.Account // where what is kept is reserved; nil for no bound
	Buffers *memory.Buffers // lend what requests are written anew in

	// Redis is the second level; nil for none.
	Redis *redis.Use

	// Before are the Responses whose replies these take over; nil for none.
	Before *Responses
}

// Responses keeps replies. It is safe for concurrent use.
type Responses struct {
	cfg     Config
	store   *store
	level   *level // nil for none
	buffers *memory.Buffers
	account *memory.Account
	calls   sync.Pool // of *call
}

// New makes them. It asks nobody and changes nothing; TakeOver does. The configuration is
// valid. Errors are those of Redis's URL. They have to be closed.
func New(cfg Config, o Options) (*Responses, error) {
	r := &Responses{cfg: cfg, buffers: o.Buffers, account: o.Account}
	r.calls.New = func() any { return &call{r: r} }
	if o.Redis != nil {
		var err error
		if r.level, err = newLevel(o.Redis); err != nil {
			return nil, err
		}
	}
	if o.Before != nil {
		r.store = o.Before.store
	} else {
		r.store = newStore(o.Account)
	}
	r.store.enter()
	return r, nil
}

// TakeOver begins to keep replies, and to ask Redis. It is called once, before the first call.
func (r *Responses) TakeOver() {
	r.Bound(r.cfg.MaxBytes)
	if r.level != nil {
		r.level.client.Start()
	}
}

// Close gives back what is held, unless others have taken over.
func (r *Responses) Close() {
	if r.level != nil {
		r.level.client.Close()
	}
	r.store.leave()
}

// Bytes is what is kept in memory, and Bound bounds it, within max_bytes: what was used least
// goes first.
func (r *Responses) Bytes() int64 {
	_, bytes := r.store.held()
	return bytes
}

func (r *Responses) Bound(bytes int64) { r.store.bound(min(bytes, r.cfg.MaxBytes)) }

// Tidy lets go of what has expired.
func (r *Responses) Tidy(ctx context.Context) (replies int, bytes int64) { return r.store.sweep(ctx) }

// find gives a reply by its id, nil for none. Its turn is the caller's until he lets go of it.
// The error, an *llm.Error, says that it may be there and cannot be had now.
func (r *Responses) find(tenant, id string) (*reply, error) {
	k := keyOf(tenant, id)
	kept := r.store.get(k)
	if kept != nil {
		if kept.shared && r.isBuried(k) {
			r.store.letGo(kept.turn)
			r.store.drop(k)
			kept = nil
		} else {
			r.store.figures.found.Add(1)
			return kept, nil
		}
	} else if r.level != nil {
		var err error
		if kept, err = r.fetch(k); err != nil {
			return nil, err
		}
	}
	if kept == nil {
		r.store.figures.missing.Add(1)
	} else {
		r.store.figures.foundShared.Add(1)
	}
	return kept, nil
}

// isBuried reports whether another machine has deleted a reply. One that the second level has
// not any more, or that it does not answer for, is as it is here.
func (r *Responses) isBuried(k key) bool {
	if r.level == nil {
		return false
	}
	first, err := r.level.read(k, 1)
	return err == nil && string(first) == buried
}

// fetch brings a reply from the second level.
func (r *Responses) fetch(k key) (*reply, error) {
	most := r.cfg.MaxEntryBytes + envelope
	value, err := r.level.read(k, most+1)
	if err != nil {
		e := llm.Errorf(503, "responses_unavailable", "The gateway cannot reach where the response may be kept. Try again shortly.")
		e.Fault, e.RetryAfter, e.Err = llm.Unavailable, time.Second, err
		return nil, e
	}
	if int64(len(value)) > most {
		return nil, nil
	}
	kept := readValue(value, k)
	if kept == nil || !time.Now().Before(kept.expires) {
		return nil, nil
	}
	if err := r.account.Begin(kept.own() + kept.turn.own()); err != nil {
		return nil, err
	}
	kept.turn.users++ // the caller's
	r.store.put(kept)
	return kept, nil
}

// keep keeps a reply whose memory is reserved, with its turn.
func (r *Responses) keep(kept *reply) {
	r.store.figures.kept.Add(1)
	var value []byte
	if r.level != nil {
		value = r.value(kept)
		kept.shared = value != nil
	}
	r.store.put(kept)
	if value == nil {
		return
	}
	if err := r.level.put(kept.key, value, time.Until(kept.expires)); err != nil {
		r.store.figures.dropped.Add(1)
	}
	r.account.Give(int64(cap(value)))
}

// value is what the second level is to have of a reply, with its memory reserved; nil where
// there is none or the level is down.
func (r *Responses) value(kept *reply) []byte {
	n := kept.turn.size + kept.own() + envelope
	if !r.level.client.Up() || !r.account.More(n) {
		r.store.figures.dropped.Add(1)
		return nil
	}
	return appendValue(make([]byte, 0, n), kept)
}

// forget deletes a reply and reports whether there was one. An error says that other machines
// may still have it.
func (r *Responses) forget(tenant, id string) (bool, error) {
	k := keyOf(tenant, id)
	found := r.store.drop(k)
	if r.level == nil {
		return found, nil
	}
	elsewhere, err := r.level.bury(k, r.cfg.TTL)
	if err != nil {
		e := llm.Errorf(503, "responses_unavailable", "The gateway cannot reach where the response may be kept, so that it may be there still. Try again shortly.")
		e.Fault, e.RetryAfter, e.Err = llm.Unavailable, time.Second, fmt.Errorf("delete response: %w", err)
		return false, e
	}
	return found || elsewhere, nil
}
