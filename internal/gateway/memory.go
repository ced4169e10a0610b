package gateway

import (
	"context"

	"sluice/internal/memory"
	"sluice/internal/perf/report"
)

// stored is how many bytes of replies the cache in use has in memory.
func (g *Gateway) stored() int64 {
	if c := g.liveCache(); c != nil {
		return c.Bytes()
	}
	return 0
}

// boundStored bounds them.
func (g *Gateway) boundStored(bytes int64) {
	if c := g.liveCache(); c != nil {
		c.Bound(bytes)
	}
}

// liveCache is the cache in use, nil for none.
func (g *Gateway) liveCache() *cached {
	if c := g.live.Load(); c != nil {
		return held[*cached](c, "cache")
	}
	return nil
}

// tasks lists the maintenance of the chain in use.
func (g *Gateway) tasks() (list []memory.Task) {
	c := g.live.Load()
	for _, p := range c.parts {
		list = append(list, p.tidy...)
	}
	return append(list, memory.Task{Name: "connections", Do: func(ctx context.Context) (things int, bytes int64) {
		for _, m := range members(c.parts) {
			if ctx.Err() != nil {
				break
			}
			things += m.client.Tidy()
		}
		return things, 0
	}})
}

// mostLarge is how many of what is large the report names.
const mostLarge = 20

// large lists what is large and held in memory, the largest first.
func (g *Gateway) large() (list []report.Large) {
	for _, o := range g.memory.Objects.Largest(mostLarge) {
		list = append(list, report.Large{Part: o.Part, ID: o.ID, Bytes: o.Bytes, Since: o.Since.UTC()})
	}
	return list
}
