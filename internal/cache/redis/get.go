package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
	"sluice/internal/redis"
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
	reads := make([]read, len(places))
	err := l.client.Do(ctx, func(ctx context.Context, server redis.Server) error {
		return l.fetch(ctx, server, places, reads)
	})
	if err != nil {
		return err
	}
	for i, r := range reads {
		found[i] = l.found(r)
	}
	return nil
}

// fetch reads places, in one round trip. It may go on when the wait is over.
func (l *Level) fetch(ctx context.Context, server redis.Server, places []cache.Place, reads []read) error {
	commands := make([]goredis.Cmder, 0, 2*len(places))
	for i, p := range places {
		// Made by hand, these allocate half as much.
		var key any = l.names.place(p)
		r := read{goredis.NewStringCmd(ctx, "getrange", key, "0", l.end), goredis.NewDurationCmd(ctx, time.Millisecond, "pttl", key)}
		reads[i], commands = r, append(commands, r.value, r.left)
	}
	pipe := redis.Pipeline(server)
	_ = pipe.BatchProcess(ctx, commands...)
	began := time.Now()
	defer func() { l.figures.get.Observe(time.Since(began)) }()
	_, _ = pipe.Exec(ctx) // each command has its error
	var failure error
	for _, r := range reads {
		for _, e := range []error{r.value.Err(), r.left.Err()} {
			if failure == nil && e != nil && !goredis.HasErrorPrefix(e, "WRONGTYPE") {
				failure = e
			}
		}
	}
	return failure
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
