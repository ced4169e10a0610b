package main

import (
	"context"
	"fmt"
	"io"
)

// admission compares what a call costs with admission and without.
func admission(ctx context.Context, w io.Writer, p plan) error {
	l, err := newLab(ctx, &p)
	if err != nil {
		return err
	}
	defer l.close()
	columns := []column{{"admission off", setup{sections: "admit: {enabled: false}\n"}}, {"admission on", setup{}}}
	if err := l.serveEach(ctx, columns); err != nil {
		return err
	}
	fmt.Fprintf(w, "CPU µs; c=%d, %v per load in turn, median of %d rounds\n\n", p.conns, p.duration, p.rounds)
	t := newTable(w, "", []string{columns[0].name, columns[1].name})
	for _, ld := range []load{
		{name: "non-stream, 600 B request, 1 kB reply", body: freshBody(model1KB, false, firstSeed), fresh: true},
		{name: fmt.Sprintf("stream of %d events", events), body: freshBody(model1KB, true, firstSeed), fresh: true},
	} {
		cost, _, err := l.compare(ctx, ld)
		if err != nil {
			return err
		}
		cost.added = true
		t.print(cost)
	}
	return nil
}
