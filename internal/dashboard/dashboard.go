// Package dashboard has the page that shows a person how the gateway does.
//
// It is one HTML document with its style and script inside, written by hand,
// and asks for nothing from elsewhere. It holds no data: it reads what
// GET /v1/performance and its neighbours say, with the administrator's key where
// one is needed, so the page itself is safe to give to anybody.
package dashboard

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"

	"sluice/internal/llm"
)

// Path is where the page is. Its links are relative, so that it also works
// behind a proxy that puts something before the path.
const Path = "/dashboard"

//go:embed page
var files embed.FS

// page is the document as it is sent, made when somebody first asks for it: few who
// run a gateway have its page open, and packing it takes more than a megabyte.
type page struct {
	made func() (*document, error)
}

type document struct {
	policy      string // Content-Security-Policy
	plain, gzip variant
}

// variant is one encoding of it.
type variant struct {
	body []byte
	tag  string // strong, as in RFC 9110, section 8.8.3
}

// Handler answers GET and HEAD of Path with the page, and everything else with
// 404 or 405. It is safe for concurrent use.
func Handler() llm.Handler { return &page{sync.OnceValues(compose)} }

// compose makes the document. It fails only where the program was built without the
// page's files.
func compose() (*document, error) {
	style, err := read("page/*.css")
	if err != nil {
		return nil, err
	}
	script, err := read("page/*.js")
	if err != nil {
		return nil, err
	}
	frame, err := read("page/*.html")
	if err != nil {
		return nil, err
	}
	doc := []byte(strings.NewReplacer("{{style}}", style, "{{script}}", script).Replace(frame))
	packed, err := compress(doc)
	if err != nil {
		return nil, err
	}
	return &document{
		// The page's own style and script are named by their hashes, so that not
		// even what comes from the gateway's other paths can run in it. Trusted
		// types, where browsers know them, let no text become HTML or a script.
		policy: "default-src 'none'; script-src '" + hash(script) + "'; style-src '" + hash(style) +
			"'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
			"require-trusted-types-for 'script'; trusted-types 'none'",
		plain: newVariant(doc),
		gzip:  newVariant(packed),
	}, nil
}

// Follow chooses what the page's graphs show from before it was opened, as
// timeline.Follow does.
func Follow(figure string) (label string, ok bool) {
	switch figure {
	case "requests_total":
		return "status", true
	case "tokens_total":
		return "type", true
	case "upstream_wait_seconds", "route_breaker_state", "upstream_connections_open", "upstream_connections_idle", "upstream_pool_waiting":
		return "upstream", true
	case "request_duration_seconds", "request_overhead_seconds", "stream_first_event_seconds", "stream_between_events_seconds", "go_gc_pause_seconds",
		"streams_active", "process_resident_bytes", "go_heap_live_bytes", "cache_bytes", "process_memory_limit_bytes", "go_goroutines",
		"process_cpu_time_seconds_total", "go_gc_cpu_seconds_total", "tokens_saved_total":
		return "", true
	}
	return "", strings.HasSuffix(figure, "hit_ratio") || strings.HasSuffix(figure, "reuse_ratio")
}

// read joins files in the order of their names. The scripts become one module
// so: what one declares the others see.
func read(pattern string) (string, error) {
	names, err := fs.Glob(files, pattern)
	if err == nil && len(names) == 0 {
		err = fs.ErrNotExist
	}
	var text strings.Builder
	for _, name := range names {
		var b []byte
		if b, err = files.ReadFile(name); err != nil {
			break
		}
		text.Write(b)
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", pattern, err)
	}
	return text.String(), nil
}

func compress(b []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress page: %w", err)
	}
	return packed.Bytes(), nil
}

// hash gives a source of a policy that allows exactly this text (CSP 3, section
// 2.3.1).
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func newVariant(body []byte) variant {
	sum := sha256.Sum256(body)
	return variant{body, `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// Serve implements llm.Handler.
func (p *page) Serve(_ context.Context, req *llm.Request, out llm.Sink) error {
	doc, err := p.made()
	if err != nil {
		return err
	}
	h := llm.Head{Kind: llm.Unary, Header: []llm.Field{
		{Name: "X-Content-Type-Options", Value: "nosniff"},
		{Name: "Referrer-Policy", Value: "no-referrer"},
		{Name: "Content-Security-Policy", Value: doc.policy},
	}}
	body := doc.choose(req, &h)
	h.Length = int64(len(body))
	if err := out.Start(&h); err != nil || len(body) == 0 || req.Method == "HEAD" {
		return err
	}
	return out.Send([]llm.Event{{Raw: body}})
}

// choose completes the reply's head and returns its body.
func (d *document) choose(req *llm.Request, h *llm.Head) []byte {
	field := func(name, value string) { h.Header = append(h.Header, llm.Field{Name: name, Value: value}) }
	fault := func(status int, text string) []byte {
		h.Status = status
		field("Content-Type", "text/plain; charset=utf-8")
		return []byte(text + "\n")
	}
	switch path, err := url.PathUnescape(req.Path); {
	case err == nil && path == Path+"/":
		h.Status = 308
		field("Location", ".."+Path)
		return nil
	case err != nil || path != Path:
		return fault(404, "404 page not found")
	case req.Method != "GET" && req.Method != "HEAD":
		field("Allow", "GET, HEAD")
		return fault(405, "Method Not Allowed")
	}
	v, packed := d.plain, llm.TakesGzip(req.Header)
	if packed {
		v = d.gzip
	}
	field("Vary", "Accept-Encoding")
	field("Content-Type", "text/html; charset=utf-8")
	field("Cache-Control", "no-cache") // ask each time, which the tag makes cheap
	field("Etag", v.tag)
	if matches(values(req, "If-None-Match"), v.tag) {
		h.Status = 304
		return nil
	}
	if packed {
		field("Content-Encoding", "gzip")
	}
	h.Status = 200
	return v.body
}

// values gives those of all fields with a canonical name.
func values(req *llm.Request, name string) (list []string) {
	for _, f := range req.Header {
		if f.Name == name {
			list = append(list, f.Value)
		}
	}
	return list
}

// matches compares tags as If-None-Match has them compared: weakly.
func matches(values []string, tag string) bool {
	return slices.ContainsFunc(elements(values), func(e string) bool {
		return e == "*" || strings.TrimPrefix(e, "W/") == tag
	})
}

// elements splits fields that are lists. No tag of ours has a comma.
func elements(values []string) []string {
	list := strings.Split(strings.Join(values, ","), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}
