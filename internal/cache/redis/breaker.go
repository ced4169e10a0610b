package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// failures in a row that bring the level down.
const failures = 3

// breaker knows whether the server can be asked. It begins down: the first
// probe connects, so that no request has to.
type breaker struct {
	up     atomic.Bool
	failed atomic.Int32  // in a row
	down   chan struct{} // wakes the prober
}

func (b *breaker) succeed() { b.failed.Store(0) }

// fail counts a failure and reports whether it brought the level down.
func (b *breaker) fail() bool {
	if b.failed.Add(1) < failures || !b.up.CompareAndSwap(true, false) {
		return false
	}
	b.down <- struct{}{} // has room: the prober has taken the one before
	return true
}

func (b *breaker) rise() {
	b.failed.Store(0)
	b.up.Store(true)
}

// backoff is the time between attempts: it doubles from first to longest, and
// the half of it is random, so that the machines do not all come at once.
type backoff struct {
	first, longest time.Duration
	attempts       int
}

// wait waits, and reports false when ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.longest
	if b.attempts < 16 {
		d = min(b.first<<b.attempts, d)
	}
	b.attempts++
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// guard runs f and makes an error of a panic: go-redis panics at some replies
// that no Redis would give.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("nonsense came from the server: %v", r)
		}
	}()
	return f()
}

// kind is why the server could not be used, as it stands in the figures.
type kind uint8

const (
	timeout    kind = iota
	connection      // refused, cut or closed
	reply           // an error that the server answered with, such as OOM
	protocol        // anything else: what came was not Redis, or TLS failed
	kinds
)

func (k kind) String() string {
	return [...]string{timeout: "timeout", connection: "connection", reply: "reply", protocol: "protocol"}[k]
}

func kindOf(err error) kind {
	var answered goredis.Error
	var slow interface{ Timeout() bool }
	var network *net.OpError
	switch {
	case errors.As(err, &answered):
		return reply
	case errors.As(err, &slow) && slow.Timeout(), errors.Is(err, goredis.ErrPoolTimeout):
		return timeout
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return connection
	}
	return protocol
}
