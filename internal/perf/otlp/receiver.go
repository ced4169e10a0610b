package otlp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/protobuf/fields"
)

const (
	maxReply = 4 << 20 // bytes of a collector's reply

	// Exports are repeated as OpenTelemetry's own exporters do it.
	firstPause   = 5 * time.Second
	longestPause = 30 * time.Second
	longestTry   = time.Minute // with all tries
)

// receiver is where a signal goes: a collector.
type receiver interface {
	// try sends a request once. An error that may be gone the next time is a
	// *passing.
	try(ctx context.Context, request []byte) (reply []byte, err error)
	close()
}

// passing is a failure after which to try again, where the collector said so not
// before some time.
type passing struct {
	pause time.Duration
	err   error
}

func (e *passing) Error() string { return e.err.Error() }
func (e *passing) Unwrap() error { return e.err }

// partial is what a collector says that did not take all.
type partial struct {
	rejected int64
	message  string
}

func (e *partial) Error() string {
	return fmt.Sprintf("the collector took a part: %d rejected: %.200q", e.rejected, e.message)
}

// connect makes the receiver of a signal, traces or metrics. No connection is made.
func connect(kind, version string, s Signal, log *slog.Logger) (receiver, error) {
	c := s.tls(log)
	if s.Protocol == GRPC {
		return newGRPCReceiver(kind, version, s.Connection, c)
	}
	return newHTTPReceiver(version, s.Connection, c)
}

// tls gives what certificates are set, nil where none are. Those that cannot be
// read are told of, and count as not set.
func (c Connection) tls(log *slog.Logger) *tls.Config {
	var out *tls.Config
	bad := func(file string, err error) {
		log.Warn("telemetry setting has no effect", "reason", fmt.Sprintf("%s: %v", file, err))
	}
	if c.Certificate != "" {
		pem, err := os.ReadFile(c.Certificate)
		pool := x509.NewCertPool()
		switch {
		case err != nil:
			bad(c.Certificate, err)
		case !pool.AppendCertsFromPEM(pem):
			bad(c.Certificate, errors.New("no certificate is in it"))
		default:
			out = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
		}
	}
	if c.ClientCertificate != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertificate, c.ClientKey)
		if err != nil {
			bad(c.ClientCertificate, err)
			return out
		}
		if out == nil {
			out = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out
}

// export sends a request, several times where it has to. Of a collector that took
// it in part the error is a *partial.
func export(ctx context.Context, c receiver, request []byte) error {
	var failure error
	try := func() ([]byte, error) {
		reply, err := c.try(ctx, request)
		if err == nil {
			return reply, nil
		}
		failure = err
		p, again := errors.AsType[*passing](err)
		switch {
		case !again:
			return nil, backoff.Permanent(err)
		case p.pause > 0:
			return nil, &backoff.RetryAfterError{Duration: min(max(p.pause, time.Second), time.Hour)}
		default:
			return nil, err
		}
	}
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: firstPause, MaxInterval: longestPause,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	reply, err := backoff.Retry(ctx, try, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(longestTry))
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), failure)
		}
		return failure
	}
	return taken(reply)
}

// taken reads an ExportTraceServiceResponse, or one for metrics, which have the same
// fields.
func taken(reply []byte) error {
	const partialSuccess, rejected, message = 1, 1, 2
	var p partial
	err := fields.Each(reply, func(number protowire.Number, _, content []byte) error {
		if number != partialSuccess || content == nil {
			return nil
		}
		return fields.Each(content, func(number protowire.Number, field, content []byte) error {
			v, isVarint := fields.Varint(field)
			switch {
			case number == rejected && isVarint:
				p.rejected = int64(v)
			case number == message && content != nil:
				p.message = string(content)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("the collector's reply is none: %w", err)
	}
	return p.whole()
}

// whole is nil where all was taken, and nothing is to be said of it.
func (e partial) whole() error {
	if e.rejected == 0 && e.message == "" {
		return nil
	}
	return &e
}
