package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/cache"
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

// listen subscribes, again and again.
func (s *listener) listen() {
	b := backoff{first: s.pace.first, longest: s.pace.longest}
	for {
		err := s.subscribe(func() { b.attempts = 0 })
		if s.ctx.Err() != nil {
			return
		}
		if !s.known {
			s.known = true
			s.see(never)
		}
		s.log.Debug("second level's purges are not heard", slog.Any("error", err))
		if !b.wait(s.ctx) {
			return
		}
	}
}

// see notes the epoch that is known.
func (s *listener) see(epoch int64) {
	s.seen = epoch
	s.epoch.Store(epoch)
}

// subscribe hears purges until that fails.
func (s *listener) subscribe(well func()) error {
	sub := s.client.Subscribe(s.ctx)
	defer func() { _ = sub.Close() }()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if err := guard(func() error { return sub.Subscribe(ctx, s.names.channel) }); err != nil {
		return err
	}
	for asked := false; ; {
		var got any
		err := guard(func() (err error) {
			got, err = sub.ReceiveTimeout(s.ctx, s.pace.silence)
			return err
		})
		var slow interface{ Timeout() bool }
		switch {
		case err == nil:
			asked = false
		case errors.As(err, &slow) && slow.Timeout() && !asked:
			asked = true
			if err := s.ping(sub); err != nil {
				return err
			}
			continue
		default:
			return err
		}
		switch got := got.(type) {
		case *goredis.Subscription:
			if err := s.compare(); err != nil {
				return err
			}
			well()
		case *goredis.Message:
			s.hear(got.Payload)
		}
	}
}

func (s *listener) ping(sub *goredis.PubSub) error {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	return sub.Ping(ctx)
}

// compare purges everything if the server counted other purges than were heard.
func (s *listener) compare() error {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	epoch, err := s.client.Get(ctx, s.names.epoch).Int64()
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
