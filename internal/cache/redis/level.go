package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/internal/cache"
	"sluice/internal/perf"
)

// patience bounds what is done in the background: connecting, a probe, a
// writing. It also bounds each command of a purge.
const patience = time.Second

// writers is how many connections store replies at a time.
const writers = 2

// Options is what a Level needs beside its configuration.
type Options struct {
	Logger *slog.Logger // nil: no logs

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

// pace is how often things are tried.
type pace struct {
	first, longest time.Duration // between two attempts
	silence        time.Duration // of the channel, until it is asked whether it is there
}

// Level is a cache.SecondLevel in Redis.
type Level struct {
	cfg    Config
	log    *slog.Logger
	purged func(cache.Purge)
	max    int64
	end    any // of what is read of a value: one byte more than max tells that it is too large
	pace   pace

	id     string // tells own messages
	names  names
	client goredis.UniversalClient
	dialer *dialer

	breaker breaker
	queue   queue
	epoch   atomic.Int64 // that the listener knows of
	fault   atomic.Pointer[string]
	figures figures

	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // for closed, and against Add beside Wait
	closed bool
	work   sync.WaitGroup
}

var _ cache.SecondLevel = (*Level)(nil)

var (
	errDown   = errors.New("second level is down")
	errClosed = errors.New("second level is closed")
)

// New makes a Level. It does not wait for the server: the level is down until
// that answers. Errors are those of Config.Validate, or that there is no URL.
func New(cfg Config, o Options) (*Level, error) {
	return open(cfg, o, pace{first: 100 * time.Millisecond, longest: 5 * time.Second, silence: 15 * time.Second})
}

func open(cfg Config, o Options, pace pace) (*Level, error) {
	if cfg.URL.IsZero() {
		return nil, errors.New("redis_url: is empty")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	server, err := parse(cfg.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("redis_url: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnPurge == nil {
		o.OnPurge = func(cache.Purge) {}
	}
	if o.MaxValue <= 0 {
		o.MaxValue = 1 << 20
	}
	l := &Level{
		cfg: cfg, log: o.Logger, purged: o.OnPurge, max: o.MaxValue, end: o.MaxValue, pace: pace,
		id: rand.Text(), names: newNames(cfg.Prefix),
		breaker: breaker{down: make(chan struct{}, 1)},
		queue:   queue{wake: make(chan struct{}, 1)},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.dialer = &dialer{ctx: l.ctx, tls: server.TLSConfig, open: make(map[*conn]struct{})}
	l.client = connect(server, l.dialer)
	heard := listener{Level: l, seen: unasked}
	if epoch, err := strconv.ParseInt(o.Epoch, 10, 64); err == nil {
		heard.known, heard.seen = true, epoch
	}
	l.epoch.Store(heard.seen)
	l.work.Go(l.probe)
	l.work.Go(heard.listen)
	for range writers {
		l.work.Go(l.write)
	}
	return l, nil
}

// quiet drops what go-redis would print: what matters comes as errors.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func connect(o *goredis.UniversalOptions, d *dialer) goredis.UniversalClient {
	goredis.SetLogger(quiet{})
	o.Dialer, o.TLSConfig = d.dial, nil // the dialer does TLS
	o.Protocol = 2                      // nothing here needs pushes, which cost a look at each command
	// Contexts bound every command; these are for what go-redis does by itself.
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = patience, patience, patience, patience
	o.MaxRetries, o.DialerRetries = -1, 1
	o.PipelinePoolSize = -1 // all is pipelined: one pool
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := goredis.NewUniversalClient(o)
	if cluster, ok := client.(*goredis.ClusterClient); ok {
		cluster.OnNewNode(func(node *goredis.Client) { node.AddHook(failLate{}) })
	} else {
		client.AddHook(failLate{})
	}
	return client
}

// Close ends everything that is under way, forgets what was to be stored, and
// waits for its goroutines, which wait for nothing. It may be called again.
func (l *Level) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.dialer.close()
	_ = l.client.Close() // its errors are those of connections that are closed
	l.work.Wait()
	l.breaker.up.Store(false)
}

// start runs f beside, unless the level is closed.
func (l *Level) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.work.Go(f)
	}
	return !l.closed
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
func (l *Level) Up() bool { return l.breaker.up.Load() }

// probe brings the level up, at first and whenever it is down.
func (l *Level) probe() {
	b := backoff{first: l.pace.first, longest: l.pace.longest}
	for {
		err := l.ask()
		if err == nil {
			l.breaker.rise()
			l.log.Info("second level is up")
			rose := time.Now()
			select {
			case <-l.breaker.down:
			case <-l.ctx.Done():
				return
			}
			if time.Since(rose) > l.pace.longest {
				b.attempts = 0 // else it only looked well, and probes come no more often
			}
		} else if l.note(err); b.attempts == 0 && l.ctx.Err() == nil {
			l.log.Warn("second level does not answer", slog.Any("error", err))
		}
		if !b.wait(l.ctx) {
			return
		}
	}
}

// ask reads the epoch twice: with patience, to connect, and then as a request
// would. A server too slow for requests is not up. PING would tell no more,
// and a user may lack it.
func (l *Level) ask() error {
	for _, limit := range []time.Duration{patience, l.cfg.Timeout} {
		ctx, cancel := context.WithTimeout(l.ctx, limit)
		err := guard(func() error { return l.client.Get(ctx, l.names.epoch).Err() })
		cancel()
		if err != nil && !errors.Is(err, goredis.Nil) {
			return err
		}
	}
	return nil
}

// note keeps what was wrong last.
func (l *Level) note(err error) {
	text := err.Error()
	l.fault.Store(&text)
}

// Examine implements perf.Examined. Nothing depends on the level, so it is never
// more than degraded.
func (l *Level) Examine(report func(perf.Condition)) {
	c := perf.Condition{Component: "cache/redis"}
	if !l.Up() {
		c.State = perf.Degraded
		if fault := l.fault.Load(); fault != nil {
			c.Error = *fault
		}
		c.Advice = fmt.Sprintf("Check that the server of cache.redis_url runs and answers within %v. Until then calls are answered without it, and a DELETE /v1/cache does not reach other machines.", l.cfg.Timeout)
	}
	report(c)
}

// judge counts how something went.
func (l *Level) judge(err error) {
	if err == nil {
		l.breaker.succeed()
		return
	}
	if l.ctx.Err() != nil {
		return // cut by Close
	}
	l.figures.errors[kindOf(err)].Add(1)
	l.note(err)
	if l.breaker.fail() {
		l.log.Warn("second level fails and is left alone", slog.Any("error", err))
	}
}
