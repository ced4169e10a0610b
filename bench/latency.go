package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// latencies prints what the proxies add to calls that take the mock soonTime, of
// one client that sends one after the other: to the mock itself, then through each
// proxy, and again. What a percentile is compared with is that of the mock.
func (l *lab) latencies(ctx context.Context, t table) error {
	if err := l.serve(ctx, l.passing()); err != nil {
		return err
	}
	all := []target{{addr: l.mockAddr}}
	for _, p := range l.proxies {
		all = append(all, p.target)
	}
	took, err := l.takeTurns(ctx, all, l.calls, false)
	if err != nil {
		return err
	}
	for _, percent := range []int{50, 99} {
		direct := percentile(took[0], percent)
		added := newLine(fmt.Sprintf("µs added at P%d to a call that takes %.0f", percent, micro(direct)), 0, len(l.proxies))
		added.added = true
		for i := range l.proxies {
			added.add(i, micro(percentile(took[1+i], percent)-direct))
		}
		t.print(added)
	}
	return nil
}

// takeTurns calls each server in turn, so often, and gives how long each call took; of
// streams, until the first event. The first calls are not counted.
func (l *lab) takeTurns(ctx context.Context, targets []target, calls int, streamed bool) ([][]time.Duration, error) {
	const warm = 10
	var clients []*client
	for _, t := range targets {
		c, err := dial(ctx, t)
		if err != nil {
			return nil, err
		}
		defer c.close()
		clients = append(clients, c)
	}
	took := make([][]time.Duration, len(targets))
	for n := range warm + calls {
		for i, c := range clients {
			l.requests++
			first, d, err := c.exchange(freshBody(modelSoon, streamed, firstSeed+l.requests))
			if err == nil && streamed != (first > 0) {
				err = fmt.Errorf("the first event came after %v", first)
			}
			if err != nil {
				return nil, fmt.Errorf("ask %s: %w", targets[i].addr, err)
			}
			if streamed {
				d = first
			}
			if n >= warm {
				took[i] = append(took[i], d)
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return took, nil
}

// percentile is the least duration that so many percent of all do not exceed.
func percentile(all []time.Duration, percent int) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[max((len(all)*percent+99)/100-1, 0)]
}
