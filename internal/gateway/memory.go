package gateway

import (
	"context"

	"sluice/internal/codec"
	"sluice/internal/memory"
	"sluice/internal/perf/report"
	"sluice/internal/responses"
)

// stored is how many bytes of what can be had again the chain in use has in memory:
// replies, and the codec's results; and conversations that go on, which a second level may
// have.
func (g *Gateway) stored() (bytes int64) {
	if c := g.liveCache(); c != nil {
		bytes = c.Bytes()
	}
	if c := g.liveCodec(); c != nil {
		bytes += c.Kept()
	}
	if r := g.liveResponses(); r != nil {
		bytes += r.Bytes()
	}
	return bytes
}

// resultsShare is the part of that which results may have beside replies: to have them
// again costs a little of the gateway's time, and replies an upstream's.
const resultsShare = 8

// boundStored bounds it. Where memory is scarce no results are kept.
func (g *Gateway) boundStored(bytes int64) {
	replies, codec := g.liveCache(), g.liveCodec()
	if r := g.liveResponses(); r != nil {
		room := bytes
		if replies != nil || codec != nil {
			room /= 2
		}
		r.Bound(room)
		bytes -= r.Bytes()
	}
	if codec != nil {
		room := bytes
		if replies != nil {
			room /= resultsShare
		}
		if g.memory.Level() >= memory.Elevated {
			room = 0
		}
		codec.Bound(room)
		bytes -= codec.Kept()
	}
	if replies != nil {
		replies.Bound(max(bytes, 0))
	}
}

// liveCodec is the codec in use, nil for none.
func (g *Gateway) liveCodec() *codec.Codec {
	if c := g.live.Load(); c != nil {
		return held[*codec.Codec](c, "codec")
	}
	return nil
}

// liveResponses is what keeps responses, nil for none.
func (g *Gateway) liveResponses() *responses.Responses {
	if c := g.live.Load(); c != nil {
		return held[*responses.Responses](c, "responses")
	}
	return nil
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
