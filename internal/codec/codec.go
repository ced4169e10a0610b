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

	// Before is the Codec that this one takes over from, with the schemas that were
	// uploaded to it and have room; nil for none.
	Before *Codec
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
	calls   sync.Pool // of *call
	chunks  sync.Pool // of *chunk
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
		err = c.load(context.Background())
	}
	if err != nil {
		c.results.close()
		return nil, err
	}
	if o.Before != nil {
		c.takeOver(o.Before)
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

// load puts the configured schemas into use for the first time.
func (c *Codec) load(ctx context.Context) error {
	list, err := load(ctx, c.cfg.Schemas, c.schemaLimits())
	if err != nil {
		return err
	}
	for _, s := range list {
		if _, err := c.schemas.Put(s.Name, s); err != nil {
			return err
		}
	}
	return nil
}

// Reload reads the configured schemas again. Those that changed have another
// digest then. After an error what was there before is in use.
func (c *Codec) Reload(ctx context.Context) error {
	commit, err := c.Prepare(ctx)
	if err == nil {
		commit()
	}
	return err
}

// Prepare reads the configured schemas again without using them, which commit does.
func (c *Codec) Prepare(ctx context.Context) (commit func(), err error) {
	list, err := load(ctx, c.cfg.Schemas, c.schemaLimits())
	if err != nil {
		return nil, err
	}
	return func() {
		for _, s := range list {
			if _, err := c.schemas.Put(s.Name, s); err != nil {
				c.log.Warn("a schema is not used", "schema", s.Name, "error", err)
			}
		}
	}, nil
}

// load loads schemas. Each is "location" or "name=location".
func load(ctx context.Context, list []string, l schema.Limits) (loaded []*schema.Schema, err error) {
	seen := make(map[string]string)
	for _, entry := range list {
		name, location := schemaName(entry)
		if other, ok := seen[name]; ok {
			return nil, fmt.Errorf("load schemas: %q and %q are both named %q; give one another name, as other=%s", other, entry, name, location)
		}
		seen[name] = entry
		s, err := schema.Load(ctx, schema.Source{Name: name, Locations: []string{location}}, l)
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, s)
	}
	return loaded, nil
}

// takeOver brings in what was uploaded to another Codec.
func (c *Codec) takeOver(before *Codec) {
	for _, s := range before.schemas.List() {
		if _, err := c.schemas.Get(s.Name); !s.Upload || err == nil {
			continue
		}
		if _, err := c.schemas.Put(s.Name, s); err != nil {
			c.log.Warn("an uploaded schema is dropped", "schema", s.Name, "error", err)
		}
	}
}
