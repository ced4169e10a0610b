package redis

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sluice/internal/perf"
)

// Patience bounds what is done in the background: connecting, a probe, Work.
// It also bounds each command of Try. Servers may have another one.
const Patience = time.Second

// What a call that did not reach the server fails with.
var (
	ErrDown   = errors.New("redis is left alone: it failed")
	ErrClosed = errors.New("client of redis is closed")
)

// Commands is what a call does: it sends commands and reads what they give,
// and ends with ctx. Its error is that of the call.
type Commands func(ctx context.Context, redis Server) error

// Options is what a Client needs beside the URL.
type Options struct {
	Logger *slog.Logger // nil: no logs
	Name   string       // of the user's use in logs, such as "second level"

	// Timeout bounds how long Do waits, all told; at most the patience of the
	// Servers, which 0 stands for. A server that does not answer a probe within it is down.
	Timeout time.Duration

	// Probe is a key that probes read, by GET; there need be none. It begins as
	// the user's other keys do, since a login may see no others. PING would tell no
	// more, and a login may lack it.
	Probe string

	Pace Pace
}

// Pace is how often things are tried. What is 0 is its default.
type Pace struct {
	First, Longest time.Duration // between two attempts: 100 ms, doubled up to 5 s
	Silence        time.Duration // of a channel until it is asked whether it is there: 15 s
}

// Client is one user of a server. Its methods are safe for concurrent use.
type Client struct {
	log     *slog.Logger
	name    string
	timeout time.Duration
	key     string
	pace    Pace

	patience time.Duration

	redis   Server
	release func() // gives the connections back

	breaker breaker
	fault   atomic.Pointer[string]
	errors  [kinds]atomic.Uint64

	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // for closed, and against Add beside Wait
	closed bool
	work   sync.WaitGroup
}

// Client makes a Client of the server that a URL names. It dials nobody, and is
// down, until Start. Errors are those of Check. It has to be closed.
func (s *Servers) Client(rawURL string, o Options) (*Client, error) {
	sv, release, err := s.acquire(rawURL)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		log: o.Logger, name: cmp.Or(o.Name, "redis"), timeout: cmp.Or(o.Timeout, sv.patience), key: cmp.Or(o.Probe, "probe"), patience: sv.patience,
		pace: Pace{
			First: cmp.Or(o.Pace.First, 100*time.Millisecond), Longest: cmp.Or(o.Pace.Longest, 5*time.Second),
			Silence: cmp.Or(o.Pace.Silence, 15*time.Second),
		},
		redis: sv.redis, release: release,
		breaker: breaker{down: make(chan struct{}, 1)},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Start has the server asked. It does not wait for it: the client is down until it
// answers. It is called once.
func (c *Client) Start() {
	if c.enter() {
		go func() {
			defer c.work.Done()
			c.probe()
		}()
	}
}

// Close ends everything that is under way and waits for it: not at all where no
// other Client has the connections, else at most Patience. It may be called
// again.
func (c *Client) Close() {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	if !again {
		c.release()
	}
	c.work.Wait()
	c.breaker.up.Store(false)
}

// enter counts a call that Close waits for, unless the client is closed; the
// call ends with work.Done.
func (c *Client) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Add(1)
	}
	return !c.closed
}

// Up reports whether the server is asked.
func (c *Client) Up() bool { return c.breaker.up.Load() }

// Do runs f and waits for it, no longer than the time-out, nor than ctx. It
// fails with ErrDown at once while the server is left alone. What f asked goes
// on beside when the wait is over, and tells the breaker: what f writes to may be
// read only after f was waited for, which an error of ctx or a time-out does not
// say.
func (c *Client) Do(ctx context.Context, f Commands) error {
	if !c.Up() {
		return ErrDown
	}
	if !c.enter() {
		return ErrClosed
	}
	limit, cancel := context.WithTimeout(c.ctx, c.timeout)
	done := make(chan error, 1)
	go func() {
		defer c.work.Done()
		defer cancel()
		done <- c.try(limit, f)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.Done():
		// A call that is done ended it too.
		select {
		case err := <-done:
			return err
		default:
			return limit.Err()
		}
	}
}

// Work runs f, which nobody waits for but the caller, within Patience. It fails
// with ErrDown at once while the server is left alone.
func (c *Client) Work(f Commands) error {
	if !c.Up() {
		return ErrDown
	}
	if !c.enter() {
		return ErrClosed
	}
	defer c.work.Done()
	ctx, cancel := context.WithTimeout(c.ctx, c.patience)
	defer cancel()
	return c.try(ctx, f)
}

// try runs f and counts how it went.
func (c *Client) try(ctx context.Context, f Commands) error {
	err := guard(ctx, c.redis, f)
	switch {
	case err == nil, errors.Is(err, goredis.Nil): // that there is nothing is an answer
		c.breaker.succeed()
	case c.ctx.Err() == nil: // else it was cut by Close
		c.Count(err)
		c.note(err)
		if c.breaker.fail() {
			c.log.Warn(c.name+" fails and is left alone", slog.Any("error", err))
		}
	}
	return err
}

// Try runs f even while the server is left alone, and tells the breaker nothing.
// When ctx ends, f ends with the command under way, after at most Patience.
func (c *Client) Try(ctx context.Context, f Commands) error {
	if !c.enter() {
		return ErrClosed
	}
	defer c.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	return guard(ctx, c.redis, f)
}

// Nodes runs f for each server that holds keys: the masters of a cluster, at
// the same time, or the one that there is. It is called within Commands.
func Nodes(ctx context.Context, redis Server, f Commands) error {
	cluster, ok := redis.(*goredis.ClusterClient)
	if !ok {
		return f(ctx, redis)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error {
		return guard(ctx, node, f) // in a goroutine of its own, beyond the guard of the call
	})
}

// probe brings the client up, at first and whenever it is down.
func (c *Client) probe() {
	b := backoff{first: c.pace.First, longest: c.pace.Longest}
	for {
		err := c.ask()
		if err == nil {
			c.breaker.rise()
			c.log.Info(c.name + " is up")
			rose := time.Now()
			select {
			case <-c.breaker.down:
			case <-c.ctx.Done():
				return
			}
			if time.Since(rose) > c.pace.Longest {
				b.attempts = 0 // else it only looked well, and probes come no more often
			}
		} else if c.note(err); b.attempts == 0 && c.ctx.Err() == nil {
			c.log.Warn(c.name+" does not answer", slog.Any("error", err))
		}
		if !b.wait(c.ctx) {
			return
		}
	}
}

// ask reads the probe's key twice: with patience, to connect, and then as a call
// would. A server too slow for calls is not up.
func (c *Client) ask() error {
	for _, limit := range []time.Duration{c.patience, c.timeout} {
		ctx, cancel := context.WithTimeout(c.ctx, limit)
		err := guard(ctx, c.redis, func(ctx context.Context, redis Server) error {
			return redis.Get(ctx, c.key).Err()
		})
		cancel()
		if err != nil && !errors.Is(err, goredis.Nil) {
			return err
		}
	}
	return nil
}

// note keeps what was wrong last.
func (c *Client) note(err error) {
	text := err.Error()
	c.fault.Store(&text)
}

// Count counts a failure in the figures alone: one that tells nothing of
// whether the server can be asked.
func (c *Client) Count(err error) { c.errors[KindOf(err)].Add(1) }

// Failed is how many failures of a kind there were.
func (c *Client) Failed(k Kind) uint64 { return c.errors[k].Load() }

// Condition tells how the client does, under the name of a component and with
// what to do when it is down. Users get on without the server, so it is never
// more than degraded.
func (c *Client) Condition(component, advice string) perf.Condition {
	if c.Up() {
		return perf.Condition{Component: component}
	}
	down := perf.Condition{Component: component, State: perf.Degraded, Advice: advice}
	if fault := c.fault.Load(); fault != nil {
		down.Error = *fault
	}
	return down
}

// Report reports <prefix>_up and <prefix>_errors_total.
func (c *Client) Report(p perf.Reporter, prefix string) {
	up := 0.0
	if c.Up() {
		up = 1
	}
	p.Gauge(prefix+"_up", "Whether the "+c.name+" is asked: 1, or 0 while it is left alone.", up)
	for k := range kinds {
		p.Counter(prefix+"_errors_total", "Failures of the "+c.name+", by what happened.", float64(c.Failed(k)), "kind", k.String())
	}
}
