package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice/internal/bench/before"
	"sluice/internal/simulator"
)

// Simulate serves the simulator until ctx is done.
func Simulate(ctx context.Context, announce func(net.Addr)) error {
	s := simulator.New(simulator.Config{})
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	announce(addr)
	return s.Serve()
}

// Before serves the program of before until ctx is done, as args say: its upstreams,
// with commas between them, the file of its schema, how many connections it may have and
// how many it keeps, and how long it waits for a reply.
func Before(ctx context.Context, args []string, log *slog.Logger, announce func(net.Addr)) error {
	const wanted = 5
	if len(args) != wanted {
		return fmt.Errorf("%d arguments in place of %d", len(args), wanted)
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	o := before.Options{Upstreams: strings.Split(args[0], ","), Schema: text, Log: log}
	var errs [3]error
	o.Connections, errs[0] = strconv.Atoi(args[2])
	o.KeepAlive, errs[1] = strconv.Atoi(args[3])
	o.Patience, errs[2] = time.ParseDuration(args[4])
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	return before.Serve(ctx, o, announce)
}
