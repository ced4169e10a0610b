package codec

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"sluice/internal/jsonscan"
	"sluice/internal/protobuf"
	"sluice/internal/protobuf/schema"
)

// maxPlans is how many message types keep their tables. One that is asked for
// when there are as many takes the place of the one not asked for the longest.
const maxPlans = 1024

// Options are what a Codec needs besides its configuration.
type Options struct {
	Logger *slog.Logger // nil logs nothing

	// StateDir is the directory that uploaded schemas are kept in, "" for none.
	StateDir string
}

// Codec answers the requests below /v1/protobuf/. Its methods are safe for
// concurrent use.
type Codec struct {
	cfg     Config
	log     *slog.Logger
	schemas *schema.Registry
	plans   *protobuf.Plans
	results *results // nil for none
	pool    *pool
	workers int
	calls   sync.Pool
	figures figures
}

// New makes a Codec of a configuration that has been validated, with the schemas
// that it names, which takes as long as a server among them takes to answer (10 s
// at most). Close ends it.
func New(cfg Config, o Options) (*Codec, error) {
	c := &Codec{cfg: cfg, log: o.Logger, workers: cfg.Workers, plans: protobuf.NewPlans(maxPlans)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.workers = cmp.Or(c.workers, runtime.GOMAXPROCS(0))
	var err error
	if c.results, err = newResults(cfg); err != nil {
		return nil, err
	}
	c.schemas, err = schema.NewRegistry(schema.Options{
		MaxSchemas: cfg.MaxSchemas, Dir: o.StateDir, Limits: c.schemaLimits(), OnChange: c.changed, Log: c.log,
	})
	if err == nil {
		err = load(context.Background(), c.schemas, cfg.Schemas, c.schemaLimits())
	}
	if err != nil {
		c.results.close()
		return nil, err
	}
	c.pool = newPool(c.workers, cfg.Queue)
	return c, nil
}

// Close ends the workers. Work that waits for them fails.
func (c *Codec) Close() {
	c.pool.close()
	c.results.close()
}

func (c *Codec) schemaLimits() schema.Limits { return schema.Limits{MaxBytes: c.cfg.MaxSchemaBytes} }

// changed forgets what was made with a schema that is gone. What is made with it
// at this moment may be kept still, but only what has the same digest finds it.
func (c *Codec) changed(change schema.Change) {
	if change.Dead {
		c.results.forget(change.Old.Digest)
	}
}

// jsonDepth is how deep the JSON of an envelope may nest. Between two messages
// there may be an array or a map.
func (c *Codec) jsonDepth() int { return max(jsonscan.DefaultDepth, 2*c.cfg.MaxDepth+8) }

// load loads schemas. Each is "location" or "name=location".
func load(ctx context.Context, r *schema.Registry, list []string, l schema.Limits) error {
	seen := make(map[string]string)
	for _, entry := range list {
		name, location := schemaName(entry)
		if other, ok := seen[name]; ok {
			return fmt.Errorf("load schemas: %q and %q are both named %q; give one another name, as other=%s", other, entry, name, location)
		}
		seen[name] = entry
		s, err := schema.Load(ctx, schema.Source{Name: name, Locations: []string{location}}, l)
		if err != nil {
			return err
		}
		if _, err := r.Put(name, s); err != nil {
			return err
		}
	}
	return nil
}
