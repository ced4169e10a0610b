package route

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sort"
	"strings"

	"sluice/internal/llm"
)

// maxGroups bounds the names whose groups a table keeps: an upstream without a
// list takes any name that a client thinks of.
const maxGroups = 1024

// group is who may answer requests for a model.
type group struct {
	id   [32]byte
	name string
}

// Group implements llm.Groups: it tells who may answer for a model as a client
// names it in a body; "" is the default upstream. It goes by what the model
// lists say now.
//
// id is a SHA-256 digest of the upstreams that may answer, fallbacks included:
// of their names and identities, the name that each knows the model by, and
// whether it is a fallback. It is the same on every machine that has the same
// configuration and model lists. The order of upstreams and of fallbacks,
// weights, and how the upstreams do, do not count.
//
// name is what the upstreams that serve the model call it, so that an alias,
// "upstream/model" and "model" can be purged together.
func (r *Router) Group(model string) (id [32]byte, name string, ok bool) {
	t := r.table.Load()
	if g := t.groups.find(model); g != nil {
		return g.id, g.name, true
	}
	g, ok := r.group(t, model)
	if ok {
		t.groups.keep(model, g)
	}
	return g.id, g.name, ok
}

// ResolveModel returns the name that Group gives. Where nobody is known to
// serve the model that is what the name stands for, or else the name itself.
func (r *Router) ResolveModel(name string) string {
	if _, resolved, ok := r.Group(name); ok {
		return resolved
	}
	return r.follow(name)
}

// Names tells what a name that clients use stands for: full is the name without aliases,
// resolved what ResolveModel gives.
func (r *Router) Names(name string) (full, resolved string) {
	return r.follow(name), r.ResolveModel(name)
}

// Translates reports whether a request for a model may be written anew in another dialect:
// whether it is by any upstream that it may go to. It neither waits nor asks an upstream.
func (r *Router) Translates(model string, op llm.Operation) bool {
	var few [4]target
	targets := append(few[:0], target{up: r.def})
	if model != "" {
		t, name := r.table.Load(), r.follow(model)
		targets = r.addFallbacks(t.resolve(targets[:0], name, 0, true), t, model, name)
	}
	return slices.ContainsFunc(targets, func(t target) bool { return t.up.Translates != nil && t.up.Translates(op) })
}

// group finds the targets as find does for a request, but where that waits for
// a list that was not asked for yet there is no group.
func (r *Router) group(t *table, model string) (group, bool) {
	var few [4]target
	targets, name := few[:0], model
	if model == "" {
		targets = append(targets, target{up: r.def})
	} else {
		name = r.follow(model)
		targets = t.resolve(targets, name, 0, false)
		if len(targets) == 0 && t.unasked() {
			return group{}, false
		}
		targets = r.addFallbacks(targets, t, model, name)
	}
	if len(targets) == 0 {
		return group{}, false
	}
	if targets[0].group == 0 {
		name = targets[0].model // all others of group 0 have the same
	}
	return group{digest(targets), name}, true
}

// unasked reports whether some list is yet to be asked for.
func (t *table) unasked() bool {
	return slices.ContainsFunc(t.order, func(up *upstream) bool { return t.known[up] == unasked })
}

// digest sums up targets, of which the first is of the best group, and sorts
// them. A fallback is told apart, because it gives few of the answers: those of
// a model that has it as a fallback are not those of its own.
func digest(targets []target) [32]byte {
	best := targets[0].group
	for i := range targets {
		targets[i].group = min(targets[i].group-best, 1)
	}
	sort.Slice(targets, func(i, j int) bool {
		a, b := &targets[i], &targets[j]
		return cmp.Or(a.group-b.group, strings.Compare(a.up.Name, b.up.Name), strings.Compare(a.model, b.model)) < 0
	})
	b := make([]byte, 0, 512)
	for _, t := range targets {
		b = append(b, byte(t.group))
		for _, s := range [...]string{t.up.Name, t.up.Identity, t.model} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return sha256.Sum256(b)
}

// groups keeps the groups of a table by the names that clients used.
type groups struct{ perModel[group] }

// keep remembers a group, as long as there is room.
func (gs *groups) keep(model string, g group) {
	room := func(all map[string]*group) bool { return len(all) < maxGroups }
	if !room(gs.all()) {
		return // without a copy of them all: it stays so
	}
	gs.make(model, room, func(string) *group {
		return &group{id: g.id, name: strings.Clone(g.name)} // a name may be a piece of a large request
	})
}
