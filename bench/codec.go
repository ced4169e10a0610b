package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"testing"
	"time"
)

// effort is how long the codec is measured.
type effort struct {
	rounds int           // the median counts
	load   time.Duration // CPU time of one loop
}

// codecCost prints what turning protobuf messages into JSON and back costs, as
// tables in Markdown.
func codecCost(ctx context.Context, w io.Writer, args []string) error {
	flags := flag.NewFlagSet("codec", flag.ExitOnError)
	var e effort
	flags.IntVar(&e.rounds, "rounds", 5, "rounds; the median is printed")
	flags.DurationVar(&e.load, "d", 100*time.Millisecond, "CPU time of one loop")
	p := plan{conns: 32, mockKind: mockLean, engines: []string{""}}
	flags.Func("sluice", "binary to measure; built from the tree when empty", func(s string) error {
		p.binaries = []string{s}
		return nil
	})
	flags.DurationVar(&p.duration, "load", 4*time.Second, "duration of one load of the endpoint")
	flags.Parse(args)
	p.rounds = e.rounds
	if e.rounds < 1 || e.load <= 0 {
		return fmt.Errorf("%d rounds of %v measure nothing", e.rounds, e.load)
	}
	for _, part := range []func(io.Writer) error{e.transcoding, e.batches, e.results} {
		if err := part(w); err != nil {
			return err
		}
	}
	return endpoint(ctx, w, p)
}

// transcoding compares transcoders on messages of five shapes.
func (e *effort) transcoding(w io.Writer) error {
	for _, decode := range []bool{true, false} {
		title := "decode, µs a message"
		if !decode {
			title = "encode, µs a message"
		}
		fmt.Fprintf(w, "| %s | wire B | JSON B | Sluice | dynamicpb + protojson | ratio | generated + protojson | ratio | allocations |\n", title)
		fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
		var ratios [2][]float64
		for _, s := range messageShapes() {
			r, err := e.transcode(&s, decode)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(w, "| %s | %d | %d | %s | %s | %.1f | %s | %.1f | %.0f / %.0f / %.0f |\n", s.name, r.wire, r.json,
				micros(r.cost[0]), micros(r.cost[1]), r.ratio[0], micros(r.cost[2]), r.ratio[1], r.allocs[0], r.allocs[1], r.allocs[2])
			for i := range ratios {
				ratios[i] = append(ratios[i], r.ratio[i])
			}
		}
		fmt.Fprintf(w, "| geometric mean | | | | | %.1f | | %.1f | |\n\n", geometricMean(ratios[0]), geometricMean(ratios[1]))
	}
	return nil
}

// transcoded is what one shape costs in one direction: Sluice's, dynamicpb's,
// generated code's.
type transcoded struct {
	wire, json   int        // bytes
	cost, allocs [3]float64 // µs and allocations a message
	ratio        [2]float64 // of the others' cost to Sluice's
}

func (e *effort) transcode(s *shape, decode bool) (r transcoded, err error) {
	wire, text, err := forms(s.message)
	if err != nil {
		return r, err
	}
	r.wire, r.json = len(wire), len(text)
	all, err := transcoders(s.message)
	if err != nil {
		return r, err
	}
	var work [3]func()
	for i := range all {
		if err := all[i].agrees(s.message, wire, text); err != nil {
			return r, err
		}
		do, input := all[i].encode, text
		if decode {
			do, input = all[i].decode, wire
		}
		dst := make([]byte, 0, 4*len(text))
		work[i] = func() {
			if _, err := do(dst, input); err != nil {
				panic(err) // it agreed a moment ago
			}
		}
		r.allocs[i] = testing.AllocsPerRun(10, work[i])
	}
	costs := e.alternate(work[:])
	r.ratio = [2]float64{ratio(costs[1], costs[0]), ratio(costs[2], costs[0])}
	for i := range work {
		r.cost[i] = median(costs[i])
	}
	return r, nil
}
