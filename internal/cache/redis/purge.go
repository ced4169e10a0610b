package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"sluice/internal/cache"
	"sluice/internal/redis"
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
	return l.purge(ctx, l.queue.forget(p), func(ctx context.Context, server redis.Server) error {
		return l.remove(ctx, server, p)
	}, p)
}

// Forget drops what is still to be stored in places, removes what is there from
// the server and tells the other machines to forget the replies of an id. It is
// bounded as Purge is.
func (l *Level) Forget(ctx context.Context, id cache.Key, places []cache.Place) error {
	places = append(slices.Clone(places), cache.Place{Key: id})
	var stored []*batch
	for _, p := range places {
		stored = l.queue.forget(cache.Purge{Model: p.Model, Key: p.Key})
	}
	return l.purge(ctx, stored, func(ctx context.Context, server redis.Server) error {
		pipe := redis.Pipeline(server)
		for _, p := range places {
			pipe.Unlink(ctx, l.names.place(p))
		}
		_, err := pipe.Exec(ctx)
		return err
	}, cache.Purge{ID: id})
}

// purge waits for what is being stored, removes and tells the others.
func (l *Level) purge(ctx context.Context, stored []*batch, remove redis.Commands, p cache.Purge) error {
	for _, b := range stored {
		select {
		case <-b.done:
		case <-ctx.Done():
			return fmt.Errorf("purge second level: %w", ctx.Err())
		}
	}
	// The others are told even if something could not be removed here: they
	// forget what they have in memory.
	removed := l.client.Try(ctx, remove)
	told := l.client.Try(ctx, func(ctx context.Context, server redis.Server) error { return l.announce(ctx, server, p) })
	if err := errors.Join(removed, told); err != nil {
		return fmt.Errorf("purge second level: %w", err)
	}
	return nil
}

func (l *Level) remove(ctx context.Context, server redis.Server, p cache.Purge) error {
	if p.Model != "" && p.Key != (cache.Key{}) {
		return server.Unlink(ctx, l.names.place(cache.Place{Model: p.Model, Key: p.Key})).Err()
	}
	pattern := l.names.pattern(p)
	return redis.Nodes(ctx, server, func(ctx context.Context, node redis.Server) error {
		return sweep(ctx, server, node, pattern)
	})
}

// sweep removes the keys of a node that match a pattern: one by one, since
// those of a cluster may belong to several nodes by now.
func sweep(ctx context.Context, server, node redis.Server, pattern string) error {
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, pattern, scanCount).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			pipe := redis.Pipeline(server)
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
func (l *Level) announce(ctx context.Context, server redis.Server, p cache.Purge) error {
	pipe := redis.Pipeline(server)
	pipe.SetNX(ctx, l.names.epoch, (1+rand.Int64N(1<<30))<<32, 0)
	epoch := pipe.Incr(ctx, l.names.epoch)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	m := message{From: l.id, Epoch: epoch.Val(), Purge: p}
	return server.Publish(ctx, l.names.channel, encode(m)).Err()
}
