package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// groups answers for every model but "unknown". "alias" stands for "gpt".
type groups struct{}

func (groups) Group(model string) (id [32]byte, name string, ok bool) {
	if model == "alias" {
		model = "gpt"
	}
	return sha256.Sum256([]byte(model)), model, model != "unknown"
}

// upstream answers calls. What serve returns for the nth call (from 1) is the
// answer; nil answers with the tenant and the request, and its number.
type upstream struct {
	serve func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error

	mu    sync.Mutex
	calls []llm.Request
}

// then has later calls answered otherwise.
func (u *upstream) then(serve func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.serve = serve
}

func (u *upstream) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	u.mu.Lock()
	copied := *req
	copied.Body = bytes.Clone(req.Body)
	u.calls = append(u.calls, copied)
	n, serve := len(u.calls), u.serve
	u.mu.Unlock()
	if serve != nil {
		return serve(ctx, n, req, out)
	}
	return answer(out, chatReply(fmt.Sprintf("%s %d", req.Tenant, n)))
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.calls)
}

func (u *upstream) last() llm.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[len(u.calls)-1]
}

func chatReply(text string) string {
	return fmt.Sprintf(`{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`, text)
}

// answer sends a whole reply the way an upstream does: with memory that is
// used for something else afterwards.
func answer(out llm.Sink, body string) error {
	return answerAs(out, llm.Unary, []string{body})
}

func answerAs(out llm.Sink, kind llm.ReplyKind, events []string) error {
	header := []llm.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Ratelimit-Remaining-Requests", Value: "9"}}
	length := int64(-1)
	switch kind {
	case llm.EventStream:
		header[0].Value = "text/event-stream"
	case llm.Unary:
		length = int64(len(events[0]))
	}
	if err := out.Start(&llm.Head{Status: 200, Kind: kind, Header: header, Length: length, Upstream: "up"}); err != nil {
		return err
	}
	header[0] = llm.Field{Name: "Reused", Value: "reused"}
	for _, e := range events {
		b := []byte(e)
		if err := out.Send([]llm.Event{{Raw: b}}); err != nil {
			return err
		}
		for i := range b {
			b[i] = 'X'
		}
	}
	return nil
}

// events are a stream's, the last one included.
func events(texts ...string) (all []string) {
	for _, t := range texts {
		all = append(all, fmt.Sprintf("data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", t))
	}
	return append(all, "data: [DONE]\n\n")
}

// client takes a reply.
type client struct {
	started func(*llm.Head) // called by Start; nil for nothing
	sent    func() error    // called by Send; nil for nothing

	mu     sync.Mutex
	head   llm.Head
	starts int
	body   []byte
	events int
	failed int // of these, those that tell of an error
}

func (c *client) Start(h *llm.Head) error {
	c.mu.Lock()
	c.head, c.starts = *h, c.starts+1
	c.head.Header = slices.Clone(h.Header)
	c.mu.Unlock()
	if c.started != nil {
		c.started(h)
	}
	return nil
}

func (c *client) Send(events []llm.Event) error {
	if c.sent != nil {
		if err := c.sent(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		c.body = append(c.body, e.Raw...)
		c.events++
		if e.Failed {
			c.failed++
		}
	}
	return nil
}

// had is how many events it has taken.
func (c *client) had() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events
}

func (c *client) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%s %s", c.head.Cache, c.body)
}

// chat makes a request.
func chat(text string, options ...func(*llm.Request)) *llm.Request {
	body := fmt.Sprintf(`{"model":"gpt","messages":[{"role":"user","content":%q}]}`, text)
	req := &llm.Request{Op: llm.Chat, ID: "1", Method: "POST", Path: "/v1/chat/completions", Model: "gpt", ModelSpan: llm.Span{Start: 9, End: 14}}
	set(req, body)
	for _, o := range options {
		o(req)
	}
	return req
}

func set(req *llm.Request, body string) { req.Body, req.BodyLen = []byte(body), int64(len(body)) }

func streamed(r *llm.Request) {
	r.Stream = true
	set(r, strings.TrimSuffix(string(r.Body), "}")+`,"stream":true}`)
}

func tenant(name string) func(*llm.Request) { return func(r *llm.Request) { r.Tenant = name } }

func policy(p llm.CachePolicy) func(*llm.Request) { return func(r *llm.Request) { r.Cache = p } }

// fixture is a cache in front of an upstream.
type fixture struct {
	*Cache
	stage llm.Handler
	up    *upstream
	log   *bytes.Buffer
}

func newFixture(t testing.TB, change func(*Config, *Options)) *fixture {
	t.Helper()
	cfg, log := Default(), new(bytes.Buffer)
	o := Options{Logger: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&cfg, &o)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Cache: c, up: &upstream{}, log: log}
	f.stage = c.Stage(f.up, groups{}, false)
	c.Use(f.stage)
	return f
}

func (f *fixture) attach(t testing.TB, second SecondLevel) {
	t.Helper()
	if err := f.Attach(second); err != nil {
		t.Fatal(err)
	}
}

// ask sends a request and fails the test at an error.
func (f *fixture) ask(t testing.TB, req *llm.Request) *client {
	t.Helper()
	c := &client{}
	if err := f.stage.Serve(context.Background(), req, c); err != nil {
		t.Fatalf("ask: %v", err)
	}
	return c
}

// expect sends a request and compares what comes with "STATUS body".
func (f *fixture) expect(t testing.TB, req *llm.Request, want string) *client {
	t.Helper()
	c := f.ask(t, req)
	if c.String() != want {
		t.Errorf("got %s\nwant %s", c, want)
	}
	return c
}

// run does the cache's background work until the test's bubble or the test
// calls stop.
func (f *fixture) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// shared is a second level in this process.
type shared struct {
	mu     sync.Mutex
	values map[Key][]byte
	until  map[Key]time.Time
	models map[Key]string
	gets   int
	asked  int
	fail   error
	others []*Cache
}

func newShared() *shared {
	return &shared{values: map[Key][]byte{}, until: map[Key]time.Time{}, models: map[Key]string{}}
}

var errDown = errors.New("down")

func (s *shared) Get(_ context.Context, places []Place, found []Found) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	s.asked += len(places)
	for i, p := range places {
		found[i] = Found{}
		if left := time.Until(s.until[p.Key]); s.values[p.Key] != nil && left > 0 && s.models[p.Key] == p.Model {
			found[i] = Found{Value: s.values[p.Key], Left: left}
		}
	}
	return s.fail
}

func (s *shared) Put(p Place, value []byte, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[p.Key], s.until[p.Key], s.models[p.Key] = value, time.Now().Add(life), p.Model
}

func (s *shared) Forget(_ context.Context, id Key, places []Place) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range append(places, Place{Key: id}) {
		delete(s.values, p.Key)
	}
	for _, c := range s.others {
		c.Forget(Purge{ID: id})
	}
	return s.fail
}

func (s *shared) Purge(_ context.Context, p Purge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, model := range s.models {
		if p == (Purge{}) || p.Model == model || p.Key == key {
			delete(s.values, key)
		}
	}
	for _, c := range s.others {
		c.Forget(p)
	}
	return s.fail
}
