package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
)

// read is the commands for one place.
type read struct {
	value *goredis.StringCmd
	left  *goredis.DurationCmd
}

// Get fills found with what there is in places. It waits no longer than the
// time-out, nor than ctx; what was asked goes on beside, and tells the breaker.
func (l *Level) Get(ctx context.Context, places []cache.Place, found []cache.Found) error {
	clear(found)
	if !l.breaker.up.Load() {
		return errDown
	}
	limit, cancel := context.WithTimeout(l.ctx, l.cfg.Timeout)
	reads, commands := make([]read, len(places)), make([]goredis.Cmder, 0, 2*len(places))
	for i, p := range places {
		// Made by hand, these allocate half as much.
		var key any = l.names.place(p)
		r := read{goredis.NewStringCmd(limit, "getrange", key, "0", l.end), goredis.NewDurationCmd(limit, time.Millisecond, "pttl", key)}
		reads[i], commands = r, append(commands, r.value, r.left)
	}
	pipe := l.client.Pipeline()
	_ = pipe.BatchProcess(limit, commands...)
	done := make(chan error, 1)
	if !l.start(func() {
		defer cancel()
		done <- l.fetch(limit, pipe, reads)
	}) {
		cancel()
		return errClosed
	}
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.Done():
		// A fetch that is done ended it too.
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		default:
			return limit.Err()
		}
	}
	for i, r := range reads {
		found[i] = l.found(r)
	}
	return nil
}

// fetch asks, and counts.
func (l *Level) fetch(ctx context.Context, pipe goredis.Pipeliner, reads []read) error {
	began := time.Now()
	err := guard(func() error {
		_, _ = pipe.Exec(ctx) // each command has its error
		return nil
	})
	l.figures.get.Observe(time.Since(began))
	for _, r := range reads {
		for _, e := range []error{r.value.Err(), r.left.Err()} {
			if err == nil && e != nil && !goredis.HasErrorPrefix(e, "WRONGTYPE") {
				err = e
			}
		}
	}
	l.judge(err)
	return err
}

// found says what a place has. A value of another type, one that is too large
// and one that stays for ever are not from here, and as good as none.
func (l *Level) found(r read) cache.Found {
	value, err := r.value.Bytes()
	left := r.left.Val() // -1 without a life, -2 without a value
	if err != nil || len(value) == 0 || int64(len(value)) > l.max || left < time.Millisecond {
		l.figures.misses.Add(1)
		return cache.Found{}
	}
	l.figures.hits.Add(1)
	return cache.Found{Value: value, Left: left}
}
