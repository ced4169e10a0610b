package otlp

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"sluice/internal/grpc"
)

// grpcReceiver sends by OTLP/gRPC.
type grpcReceiver struct {
	method  string
	timeout time.Duration
	client  *grpc.Client
}

func newGRPCReceiver(kind, version string, c Connection, secured *tls.Config) (*grpcReceiver, error) {
	service := map[string]string{"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService"}[kind]
	if secured == nil && !c.Insecure {
		secured = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	client, err := grpc.New(grpc.Options{
		Target: c.Endpoint, TLS: secured, Header: c.Header, UserAgent: agent(version), Gzip: c.Gzip, MaxReply: maxReply,
	})
	if err != nil {
		return nil, err
	}
	return &grpcReceiver{method: "/opentelemetry.proto.collector." + service + "/Export", timeout: c.Timeout, client: client}, nil
}

func (g *grpcReceiver) close() { g.client.Close() }

func (g *grpcReceiver) try(ctx context.Context, request []byte) ([]byte, error) {
	if g.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.timeout)
		defer cancel()
	}
	reply, err := g.client.Call(ctx, g.method, request)
	s, ok := errors.AsType[*grpc.Status](err)
	if !ok {
		return reply, err
	}
	// The codes after which to try again are the specification's.
	switch s.Code {
	case grpc.Canceled, grpc.DeadlineExceeded, grpc.Aborted, grpc.OutOfRange, grpc.Unavailable, grpc.DataLoss:
		return nil, &passing{pause: s.RetryDelay, err: err}
	case grpc.ResourceExhausted:
		if s.HasRetryDelay {
			return nil, &passing{pause: s.RetryDelay, err: err}
		}
	}
	return nil, err
}
