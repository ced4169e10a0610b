package redis

import (
	"context"
	"errors"
	"net"
	"testing"

	"sluice/internal/redis/redistest"
)

func TestDialerCloses(t *testing.T) {
	t.Parallel()
	r := redistest.RelayTo(t, redistest.Start(t))
	d := &dialer{ctx: t.Context(), patience: patient, open: make(map[*conn]struct{})}
	addr := r.Addr().String()
	first, err := d.dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	is(t, "open", len(d.open), 1)
	done := make(chan error)
	go func() {
		_, err := second.Read(make([]byte, 1))
		done <- err
	}()
	d.close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := d.dial(t.Context(), "tcp", addr); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestDialerEndsWithItsServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := &dialer{ctx: ctx, patience: patient, open: make(map[*conn]struct{})}
	if _, err := d.dial(t.Context(), "tcp", redistest.RelayTo(t, redistest.Start(t)).Addr().String()); err == nil {
		t.Error("connected for a server that is closed")
	}
}
