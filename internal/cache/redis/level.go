package redis

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"sluice/internal/cache"
	"sluice/internal/perf"
	"sluice/internal/redis"
)

// writers is how many connections store replies at a time.
const writers = 2

// Options is what a Level needs beside its configuration.
type Options struct {
	Logger *slog.Logger // nil: no logs

	// Servers makes the client; others may share its connections. nil: nobody does.
	Servers *redis.Servers

	// OnPurge is called when another machine purged, and with an empty Purge when
	// one may have that was not heard of. It is called by one goroutine.
	OnPurge func(cache.Purge)

	// Epoch is what Level.Epoch gave before a restart whose cache brings replies
	// from before it: they are purged if there was a purge since. Empty says that
	// it brings none.
	Epoch string

	// MaxValue bounds a value, in bytes; 0 is 1 MiB. One that is larger is not
	// stored, and one that is found is not read further and as good as none.
	MaxValue int64
}

// Level is a cache.SecondLevel in Redis.
type Level struct {
	cfg    Config
	log    *slog.Logger
	purged func(cache.Purge)
	max    int64
	end    any // of what is read of a value: one byte more than max tells that it is too large

	id     string // tells own messages
	names  names
	client *redis.Client
	heard  *listener

	queue   queue
	epoch   atomic.Int64 // that the listener knows of
	figures figures

	once  sync.Once
	ended chan struct{}  // closed by Close, once
	work  sync.WaitGroup // the writers
}

var _ cache.SecondLevel = (*Level)(nil)

// New makes a Level, which is down and asks nobody until Start. Errors are those
// of Config.Validate, or that there is no URL.
func New(cfg Config, o Options) (*Level, error) {
	if cfg.URL.IsZero() {
		return nil, errors.New("redis_url: is empty")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return open(cfg, o, redis.Pace{})
}

func open(cfg Config, o Options, pace redis.Pace) (*Level, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnPurge == nil {
		o.OnPurge = func(cache.Purge) {}
	}
	if o.MaxValue <= 0 {
		o.MaxValue = 1 << 20
	}
	if o.Servers == nil {
		o.Servers = new(redis.Servers)
	}
	l := &Level{
		cfg: cfg, log: o.Logger, purged: o.OnPurge, max: o.MaxValue, end: o.MaxValue,
		id: rand.Text(), names: newNames(cfg.Prefix),
		queue: queue{wake: make(chan struct{}, 1)}, ended: make(chan struct{}),
	}
	var err error
	l.client, err = o.Servers.Client(cfg.URL.Reveal(), redis.Options{
		Logger: o.Logger, Name: "second level", Timeout: cfg.Timeout, Probe: l.names.epoch, Pace: pace,
	})
	if err != nil {
		return nil, fmt.Errorf("redis_url: %w", err)
	}
	heard := &listener{Level: l, seen: unasked}
	if epoch, err := strconv.ParseInt(o.Epoch, 10, 64); err == nil {
		heard.known, heard.seen = true, epoch
	}
	l.epoch.Store(heard.seen)
	l.heard = heard
	return l, nil
}

// Start connects and subscribes. It does not wait for the server: the level is
// down until that answers. It is called once, and not after Close.
func (l *Level) Start() {
	l.client.Start()
	l.heard.listen()
	for range writers {
		l.work.Go(l.write)
	}
}

// Close ends everything that is under way, forgets what was to be stored, and
// waits for its goroutines, as Client.Close does. It may be called again.
func (l *Level) Close() {
	l.once.Do(func() { close(l.ended) })
	l.client.Close()
	l.work.Wait()
}

// Epoch tells the purges that are known from those that are to come, for
// Options.Epoch of a later Level.
func (l *Level) Epoch() string {
	epoch := l.epoch.Load()
	if epoch == unasked {
		return ""
	}
	return strconv.FormatInt(epoch, 10)
}

// Up reports whether the server is asked.
func (l *Level) Up() bool { return l.client.Up() }

// Examine implements perf.Examined. Nothing depends on the level, so it is never
// more than degraded.
func (l *Level) Examine(report func(perf.Condition)) {
	report(l.client.Condition("cache/redis", fmt.Sprintf("Check that the server of cache.redis_url runs and answers within %v. Until then calls are answered without it, and a DELETE /v1/cache does not reach other machines.", l.cfg.Timeout)))
}
