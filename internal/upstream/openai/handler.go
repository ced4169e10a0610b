// Package openai is an upstream that speaks the OpenAI API over HTTP.
//
// It promises that requests and replies keep their bytes: a request's body goes
// out as it came, except for the model's name where routing changed that; a
// stream's events leave as they came in, the first as soon as it is there. A
// reply that was cut short is never ended as if it were whole. The upstream's
// key reaches the upstream and nothing else.
package openai

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// Handler is one upstream. It is safe for concurrent use.
type Handler struct {
	name    string
	client  *upstream.Client
	stream  upstream.StreamConfig
	base    string // escaped path before what follows "/v1" in a request's
	query   string // of the base URL
	header  []llm.Field
	secrets *secrets

	attempts sync.Pool // *attempt
	streams  sync.Pool // *stream
	wholes   sync.Pool // *whole
}

// attempt is what a request is turned into, kept for use again.
type attempt struct {
	upstream.Call
	fields []llm.Field
}

// New makes the handler of the upstream called name. Requests go through c,
// whose base URL has the host of cfg's.
func New(cfg Config, name string, c *upstream.Client, s upstream.StreamConfig) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check upstream %s: %w", name, err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("check stream: %w", err)
	}
	base, err := cfg.Base()
	if err != nil {
		return nil, fmt.Errorf("check upstream %s: %w", name, err)
	}
	h := &Handler{
		name: name, client: c, stream: s,
		base: strings.TrimRight(base.EscapedPath(), "/"), query: base.RawQuery,
		header: configuredHeader(cfg), secrets: newSecrets(confidentials(cfg, base)),
	}
	h.attempts.New = func() any { return new(attempt) }
	h.streams.New = func() any { return new(stream) }
	h.wholes.New = func() any { return new(whole) }
	return h, nil
}

func configuredHeader(cfg Config) (header []llm.Field) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		header = append(header, llm.Field{Name: canonicalName(name), Value: cfg.Headers[name]})
	}
	if !cfg.APIKey.IsZero() {
		header = append(header, llm.Field{Name: "Authorization", Value: "Bearer " + cfg.APIKey.Reveal()})
	}
	return header
}

// confidentials collects what no client may see.
func confidentials(cfg Config, base *url.URL) (all []string) {
	all = append(all, cfg.APIKey.Reveal())
	for name, value := range cfg.Headers {
		if !confidential(name) {
			continue
		}
		all = append(all, value)
		scheme, credentials, isScheme := strings.Cut(value, " ")
		if !isScheme {
			continue
		}
		all = append(all, credentials)
		if plain, err := base64.StdEncoding.DecodeString(credentials); err == nil && strings.EqualFold(scheme, "basic") {
			_, password, _ := strings.Cut(string(plain), ":")
			all = append(all, string(plain), password)
		}
	}
	for name, values := range base.Query() {
		if confidential(name) {
			all = append(all, values...)
		}
	}
	return all
}

// Serve implements llm.Handler.
func (h *Handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	r, begun, err := h.do(ctx, req)
	if err != nil {
		return err
	}
	// Its end gives the connection back, or closes it where the reply was not
	// read to its end.
	defer r.Close()
	if r.Status >= 400 {
		return h.failure(r)
	}
	if r.Status >= 300 && req.Op != llm.Passthrough {
		return h.redirected(r)
	}
	contentType := r.Get("Content-Type")
	r.Header = h.clientFields(r.Header, r.Status)
	switch {
	case r.Switched():
		return h.tunnel(r, req.BodyReader, out, begun)
	case mediaType(contentType, "text/event-stream"):
		return h.relay(req.Op, r, nil, out, begun)
	case req.Stream && r.Status < 300:
		return h.mislabelled(req, r, out, begun)
	case req.Method != "HEAD" && isJSON(contentType, req.Op):
		return h.unary(req.Op, r, nil, out, begun)
	default:
		return h.pieces(r, nil, out, begun, isPage(req.Op, r))
	}
}

// do sends the request and waits for the reply's head. begun is when it handed
// the request to the transport.
func (h *Handler) do(ctx context.Context, req *llm.Request) (r *upstream.Reply, begun time.Time, err error) {
	c := h.attempts.Get().(*attempt)
	defer func() {
		c.Call = upstream.Call{}
		clear(c.fields)
		h.attempts.Put(c)
	}()
	c.fields = h.appendHeader(c.fields[:0], req)
	c.Call = upstream.Call{
		Method: req.Method, Target: h.target(req), Header: c.fields,
		BodyReader: req.BodyReader, BodyLen: req.BodyLen, Stream: req.Stream,
	}
	if c.Upgrade = req.Upgrade; c.Upgrade != "" {
		c.BodyReader, c.BodyLen = nil, 0 // what is read comes after the request
	} else if req.BodyReader == nil {
		c.Body = body(req)
	}
	begun = time.Now()
	r, err = h.client.Do(ctx, &c.Call)
	return r, begun, err
}

// target is the path and query to ask the upstream for.
func (h *Handler) target(req *llm.Request) string {
	path := strings.TrimPrefix(req.Path, "/v1")
	switch {
	case h.query == "" && req.RawQuery == "":
		return h.base + path
	case h.query == "":
		return h.base + path + "?" + req.RawQuery
	case req.RawQuery == "":
		return h.base + path + "?" + h.query
	default:
		return h.base + path + "?" + h.query + "&" + req.RawQuery
	}
}

// appendHeader appends the request's fields. Credentials of a client are not
// among them, and would not pass here: only the upstream's own are sent.
func (h *Handler) appendHeader(dst []llm.Field, req *llm.Request) []llm.Field {
	typed := false
	for _, f := range req.Header {
		if f.Name == "Authorization" || h.configured(f.Name) {
			continue
		}
		typed = typed || f.Name == "Content-Type"
		dst = append(dst, f)
	}
	dst = append(dst, h.header...)
	if !typed && len(req.Body) > 0 && req.Op != llm.Passthrough {
		dst = append(dst, llm.Field{Name: "Content-Type", Value: "application/json"})
	}
	return dst
}

func (h *Handler) configured(name string) bool {
	for i := range h.header {
		if h.header[i].Name == name {
			return true
		}
	}
	return false
}

// body gives the request's body with the model's name as the upstream knows it,
// in parts, so that nothing is copied. The name is made anew for each request,
// because over HTTP/2 a body may still be on its way after an early reply.
func body(req *llm.Request) [3][]byte {
	before, after, ok := req.CutModel()
	if !ok || req.UpstreamModel == "" || req.UpstreamModel == req.Model {
		return [3][]byte{req.Body}
	}
	name := jsonscan.AppendString(make([]byte, 0, len(req.UpstreamModel)+2), req.UpstreamModel)
	return [3][]byte{before, name, after}
}
