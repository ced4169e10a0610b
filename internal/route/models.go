package route

import (
	"context"
	"net/url"
	"strings"
	"unicode/utf8"

	"sluice/internal/dialect/gemini"
	"sluice/internal/dialect/messages"
	"sluice/internal/llm"
)

const modelsPath = "/v1/models/"

// listModels answers with the merged list.
func (r *Router) listModels(ctx context.Context, req *llm.Request, out llm.Sink) error {
	v, err := r.look(ctx, req.Cache, "")
	if err != nil {
		return err
	}
	if len(v.ids) == 0 && r.listsFailed() {
		e := llm.Errorf(503, "models_unavailable", "No upstream's model list could be read. Try again later.")
		e.Fault = llm.Unavailable
		e.RetryAfter = unknownEvery
		return e
	}
	switch {
	case gemini.Is(req.Path):
		v.body = gemini.AppendModels(nil, v.body)
	case ofMessages(req):
		v.body = messages.AppendModels(nil, v.body)
	}
	return r.reply(out, v)
}

// ofMessages reports whether a client speaks the Messages API: a request for models says so
// by its version alone.
func ofMessages(req *llm.Request) bool { return req.Get("Anthropic-Version") != "" }

func (r *Router) listsFailed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, up := range r.ups {
		if up.listErr != nil && !hasNoList(up.listErr) {
			return true
		}
	}
	return false
}

// modelObject gives the object of a model that a list has, under any name
// that requests may use, and the upstream whose list that is; nil where none
// has it.
func (t *table) modelObject(r *Router, name string) (raw []byte, up *upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end, alias := r.aliases[name]
	if !alias {
		if raw, up = t.find(name); raw != nil {
			raw = named(raw, name)
		}
		return raw, up
	}
	_, up = t.find(end)
	return t.objects[name], up
}

func (up *upstream) objectsOf(r *Router) []object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return up.models // replaced as a whole, never changed
}

func (r *Router) reply(out llm.Sink, v view) error {
	r.listReplies[v.cache].Add(1)
	h := llm.Head{
		Status: 200, Kind: llm.Unary, Length: int64(len(v.body)), Cache: v.cache, Age: v.age, Waited: v.waited,
		Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}},
	}
	if err := out.Start(&h); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: v.body}})
}

// namedInPath reports whether a request is about one model: it reads the
// model's description, or deletes the model.
func namedInPath(req *llm.Request) bool {
	return req.Op == llm.GetModel || req.Op == llm.Passthrough && req.Model != "" && strings.HasPrefix(req.Path, modelsPath)
}

// serveModel answers a request about one model, unless that is for an upstream.
func (r *Router) serveModel(ctx context.Context, c *call) (done bool, err error) {
	c.req.Model = modelName(&c.req)
	if dotted(c.req.Model) { // would be another path at the upstream
		return true, r.table.Load().notFound(c.req.Model)
	}
	if c.req.Op != llm.GetModel || c.req.Model == "" {
		return false, nil
	}
	v, err := r.look(ctx, c.req.Cache, c.req.Model)
	switch {
	case err != nil:
		return true, err
	case v.body != nil && gemini.Is(c.req.Path):
		v.body = gemini.AppendModel(nil, v.body)
		return true, r.reply(c.out, v)
	case v.body != nil && ofMessages(&c.req):
		v.body = messages.AppendModel(nil, v.body)
		return true, r.reply(c.out, v)
	case v.body != nil:
		return true, r.reply(c.out, v)
	case gemini.Is(c.req.Path): // upstreams would tell it in another form
		return true, r.table.Load().notFound(c.req.Model)
	case c.req.Cache.OnlyIfCached:
		return true, notCached()
	default:
		return false, nil
	}
}

// modelName gives the model of /v1/models/{id}. The id may have slashes,
// escaped or not.
func modelName(req *llm.Request) string {
	if req.Model != "" {
		return req.Model
	}
	id, err := url.PathUnescape(strings.TrimPrefix(req.Path, modelsPath))
	if err != nil {
		return ""
	}
	return id
}

// dotted reports whether a part of a name between slashes is "", "." or "..".
func dotted(model string) bool {
	for part := range strings.SplitSeq(model, "/") {
		if strings.Trim(part, ".") == "" && len(part) <= 2 {
			return model != ""
		}
	}
	return false
}

// modelPath is the path of a model at an upstream. Slashes stay: that is how
// services that have them in names take them.
func modelPath(model string) string {
	parts := strings.Split(model, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return modelsPath + strings.Join(parts, "/")
}

// modelQuery gives a query with its model replaced, where it names another one.
func modelQuery(query, model string) string {
	for at := 0; at < len(query); {
		end := at + strings.IndexByte(query[at:]+"&", '&')
		name, value, _ := strings.Cut(query[at:end], "=")
		if name, err := url.QueryUnescape(name); err == nil && name == "model" {
			if value, err := url.QueryUnescape(value); err == nil && value == model {
				return query
			}
			return query[:at] + "model=" + url.QueryEscape(model) + query[end:]
		}
		at = end + 1
	}
	return query
}

// notFound is the error for a model that no upstream serves.
func (t *table) notFound(name string) error {
	e := llm.Errorf(404, "model_not_found", "The model `%s` does not exist.", shown(name))
	if near := t.near(name); len(near) > 0 {
		e.Message += " There is `" + strings.Join(near, "`, `") + "`; GET /v1/models lists all."
	}
	e.Param = "model"
	return e
}

// shown is a model's name as it stands in texts.
func shown(name string) string {
	const longest = 100
	if len(name) > longest {
		cut := longest
		for cut > 0 && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + "…"
	}
	return strings.ToValidUTF8(name, "\ufffd")
}
