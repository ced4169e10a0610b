package codec

import (
	"cmp"
	"log/slog"
	"runtime"
	"sync"

	"sluice/internal/jsonscan"
	"sluice/internal/memory"
	"sluice/internal/protobuf/catalog"
)

// Options are what a Codec needs besides its configuration.
type Options struct {
	Logger *slog.Logger // nil logs nothing

	// Buffers lends buffers; nil makes the Codec its own.
	Buffers *memory.Buffers

	// Account is where messages are reserved while they are transcoded; nil is
	// without bound.
	Account *memory.Account

	// Streams is where what comes of a stream is reserved until its message is whole: an
	// account of its own, since a client may take its time. nil is without bound.
	Streams *memory.Account

	// Results is where results that are kept are reserved; nil for none.
	Results *memory.Account

	// Schemas are the messages that there are. They outlive the Codec.
	Schemas *catalog.Catalog
}

// Codec answers the requests below /v1/protobuf/. Its methods are safe for
// concurrent use.
type Codec struct {
	cfg         Config
	log         *slog.Logger
	schemas     *catalog.Catalog
	results     *results // nil for none
	ignore      func()   // ends following the schemas
	pool        *pool
	workers     int
	buffers     *memory.Buffers
	held        *memory.Account // nil is without bound, as the next
	streams     *memory.Account
	conversions sync.Pool // of *conversion
	chunks      sync.Pool // of *chunk
	figures     figures
}

// New makes a Codec of a configuration that has been validated. Close ends it.
func New(cfg Config, o Options) (*Codec, error) {
	c := &Codec{cfg: cfg, log: o.Logger, workers: cfg.Workers, schemas: o.Schemas, buffers: o.Buffers, held: o.Account, streams: o.Streams}
	if c.buffers == nil {
		c.buffers = new(memory.Buffers)
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.workers = cmp.Or(c.workers, runtime.GOMAXPROCS(0))
	var err error
	if c.results, err = newResults(cfg, o.Results); err != nil {
		return nil, err
	}
	c.ignore = c.schemas.Follow(c.results.forget)
	c.pool = newPool(c.workers, cfg.Queue)
	return c, nil
}

// Close ends the workers. Work that waits for them fails.
func (c *Codec) Close() {
	c.ignore()
	c.pool.close()
	c.results.close()
}

// Kept is how many bytes of results are kept.
func (c *Codec) Kept() int64 {
	if c.results == nil {
		return 0
	}
	return c.results.bytes.Load()
}

// Bound bounds them, beside Config.ResultCacheBytes; what is above goes at once.
func (c *Codec) Bound(bytes int64) { c.results.limit(bytes) }

// Tidy drops what has expired of the results that are kept, and tells how much.
func (c *Codec) Tidy() (things int, bytes int64) { return c.results.tidy() }

// jsonDepth is how deep the JSON of an envelope may nest. Between two messages
// there may be an array or a map.
func (c *Codec) jsonDepth() int { return max(jsonscan.DefaultDepth, 2*c.cfg.MaxDepth+8) }
