package schema

import (
	"cmp"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/state"
)

// Options say how a Registry is. Zero means the default, which is in brackets.
type Options struct {
	MaxSchemas int   // [100]; Prepare may change it
	MaxBytes   int64 // of Descriptors in all; linked, they take some 40 times that [8 MiB]
	// Dir keeps uploads over a restart. Empty keeps none. One process has it.
	Dir    string
	Limits Limits // of uploads that are kept, when they are read again
	// OnChange is called after each change, one at a time and in order. It must
	// not change the registry.
	OnChange func(Change)
	Log      *slog.Logger // nil logs nothing
}

// Change is what happened to a name.
type Change struct {
	Name     string
	Old, New *Schema // nil where there was or is none
	// Dead means that no name has Old's digest any more: what a cache holds
	// under it can go.
	Dead bool
}

// Registry holds schemas by their names. It is safe for concurrent use. Looking
// something up takes no lock.
type Registry struct {
	opt Options
	log *slog.Logger
	now atomic.Pointer[snapshot]
	mu  sync.Mutex // one changes

	tidy bool // Tidy was called
}

// snapshot is what a registry holds at one time. It never changes.
type snapshot struct {
	byName map[string]*Schema
	list   []*Schema // sorted by name
	bytes  int64
	all    *Schema // of well-known types, with what any of them may hold
}

// NewRegistry makes a registry with the uploads that Options.Dir holds. One
// that is damaged is skipped with a warning. It writes nothing there; see Tidy.
func NewRegistry(o Options) (*Registry, error) {
	o.MaxSchemas = cmp.Or(o.MaxSchemas, 100)
	o.MaxBytes = cmp.Or(o.MaxBytes, 8<<20)
	r := &Registry{opt: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler))}
	r.now.Store(&snapshot{all: union(nil)})
	if o.Dir == "" {
		return r, nil
	}
	if err := cmp.Or(state.CanMake(o.Dir), r.restore()); err != nil {
		return nil, fmt.Errorf("read kept schemas: %w", err)
	}
	return r, nil
}

// Put makes s the schema of that name, and gives the digest of the one it
// replaces, zero where there was none. An upload does not replace a schema that
// was loaded. Where an upload cannot be kept on disk, nothing changes.
func (r *Registry) Put(name string, s *Schema) (old [32]byte, err error) {
	if err := CheckName(name); err != nil {
		return old, err
	}
	if s.Name != name {
		renamed := *s
		renamed.Name = name
		s = &renamed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.now.Load().byName[name]
	after := r.now.Load().with(name, s)
	if before != nil && s.Upload && !before.Upload {
		return old, fmt.Errorf("put schema %q: the present one %w", name, ErrConfigured)
	}
	if err := r.room(after); err != nil {
		return old, fmt.Errorf("put schema %q: %w", name, err)
	}
	if err := r.persist(name, before, s); err != nil {
		return old, fmt.Errorf("put schema %q: %w", name, err)
	}
	r.publish(name, before, s, after)
	if before != nil {
		old = before.Digest
	}
	return old, nil
}

// Prepare checks a list of schemas that are to be the ones that were loaded, in the
// place of those that are, and a bound on how many schemas there are in all. It
// changes nothing: commit does, and cannot fail. Uploads stay, but for those that
// have a name of the list.
func (r *Registry) Prepare(loaded []*Schema, maxSchemas int) (commit func(), err error) {
	maxSchemas = cmp.Or(maxSchemas, 100)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fits(r.now.Load().loaded(loaded), maxSchemas); err != nil {
		return nil, fmt.Errorf("load schemas: %w", err)
	}
	return func() { r.replace(loaded, maxSchemas) }, nil
}

// replace has list be the schemas that were loaded. An upload that came since there
// was room is kept even where there is none.
func (r *Registry) replace(list []*Schema, maxSchemas int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opt.MaxSchemas = maxSchemas
	before := r.now.Load()
	after := before.loaded(list)
	r.now.Store(after)
	for _, old := range before.list {
		s := after.byName[old.Name]
		if s == old {
			continue
		}
		if r.tidy {
			if err := r.persist(old.Name, old, s); err != nil {
				r.log.Warn("a kept schema cannot be removed", "schema", old.Name, "error", err)
			}
		}
		r.tell(old.Name, old, s, after)
	}
	for _, s := range after.list {
		if before.byName[s.Name] == nil {
			r.tell(s.Name, nil, s, after)
		}
	}
}

// room refuses a snapshot that is over the registry's limits.
func (r *Registry) room(after *snapshot) error { return r.fits(after, r.opt.MaxSchemas) }

func (r *Registry) fits(after *snapshot, maxSchemas int) error {
	switch {
	case len(after.list) > maxSchemas:
		return fmt.Errorf("%w: there are %d", ErrFull, maxSchemas)
	case after.bytes > r.opt.MaxBytes:
		return fmt.Errorf("%w: over %d bytes in all", ErrFull, r.opt.MaxBytes)
	}
	return nil
}

// Remove removes a schema, and its file if it was kept.
func (r *Registry) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.now.Load().byName[name]
	if before == nil {
		return r.now.Load().unknown(name)
	}
	if err := r.persist(name, before, nil); err != nil {
		return fmt.Errorf("remove schema %q: %w", name, err)
	}
	r.publish(name, before, nil, r.now.Load().with(name, nil))
	return nil
}

// publish makes after what the registry holds. r.mu is held.
func (r *Registry) publish(name string, old, s *Schema, after *snapshot) {
	r.now.Store(after)
	r.tell(name, old, s, after)
}

// tell tells of a change. r.mu is held.
func (r *Registry) tell(name string, old, s *Schema, after *snapshot) {
	if r.opt.OnChange != nil {
		r.opt.OnChange(Change{Name: name, Old: old, New: s, Dead: old != nil && !after.holds(old.Digest)})
	}
}

// Get gives the schema of that name, or ErrUnknown.
func (r *Registry) Get(name string) (*Schema, error) {
	now := r.now.Load()
	if s := now.byName[name]; s != nil {
		return s, nil
	}
	return nil, now.unknown(name)
}

// List gives all schemas, sorted by name. The list must not be changed.
func (r *Registry) List() []*Schema { return r.now.Load().list }

// Find finds a message and the schema that declares it. With a schema's name it
// looks there only. Without, the error is ErrAmbiguous where several schemas that
// differ declare the message. Well-known types are found in any case; without a
// schema's name an Any may hold what any schema declares. The error ErrUnknown
// names the message or schema that was probably meant.
func (r *Registry) Find(schema string, message protoreflect.FullName) (*Schema, protoreflect.MessageDescriptor, error) {
	if schema != "" {
		s, err := r.Get(schema)
		if err != nil {
			return nil, nil, err
		}
		md, err := s.FindMessage(message)
		return s, md, err
	}
	now := r.now.Load()
	var found *Schema
	for _, s := range now.list {
		switch {
		case s.byName[message] == nil:
		case found == nil:
			found = s
		case found.Digest != s.Digest:
			return nil, nil, now.ambiguous(message)
		}
	}
	if found == nil {
		if mt, err := standardMessage(message); err == nil && !mt.Descriptor().IsMapEntry() {
			return now.all, mt.Descriptor(), nil
		}
		return nil, nil, unknown("message", string(message), "in any schema", now.messages())
	}
	return found, found.byName[message], nil
}

// with gives a snapshot in which name has another schema, or none.
func (n *snapshot) with(name string, s *Schema) *snapshot {
	after := &snapshot{byName: maps.Clone(n.byName)}
	if after.byName == nil {
		after.byName = map[string]*Schema{}
	}
	delete(after.byName, name)
	if s != nil {
		after.byName[name] = s
	}
	return after.summed()
}

// loaded gives a snapshot that has a list of loaded schemas in the place of those
// that it has.
func (n *snapshot) loaded(list []*Schema) *snapshot {
	after := &snapshot{byName: map[string]*Schema{}}
	for _, s := range n.list {
		if s.Upload {
			after.byName[s.Name] = s
		}
	}
	for _, s := range list {
		after.byName[s.Name] = s
	}
	return after.summed()
}

// summed fills in what follows from byName.
func (n *snapshot) summed() *snapshot {
	for _, name := range slices.Sorted(maps.Keys(n.byName)) {
		s := n.byName[name]
		n.list = append(n.list, s)
		n.bytes += int64(len(s.set))
	}
	n.all = union(n.list)
	return n
}

func (n *snapshot) holds(digest [32]byte) bool {
	return slices.ContainsFunc(n.list, func(s *Schema) bool { return s.Digest == digest })
}

func (n *snapshot) unknown(name string) error {
	return unknown("schema", name, "", maps.Keys(n.byName))
}

func (n *snapshot) ambiguous(message protoreflect.FullName) error {
	var names []string
	for _, s := range n.list {
		if s.byName[message] != nil {
			names = append(names, s.Name)
		}
	}
	return fmt.Errorf("message %q is %w: name one of the schemas that have it: %s", message, ErrAmbiguous, strings.Join(names, ", "))
}

// messages are the names of all messages.
func (n *snapshot) messages() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, s := range n.list {
			for _, md := range s.messages {
				if !yield(string(md.FullName())) {
					return
				}
			}
		}
	}
}
