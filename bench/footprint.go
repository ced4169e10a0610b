package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// footprint fills Sluice's cache with replies of 16 kB until no more go in, and
// prints how much memory that took.
func footprint(ctx context.Context, p plan) error {
	const maxBytes, replies = 128 << 20, 9000
	lab, err := newLab(ctx, &p, caching("0", 2*replies))
	if err != nil {
		return err
	}
	defer lab.close()
	pid := lab.sluice.cmd.Process.Pid
	before := residentKiB(pid)
	c, err := dial(ctx, lab.sluice.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for n := range replies {
		if _, err := c.ask(keyedBody(model16KB, n)); err != nil {
			return fmt.Errorf("fill sluice: %w", err)
		}
	}
	full := residentKiB(pid)
	select {
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	later := residentKiB(pid)
	cached, err := gauge(ctx, lab.sluice.addr, "sluice_cache_bytes")
	if err != nil {
		return err
	}
	if cached < maxBytes*9/10 || cached > maxBytes {
		return fmt.Errorf("%.0f bytes are cached, of %d", cached, maxBytes)
	}
	fmt.Printf("\n%-44s %14s %14s %14s\n", "resident MiB, cache of 16 kB replies", "empty", "just filled", "10 s later")
	fmt.Printf("%-44s %14.1f %14.1f %14.1f\n", fmt.Sprintf("sluice, %.1f MiB cached", cached/(1<<20)), before/1024, full/1024, later/1024)
	fmt.Printf("%-44s %14s %14.2f %14.2f\n", "resident bytes per cached byte", "", (full-before)*1024/cached, (later-before)*1024/cached)
	return nil
}

// gauge reads a figure without labels from /metrics.
func gauge(ctx context.Context, addr, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		return 0, fmt.Errorf("/metrics has no %s (status %d)", name, resp.StatusCode)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
