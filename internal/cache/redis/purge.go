package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
)

// scanCount is how many keys one SCAN looks at, about; the server does nothing
// else meanwhile.
const scanCount = 1000

// Purge drops what is still to be stored, removes replies from the server and
// tells the other machines. It is tried even when the level is down. When ctx
// ends it ends with the command under way, after at most a second. After an
// error some replies may be left, and some machines may not know.
//
// A reply that another machine is storing at this very moment may stay.
func (l *Level) Purge(ctx context.Context, p cache.Purge) error {
	for _, b := range l.queue.forget(p) {
		select {
		case <-b.done:
		case <-ctx.Done():
			return fmt.Errorf("purge second level: %w", ctx.Err())
		}
	}
	// The others are told even if something could not be removed here: they
	// forget what they have in memory.
	removed := guard(func() error { return l.remove(ctx, p) })
	told := guard(func() error { return l.announce(ctx, p) })
	if err := errors.Join(removed, told); err != nil {
		return fmt.Errorf("purge second level: %w", err)
	}
	return nil
}

func (l *Level) remove(ctx context.Context, p cache.Purge) error {
	if p.Model != "" && p.Key != (cache.Key{}) {
		return l.client.Unlink(ctx, l.names.place(cache.Place(p))).Err()
	}
	pattern := l.names.pattern(p)
	cluster, ok := l.client.(*goredis.ClusterClient)
	if !ok {
		return l.sweep(ctx, l.client, pattern)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error {
		return guard(func() error { return l.sweep(ctx, node, pattern) })
	})
}

// sweep removes the keys of a server that match a pattern: one by one, since
// those of a cluster may belong to several servers by now.
func (l *Level) sweep(ctx context.Context, server goredis.Cmdable, pattern string) error {
	for cursor := uint64(0); ; {
		keys, next, err := server.Scan(ctx, cursor, pattern, scanCount).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			pipe := l.client.Pipeline()
			for _, key := range keys {
				pipe.Unlink(ctx, key)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// countMask is what of an epoch counts; above it is a number by chance, with
// which a server that lost its count begins another. Without it, it would
// sooner or later come to a count that a machine knows, which would not see
// what it missed.
const countMask = 1<<32 - 1

// announce counts a purge and tells the others of it.
func (l *Level) announce(ctx context.Context, p cache.Purge) error {
	pipe := l.client.Pipeline()
	pipe.SetNX(ctx, l.names.epoch, (1+rand.Int64N(1<<30))<<32, 0)
	epoch := pipe.Incr(ctx, l.names.epoch)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	m := message{From: l.id, Epoch: epoch.Val(), Purge: p}
	return l.client.Publish(ctx, l.names.channel, encode(m)).Err()
}
