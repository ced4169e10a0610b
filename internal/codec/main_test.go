package codec

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/protobuf"
	"sluice/internal/protobuf/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const notes = `syntax = "proto3";
package test;
enum Kind { KIND_NONE = 0; KIND_LOUD = 1; }
message Note {
  string text = 1;
  int64 big_number = 2;
  repeated Note notes = 3;
  Kind kind = 4;
}
service Notes { rpc Follow(Note) returns (stream Note); }
`

// newCodec makes a Codec that knows test.Note of the schema "notes".
func newCodec(t testing.TB, change func(*Config)) *Codec {
	t.Helper()
	return codecOf(t, newCatalog(t, catalog.Default(), ""), change)
}

func newCatalog(t testing.TB, cfg catalog.Config, dir string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.New(t.Context(), cfg, catalog.Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c.Begin()
	return c
}

// codecOf makes a Codec of schemas to which it adds "notes".
func codecOf(t testing.TB, schemas *catalog.Catalog, change func(*Config)) *Codec {
	t.Helper()
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler), Schemas: schemas})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.PutSchema("notes", "text/plain", []byte(notes)); err != nil {
		t.Fatal(err)
	}
	return c
}

// note is the wire form of {"text": text}.
func note(text string) []byte {
	b := []byte{1<<3 | 2}
	for n := len(text); ; n >>= 7 {
		if n < 0x80 {
			b = append(b, byte(n))
			break
		}
		b = append(b, byte(n)|0x80)
	}
	return append(b, text...)
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// client takes a reply.
type client struct {
	sent func() error // called by Send; nil for nothing

	mu     sync.Mutex
	head   llm.Head
	starts int
	body   []byte
	sends  int
	events int
}

func (c *client) Start(h *llm.Head) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.starts = *h, c.starts+1
	c.head.Header = slices.Clone(h.Header)
	return nil
}

func (c *client) Send(events []llm.Event) error {
	c.mu.Lock()
	for _, e := range events {
		c.body = append(c.body, e.Raw...)
		c.events++
	}
	c.sends++
	c.mu.Unlock()
	if c.sent != nil {
		return c.sent()
	}
	return nil
}

func (c *client) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.body)
}

// post makes a request whose body comes as front gives it: JSON is held, anything
// else is read. A header is "Name: value".
func post(target, body string, headers ...string) *llm.Request {
	path, query, _ := strings.Cut(target, "?")
	req := &llm.Request{Op: llm.Passthrough, ID: "1", Method: "POST", Path: prefix + path, RawQuery: query}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header = append(req.Header, llm.Field{Name: name, Value: value})
	}
	if req.Get("Content-Type") == "application/json" {
		req.Body, req.BodyLen = []byte(body), int64(len(body))
	} else if body != "" {
		req.BodyReader, req.BodyLen = strings.NewReader(body), -1
	}
	return req
}

const (
	asJSON  = "Content-Type: application/json"
	asWire  = "Content-Type: application/x-protobuf"
	asEvent = "Content-Type: text/event-stream"
)

// ask sends a request and gives the reply as "type body", or "status code param
// message".
func send(c *Codec, req *llm.Request) string {
	out := &client{}
	if err := c.Stage(nil).Serve(context.Background(), req, out); err != nil {
		return told(err)
	}
	if out.starts != 1 || out.head.Status != 200 || out.head.Kind == llm.Unary && (out.events != 1 || out.head.Length != int64(len(out.body))) {
		return fmt.Sprintf("broken reply: %+v", out.head)
	}
	return out.head.Get("Content-Type") + " " + out.text()
}

func told(err error) string {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		return "internal: " + err.Error()
	}
	return fmt.Sprintf("%d %s %s: %s", e.Status, e.Code, e.Param, e.Message)
}

// fake is a plan that a test controls.
type fake func(dst, input []byte) ([]byte, error)

func (f fake) AppendJSON(dst, wire []byte, _ protobuf.Options, _ protobuf.Limits) ([]byte, error) {
	return f(dst, wire)
}

func (f fake) AppendWire(dst, json []byte, _ protobuf.Options, _ protobuf.Limits) ([]byte, error) {
	return f(dst, json)
}

// slow is a body that comes in pieces.
type slow struct {
	pieces [][]byte
	err    error // after them; nil is io.EOF
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

// cut cuts b after n bytes.
func cut(b []byte, n int) *slow {
	return &slow{pieces: [][]byte{bytes.Clone(b[:n]), bytes.Clone(b[n:])}}
}
