package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
)

// Put stores a value later, if the server is up and the queue has room.
func (l *Level) Put(place cache.Place, value []byte, life time.Duration) {
	if life < time.Millisecond || len(value) == 0 {
		return // nobody would find it
	}
	if int64(len(value)) > l.max || !l.breaker.up.Load() || !l.queue.add(put{place, value, time.Now().Add(life)}) {
		l.figures.dropped.Add(1)
	}
}

// write stores what is queued.
func (l *Level) write() {
	for {
		b := l.queue.take(l.ctx.Done())
		if b == nil {
			return
		}
		l.store(b.puts)
		l.queue.finish(b)
	}
}

// store stores puts in one round trip. What the server refuses, being full or
// a replica, tells nothing about reads.
func (l *Level) store(puts []put) {
	if !l.breaker.up.Load() {
		l.figures.dropped.Add(uint64(len(puts)))
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	began := time.Now()
	pipe := l.client.Pipeline()
	for _, p := range puts {
		if life := p.end.Sub(began).Truncate(time.Millisecond); life > 0 {
			pipe.Set(ctx, l.names.place(p.place), p.value, life)
		}
	}
	var done []goredis.Cmder
	failure := guard(func() error {
		done, _ = pipe.Exec(ctx) // each command has its error
		return nil
	})
	l.figures.put.Observe(time.Since(began))
	for _, c := range done {
		err := c.Err()
		if err == nil {
			continue
		}
		l.figures.dropped.Add(1)
		if kindOf(err) == reply {
			l.figures.errors[reply].Add(1)
		} else {
			failure = err
		}
	}
	l.judge(failure)
}
