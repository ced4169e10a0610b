package redis

import (
	"errors"
	"io"
	"net"

	goredis "github.com/redis/go-redis/v9"
)

// Kind is why a server could not be used, as it stands in the figures.
type Kind uint8

// The kinds of failures.
const (
	Timeout    Kind = iota
	Connection      // refused, cut or closed
	Reply           // an error that the server answered with, such as OOM
	Protocol        // anything else: what came was not Redis, or TLS failed
	kinds
)

func (k Kind) String() string {
	return [...]string{Timeout: "timeout", Connection: "connection", Reply: "reply", Protocol: "protocol"}[k]
}

// KindOf tells the kind of a failure.
func KindOf(err error) Kind {
	var answered goredis.Error
	var slow interface{ Timeout() bool }
	var network *net.OpError
	switch {
	case errors.As(err, &answered):
		return Reply
	case errors.As(err, &slow) && slow.Timeout(), errors.Is(err, goredis.ErrPoolTimeout):
		return Timeout
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Connection
	}
	return Protocol
}
