package route

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// hasNoList reports whether an upstream said that it knows no model lists, so
// that there is no point in asking soon again.
func hasNoList(err error) bool {
	e, ok := errors.AsType[*llm.Error](err)
	return ok && (e.Status == 404 || e.Status == 405 || e.Status == 501)
}

// fetch asks an upstream for its model list.
func fetch(ctx context.Context, up *upstream) ([]object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	req := &llm.Request{Op: llm.ListModels, ID: "models-" + up.Name, Method: "GET", Path: "/v1/models"}
	req.Priority = llm.PriorityNormal
	var reply capture
	if err := up.Handler.Serve(ctx, req, &reply); err != nil {
		return nil, fmt.Errorf("get model list: %w", err)
	}
	models, err := parseList(reply.body)
	if err != nil {
		return nil, fmt.Errorf("read model list: %w", err)
	}
	return models, nil
}

// parseList reads {"data":[{"id":…},…]}, or the array alone, as some services
// send it. Entries that are no models are passed over.
func parseList(b []byte) (models []object, err error) {
	if err := jsonscan.Validate(b, jsonscan.DefaultDepth); err != nil {
		return nil, err
	}
	all, ok := jsonscan.Get(b)
	if ok && b[all.Start] == '{' {
		all, ok = jsonscan.Get(b, "data")
	}
	if !ok || b[all.Start] != '[' {
		return nil, errors.New("there is no array of models in it")
	}
	b = b[all.Start:all.End]
	seen := make(map[string]bool)
	jsonscan.Elements(b, func(v llm.Span) bool {
		raw := b[v.Start:v.End]
		if raw[0] != '{' {
			return true
		}
		span, ok := jsonscan.Get(raw, "id")
		if !ok {
			return true
		}
		id, err := jsonscan.String(raw[span.Start:span.End])
		if err == nil && id != "" && len(id) <= maxModelName && !seen[id] {
			seen[id] = true
			models = append(models, object{strings.Clone(id), raw})
		}
		return true
	})
	return models, nil
}

// noList is the error of a reply that is no model list.
func noList(format string, args ...any) *llm.Error {
	e := llm.Errorf(502, "upstream_bad_reply", format, args...)
	e.Fault = llm.BadReply
	return e
}

// capture is a sink that keeps the reply.
type capture struct{ body []byte }

func (c *capture) Start(h *llm.Head) error {
	if h.Status != 200 {
		return noList("The upstream answered with status %d.", h.Status)
	}
	if h.Kind == llm.EventStream {
		return noList("The upstream answered with a stream.")
	}
	return nil
}

func (c *capture) Send(events []llm.Event) error {
	for _, e := range events {
		if len(c.body)+len(e.Raw) > maxListBytes {
			return noList("The upstream's model list is larger than %d bytes.", maxListBytes)
		}
		c.body = append(c.body, e.Raw...)
	}
	return nil
}
