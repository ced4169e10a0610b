package protobuf

import (
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/perf"
)

// maxFallbackTypes is how many message types are counted by name. Schemas come
// from clients, and each name would be a series of its own.
const maxFallbackTypes = 32

// otherTypes names all further types in figures. No message type has such a name.
const otherTypes = "(other)"

// fallbacks counts the messages that went to protojson, by type. It outlives the
// plans, so that what it reports never falls. nil counts nothing.
type fallbacks struct {
	mu     sync.Mutex
	byType map[protoreflect.FullName]uint64
	other  uint64
}

func (c *fallbacks) add(name protoreflect.FullName) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.byType[name]; !known && len(c.byType) == maxFallbackTypes {
		c.other++
		return
	}
	c.byType[name]++
}

func (c *fallbacks) report(r perf.Reporter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const help = "Messages that protojson turned into the other form, by type."
	for name, n := range c.byType {
		r.Counter("protobuf_fallback_total", help, float64(n), "type", string(name))
	}
	r.Counter("protobuf_fallback_total", help, float64(c.other), "type", otherTypes)
}
