package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"sluice/internal/cache/successor"
)

// modelSize is how many keys the successor model remembers at least. It is far
// smaller than a cache, since a key takes about 110 bytes there.
const modelSize = 4 * defaultSize

// hitRatios prints the hit ratio of each policy on each trace as a table in
// Markdown.
func hitRatios(w io.Writer, args []string) error {
	flags := flag.NewFlagSet("traces", flag.ExitOnError)
	data := flags.String("traces", "../../shared/data", "folder that has cache-traces and traces-mooncake")
	rounds := flags.Int("rounds", 3, "rounds of W-TinyLFU, each with another seed; the median is printed")
	flags.Parse(args)
	if *rounds < 1 {
		return fmt.Errorf("%d rounds give no median", *rounds)
	}
	traces, err := readTraces(*data)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "| trace | requests | keys | capacity | Bélády | LRU | W-TinyLFU | spread | with preload | gain | loaded ahead | used | upstream calls |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	rows, below := 0, []string(nil)
	for _, t := range traces {
		for _, capacity := range t.capacities() {
			r := measure(&t, capacity, *rounds)
			fmt.Fprintf(w, "| %s | %d | %d | %d | %.2f | %.2f | %.2f | %.2f | %.2f | %s |\n", t.name, len(t.requests), t.distinct, capacity,
				r.min, r.lru, r.tinyLFU, r.spread, r.preload, r.ahead(len(t.requests)))
			rows++
			if r.tinyLFU < r.lru {
				below = append(below, fmt.Sprintf("%s at %d (%.2f)", t.name, capacity, r.tinyLFU-r.lru))
			}
		}
	}
	_, err = fmt.Fprintf(w, "\nW-TinyLFU is below LRU in %d of %d rows: %s.\n", len(below), rows, strings.Join(below, ", "))
	return err
}

// ratios are hit ratios in percent of the requests. Those of W-TinyLFU are
// medians; spread is how far its rounds lie apart.
type ratios struct {
	min, lru, tinyLFU, spread, preload float64
	loaded, used                       float64 // ahead, medians
}

// ahead tells what loading ahead gained in points of the hit ratio, what share
// of the loads was used, and how many more calls upstreams had in percent.
func (r *ratios) ahead(requests int) string {
	if r.loaded == 0 {
		return "| 0 | |"
	}
	n := float64(requests) / 100
	before, after := (100-r.tinyLFU)*n, (100-r.preload)*n+r.loaded
	return fmt.Sprintf("%+.2f | %.0f | %.1f %% | %+.1f %%", r.preload-r.tinyLFU, r.loaded, 100*r.used/r.loaded, 100*(after/before-1))
}

func measure(t *trace, capacity, rounds int) ratios {
	percent := func(hits int) float64 { return 100 * float64(hits) / float64(len(t.requests)) }
	var plain, preload, loaded, used []float64
	for range rounds {
		hits, _ := tinyLFUHits(t, capacity, nil)
		plain = append(plain, percent(hits))
		hits, ahead := tinyLFUHits(t, capacity, successor.New(max(modelSize, 4*capacity)))
		preload = append(preload, percent(hits))
		loaded, used = append(loaded, float64(ahead.loaded)), append(used, float64(ahead.used))
	}
	r := ratios{min: percent(minHits(t, capacity)), lru: percent(lruHits(t, capacity))}
	r.tinyLFU, r.preload, r.loaded, r.used = median(plain), median(preload), median(loaded), median(used)
	r.spread = plain[rounds-1] - plain[0] // the median has sorted them
	return r
}
