package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"sluice/bench/process"
)

// footprint fills Sluice's cache with replies of 16 kB until no more go in, and
// prints how much memory that took.
func footprint(ctx context.Context, w io.Writer, p plan) error {
	const replies = 9000
	lab, err := labWith(ctx, &p, caching(proxied, 2*replies))
	if err != nil {
		return err
	}
	defer lab.close()
	fmt.Fprint(w, "\n| resident MiB, cache of 16 kB replies | MiB cached | empty | just filled | 10 s later | bytes a cached byte | later |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, s := range lab.sluices() {
		if err := s.footprint(ctx, w, replies); err != nil {
			return fmt.Errorf("fill %s: %w", s.name, err)
		}
	}
	return nil
}

func (p *proxy) footprint(ctx context.Context, w io.Writer, replies int) error {
	const maxBytes = 128 << 20
	before, err := process.ResidentMiB(p.pid())
	if err != nil {
		return err
	}
	c, err := dial(ctx, p.target)
	if err != nil {
		return err
	}
	defer c.close()
	for n := range replies {
		if _, err := c.ask(keyedBody(model16KB, n)); err != nil {
			return err
		}
	}
	full, err := process.ResidentMiB(p.pid())
	if err != nil {
		return err
	}
	select {
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	later, err := process.ResidentMiB(p.pid())
	if err != nil {
		return err
	}
	cached, err := gauge(ctx, p.addr, "sluice_cache_bytes")
	if err != nil {
		return err
	}
	if cached < maxBytes*9/10 || cached > maxBytes {
		return fmt.Errorf("%.0f bytes are cached, of %d", cached, maxBytes)
	}
	fmt.Fprintf(w, "| %s | %.1f | %.1f | %.1f | %.1f | %.2f | %.2f |\n", p.name, cached/(1<<20), before, full, later,
		(full-before)*(1<<20)/cached, (later-before)*(1<<20)/cached)
	return nil
}

// gauge reads a figure without labels from /metrics.
func gauge(ctx context.Context, addr, name string) (float64, error) {
	b, err := process.Page(ctx, "http://"+addr+"/metrics")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		return 0, fmt.Errorf("/metrics has no %s", name)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
