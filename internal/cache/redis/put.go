package redis

import (
	"context"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
	"sluice/internal/redis"
)

// Put stores a value later, if the server is up and the queue has room.
func (l *Level) Put(place cache.Place, value []byte, life time.Duration) {
	if life < time.Millisecond || len(value) == 0 {
		return // nobody would find it
	}
	if int64(len(value)) > l.max || !l.Up() || !l.queue.add(put{place, value, time.Now().Add(life)}) {
		l.figures.dropped.Add(1)
	}
}

// write stores what is queued.
func (l *Level) write() {
	for {
		b := l.queue.await(l.ended)
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
	var done []goredis.Cmder
	err := l.client.Work(func(ctx context.Context, server redis.Server) (failure error) {
		began := time.Now()
		defer func() { l.figures.put.Observe(time.Since(began)) }()
		pipe := redis.Pipeline(server)
		for _, p := range puts {
			if life := p.end.Sub(began).Truncate(time.Millisecond); life > 0 {
				pipe.Set(ctx, l.names.place(p.place), p.value, life)
			}
		}
		done, _ = pipe.Exec(ctx) // each command has its error
		for _, c := range done {
			if err := c.Err(); err != nil && redis.KindOf(err) != redis.Reply {
				failure = err
			}
		}
		return failure
	})
	if errors.Is(err, redis.ErrDown) || errors.Is(err, redis.ErrClosed) {
		l.figures.dropped.Add(uint64(len(puts)))
		return
	}
	for _, c := range done {
		if err := c.Err(); err != nil {
			l.figures.dropped.Add(1)
			if redis.KindOf(err) == redis.Reply {
				l.client.Count(err)
			}
		}
	}
}
