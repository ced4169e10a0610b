package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
	"sluice/internal/redis"
)

// Epochs that no server has: of a listener that has missed purges, and of one
// that has not asked yet.
const never, unasked = -1, -2

// listener hears of the purges of others.
//
// It counts them: after each subscription the count has to be the server's, or
// it missed some while it was not subscribed and everything is purged. That
// costs warmth where the server only lost its data, or had counted a purge that
// it had not told yet, but nothing stale is kept. A server that never had a
// purge has no count, and losing that is no loss. At the first attempt to
// subscribe nothing was missed, unless the cache brings replies from before the
// process began: then known is set, with what was heard of before.
type listener struct {
	*Level
	known bool
	base  int64 // the epoch when it subscribed
	seen  int64 // base and what was heard of since
}

// listen hears purges until the level is closed.
func (s *listener) listen() {
	s.client.Listen(redis.Listener{Channel: s.names.channel, Subscribed: s.compare, Heard: s.hear, Failed: s.miss})
}

// miss is called when purges are not heard any more, or not yet.
func (s *listener) miss(err error) {
	if !s.known {
		s.known = true
		s.see(never)
	}
	s.log.Debug("second level's purges are not heard", slog.Any("error", err))
}

// see notes the epoch that is known.
func (s *listener) see(epoch int64) {
	s.seen = epoch
	s.epoch.Store(epoch)
}

// compare purges everything if the server counted other purges than were heard.
func (s *listener) compare(ctx context.Context, server redis.Server) error {
	epoch, err := server.Get(ctx, s.names.epoch).Int64()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return fmt.Errorf("read epoch: %w", err)
	}
	if s.known && s.seen != epoch {
		s.log.Info("purges of other machines may have been missed: everything is purged")
		s.apply(cache.Purge{})
	}
	s.known, s.base = true, epoch
	s.see(epoch)
	s.figures.subscriptions.Add(1)
	return nil
}

func (s *listener) hear(text string) {
	m, ok := decode(text)
	if !ok {
		s.log.Debug("message about no purge ignored")
		return
	}
	// Forgotten first, then known: who reads the epoch meanwhile, to keep it with
	// the replies of that moment, has an old one with them at worst.
	if m.From != s.id {
		s.apply(m.Purge)
	}
	if from := m.Epoch &^ countMask; from != s.seen&^countMask {
		s.base = from // the first purge of a new count
		s.see(from)
	}
	if m.Epoch > s.base { // else it was counted before the subscription
		s.see(s.seen + 1)
	}
}

// apply forgets what another machine purged.
func (s *listener) apply(p cache.Purge) {
	s.queue.forget(p)
	s.purged(p)
}
