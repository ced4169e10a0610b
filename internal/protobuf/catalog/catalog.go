// Package catalog holds what protobuf messages a gateway knows: the schemas that
// its configuration names, those that were uploaded, and the plans compiled of
// them. Whoever speaks protobuf to anybody looks its types up here.
//
// It promises that another configuration can be prepared without an effect on who
// uses the catalog: the schemas are loaded beside and then taken all at once.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/perf"
	"sluice/internal/protobuf"
	"sluice/internal/protobuf/schema"
)

// maxPlans is how many message types keep their tables. One that is asked for
// when there are as many takes the place of the one not asked for the longest.
const maxPlans = 1024

// Options are what a Catalog needs besides its configuration.
type Options struct {
	Logger *slog.Logger // nil logs nothing

	// StateDir is the directory that uploaded schemas are kept in, "" for none.
	StateDir string
}

// Catalog is the schemas and their plans. It is safe for concurrent use.
type Catalog struct {
	log     *slog.Logger
	limit   atomic.Int64 // MaxSchemaBytes
	schemas *schema.Registry
	plans   *protobuf.Plans

	mu        sync.Mutex
	followers []*func(digest [32]byte)
}

// New makes a Catalog of a configuration that has been validated, with the schemas
// that it names, which takes as long as the servers among them take to answer, one
// after the other (10 s each at most), and the uploads that were kept. It writes nothing; see Begin.
func New(ctx context.Context, cfg Config, o Options) (*Catalog, error) {
	c := &Catalog{log: o.Logger, plans: protobuf.NewPlans(maxPlans)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	c.schemas, err = schema.NewRegistry(schema.Options{
		MaxSchemas: cfg.MaxSchemas, Dir: o.StateDir, Limits: limits(int64(cfg.MaxSchemaBytes)), OnChange: c.changed, Log: c.log,
	})
	if err != nil {
		return nil, err
	}
	commit, err := c.Prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	commit()
	return c, nil
}

func limits(bytes int64) schema.Limits { return schema.Limits{MaxBytes: int(bytes)} }

// Begin makes the directory for uploads, and removes what a crash left there. What
// cannot be done is logged: uploads then fail.
func (c *Catalog) Begin() {
	if err := c.schemas.Tidy(); err != nil {
		c.log.Warn("uploaded schemas cannot be kept: uploads will fail", "error", err)
	}
}

// Prepare loads the schemas that a configuration names, with as much patience as
// New, and checks that there is room for them. It changes nothing: commit does, and
// cannot fail. Schemas that changed have another digest then, uploads stay but for
// those whose name the configuration now has.
func (c *Catalog) Prepare(ctx context.Context, cfg Config) (commit func(), err error) {
	list, err := load(ctx, cfg.Schemas, limits(int64(cfg.MaxSchemaBytes)))
	if err != nil {
		return nil, err
	}
	replace, err := c.schemas.Prepare(list, cfg.MaxSchemas)
	if err != nil {
		return nil, err
	}
	return func() {
		c.limit.Store(int64(cfg.MaxSchemaBytes))
		replace()
	}, nil
}

// load loads schemas. Each is "location" or "name=location".
func load(ctx context.Context, list []string, l schema.Limits) (loaded []*schema.Schema, err error) {
	seen := make(map[string]string)
	for _, entry := range list {
		name, location := nameOf(entry)
		if other, ok := seen[name]; ok {
			return nil, fmt.Errorf("load schemas: %w", sameName(other, entry, name, location))
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

// CheckFiles loads the schemas that the configuration names, as a start would, and
// keeps nothing of them. Servers that reflect are not asked: they are in unasked,
// each as "key: why". It returns all faults as Validate does.
func (c Config) CheckFiles(ctx context.Context) (unasked []string, err error) {
	var faults []error
	seen := make(map[string]string)
	for i, entry := range c.Schemas {
		if entry == "" {
			continue // a fault that Validate tells of
		}
		key := fmt.Sprintf("schemas[%d]", i)
		name, location := nameOf(entry)
		if other, ok := seen[name]; ok {
			faults = append(faults, fmt.Errorf("%s: %w", key, sameName(other, entry, name, location)))
			continue
		}
		seen[name] = entry
		src := schema.Source{Name: name, Locations: []string{location}}
		if src.Remote() {
			unasked = append(unasked, fmt.Sprintf("%s: %s is asked at the start, and was not asked now", key, location))
			continue
		}
		if _, err := schema.Load(ctx, src, limits(int64(c.MaxSchemaBytes))); err != nil {
			// A compiler's faults, one a line, are of this one entry.
			faults = append(faults, errors.New(key+": "+strings.ReplaceAll(err.Error(), "\n", "; ")))
		}
	}
	if n := len(c.Schemas); n > c.MaxSchemas && c.MaxSchemas > 0 {
		faults = append(faults, fmt.Errorf("schemas: there are %d, and max_schemas is %d", n, c.MaxSchemas))
	}
	return unasked, errors.Join(faults...)
}

func sameName(one, other, name, location string) error {
	return fmt.Errorf("%q and %q are both named %q; give one another name, as other=%s", one, other, name, location)
}

// nameOf splits an entry of the configuration's schemas. One that names none is
// called as its file is, or its server.
func nameOf(entry string) (name, location string) {
	if name, location, ok := strings.Cut(entry, "="); ok && schema.CheckName(name) == nil {
		return name, location
	}
	name = filepath.Base(entry)
	if _, server, ok := strings.Cut(entry, "://"); ok {
		name = server
	} else {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	name = strings.Map(func(r rune) rune {
		if schema.CheckName("x"+string(r)) != nil {
			return '-'
		}
		return r
	}, name)
	return name, entry
}

// TakeOver brings in what was uploaded to another Catalog.
func (c *Catalog) TakeOver(before *Catalog) {
	for _, s := range before.List() {
		if _, err := c.Get(s.Name); !s.Upload || err == nil {
			continue
		}
		if _, err := c.schemas.Put(s.Name, s); err != nil {
			c.log.Warn("an uploaded schema is dropped", "schema", s.Name, "error", err)
		}
	}
}

// Add puts in a schema that was loaded, under its name.
func (c *Catalog) Add(s *schema.Schema) error {
	_, err := c.schemas.Put(s.Name, s)
	return err
}

// Upload makes a schema of an upload the one of that name. The content type says
// whether body is the text of a .proto file or a FileDescriptorSet. Its errors are
// those of schema.Parse, as an InvalidError, and of schema.Registry.Put.
func (c *Catalog) Upload(name, contentType string, body []byte) (*schema.Schema, error) {
	s, err := schema.Parse(name, contentType, body, limits(c.limit.Load()))
	if err != nil {
		return nil, &InvalidError{err}
	}
	if _, err := c.schemas.Put(name, s); err != nil {
		return nil, err
	}
	return s, nil
}

// InvalidError says what is wrong with an upload.
type InvalidError struct{ err error }

func (e *InvalidError) Error() string { return e.err.Error() }

// Unwrap gives the error of schema.Parse.
func (e *InvalidError) Unwrap() error { return e.err }

// Remove removes a schema, and its file if it was kept.
func (c *Catalog) Remove(name string) error { return c.schemas.Remove(name) }

// Get gives the schema of that name, or schema.ErrUnknown.
func (c *Catalog) Get(name string) (*schema.Schema, error) { return c.schemas.Get(name) }

// List gives all schemas, sorted by name. The list must not be changed.
func (c *Catalog) List() []*schema.Schema { return c.schemas.List() }

// Type is a message type that was found.
type Type struct {
	Plan   *protobuf.Plan
	Digest [32]byte // of its schema
	Name   string   // its full name
}

// Find finds a message type by its full name, in the schema of that name or, where
// that is "", in all. Its errors are those of schema.Registry.Find, or say that no
// plan can be made.
func (c *Catalog) Find(schemaName, typeName string) (Type, error) {
	s, md, err := c.schemas.Find(schemaName, protoreflect.FullName(typeName))
	if err != nil {
		return Type{}, err
	}
	p, err := c.plans.Get(s.Digest, s, md.FullName())
	if err != nil {
		return Type{}, err
	}
	return Type{p, s.Digest, string(md.FullName())}, nil
}

// Follow has forget called with the digest of each schema that is gone, one at a
// time, until stop is called. What is made with such a schema at that moment may be
// kept still, but only what has the same digest finds it.
func (c *Catalog) Follow(forget func(digest [32]byte)) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.followers = append(c.followers, &forget)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.followers = slices.DeleteFunc(c.followers, func(f *func([32]byte)) bool { return f == &forget })
	}
}

func (c *Catalog) changed(change schema.Change) {
	if !change.Dead {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, forget := range c.followers {
		(*forget)(change.Old.Digest)
	}
}

// Tidy forgets compiled plans that nobody has asked for in the time between two calls of
// it, and tells how many.
func (c *Catalog) Tidy() int { return c.plans.Tidy() }

// Figures implements perf.Source.
func (c *Catalog) Figures(r perf.Reporter) { c.plans.Figures(r) }
