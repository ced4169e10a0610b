package redis

import (
	"context"
	"errors"

	goredis "github.com/redis/go-redis/v9"
)

// Listener is told of a channel's messages, by one goroutine.
type Listener struct {
	Channel string

	// Subscribed is called after each subscription, before what was sent since is
	// heard, with Patience. An error gives the subscription up.
	Subscribed Commands

	Heard func(text string)

	// Failed is called when a subscription failed or broke. Another attempt
	// follows.
	Failed func(error)
}

// Listen hears a channel until the client is closed, subscribing again and
// again. A subscription that hears nothing for long is asked whether it is still
// there.
func (c *Client) Listen(l Listener) {
	if !c.enter() {
		return
	}
	go func() {
		defer c.work.Done()
		b := backoff{first: c.pace.First, longest: c.pace.Longest}
		for {
			err := c.subscribe(l, func() { b.attempts = 0 })
			if c.ctx.Err() != nil {
				return
			}
			l.Failed(err)
			if !b.wait(c.ctx) {
				return
			}
		}
	}()
}

// subscribe hears a channel until that fails.
func (c *Client) subscribe(l Listener, well func()) error {
	sub := c.redis.Subscribe(c.ctx)
	end := func() { _ = sub.Close() }
	defer end()
	// Others may hold the server's connections open when this client is closed.
	defer context.AfterFunc(c.ctx, end)()
	if err := c.patiently(func(ctx context.Context, _ Server) error { return sub.Subscribe(ctx, l.Channel) }); err != nil {
		return err
	}
	for asked := false; ; {
		var got any
		err := guard(c.ctx, c.redis, func(ctx context.Context, _ Server) (err error) {
			got, err = sub.ReceiveTimeout(ctx, c.pace.Silence)
			return err
		})
		var slow interface{ Timeout() bool }
		switch {
		case err == nil:
			asked = false
		case errors.As(err, &slow) && slow.Timeout() && !asked:
			asked = true
			if err := c.patiently(func(ctx context.Context, _ Server) error { return sub.Ping(ctx) }); err != nil {
				return err
			}
			continue
		default:
			return err
		}
		switch got := got.(type) {
		case *goredis.Subscription:
			if err := c.patiently(l.Subscribed); err != nil {
				return err
			}
			well()
		case *goredis.Message:
			l.Heard(got.Payload)
		}
	}
}

// patiently runs f, bounded, and tells the breaker nothing.
func (c *Client) patiently(f Commands) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.patience)
	defer cancel()
	return guard(ctx, c.redis, f)
}
