package route

import (
	"context"
	"slices"
	"time"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// find fills in the targets of a call.
func (r *Router) find(ctx context.Context, c *call) error {
	model := c.req.Model
	if model == "" {
		// It may be named elsewhere.
		if c.req.Op != llm.Passthrough && known.NamesOf(c.req.Op) == "" {
			e := llm.Errorf(400, "missing_required_parameter", "The request names no model. Give one as `model`.")
			e.Param = "model"
			return e
		}
		c.targets = append(c.targets, target{up: r.def})
		return nil
	}
	name := r.follow(model)
	t := r.table.Load()
	c.targets = t.resolve(c.targets, name, 0, false)
	if len(c.targets) == 0 {
		begun := time.Now()
		err := r.await(ctx, r.ask, func() bool {
			t = r.table.Load()
			c.targets = t.resolve(c.targets, name, 0, false)
			return len(c.targets) > 0
		})
		c.waited = time.Since(begun)
		if err != nil {
			return err
		}
		if len(c.targets) == 0 {
			t = r.table.Load()
			c.targets = t.resolve(c.targets, name, 0, true)
		}
	}
	if !c.inPath { // what is said of one model is not meant for another
		c.targets = r.addFallbacks(c.targets, t, model, name)
	}
	if len(c.targets) == 0 {
		r.notFounds.Add(1)
		return t.notFound(model)
	}
	return c.keepNames()
}

// addFallbacks appends the fallbacks of the model as the client named it, or
// else of name, which that stands for.
func (r *Router) addFallbacks(dst []target, t *table, model, name string) []target {
	refs, ok := r.cfg.Fallbacks[model]
	if !ok {
		refs = r.cfg.Fallbacks[name]
	}
	for i, ref := range refs {
		n := len(dst)
		dst = t.resolve(dst, r.follow(ref), i+1, true)
		for j := n; j < len(dst); {
			if contains(dst[:j], dst[j].up, dst[j].model) {
				dst = slices.Delete(dst, j, j+1)
			} else {
				j++
			}
		}
	}
	return dst
}

// follow gives what an alias stands for.
func (r *Router) follow(name string) string {
	if end, ok := r.aliases[name]; ok {
		return end
	}
	return name
}

// keepNames drops the targets that know the model by another name, where the
// name cannot be changed in the body.
func (c *call) keepNames() error {
	if c.req.ModelSpan != (llm.Span{}) || c.inPath || c.req.Op.NamesInPath() || c.req.Upgrade != "" {
		return nil
	}
	first := c.targets[0]
	c.targets = slices.DeleteFunc(c.targets, func(t target) bool { return t.model != c.req.Model })
	if len(c.targets) == 0 {
		e := llm.Errorf(400, "model_name_not_replaceable",
			"The model's name cannot be changed in a body of this kind. Name it as its upstream does: `%s`.", first.model)
		e.Param = "model"
		return e
	}
	return nil
}

// Known reports whether a name is one that the configuration or a model list
// has: an alias, a model with fallbacks, a model, or "upstream/model". It is safe
// for concurrent use and takes no lock.
func (r *Router) Known(name string) bool {
	if _, ok := r.aliases[name]; ok {
		return true
	}
	if _, ok := r.cfg.Fallbacks[name]; ok {
		return true
	}
	t := r.table.Load()
	if t.has(name) {
		return true
	}
	up, model, ok := t.split(name)
	return ok && slices.Contains(t.serving[model], up)
}
