package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/outline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is an upstream whose replies say which items they are of. It is for a bubble
// of synctest where it takes time.
type service struct {
	takes  time.Duration
	order  func(n int) []int // of a reply's elements; nil for their own
	header []llm.Field       // of replies, besides
	bare   bool              // elements have no index
	spoil  func(items []string, body string) string
	fail   func(items []string) error

	mu    sync.Mutex
	calls []call
	cut   int
}

// call is one that the service was asked.
type call struct {
	body   string
	items  []string
	header []llm.Field
	req    llm.Request
}

type request struct {
	Input, Prompt json.RawMessage
	N             *int
	Model         string
}

// itemsOf gives the items of a request, as JSON.
func itemsOf(body []byte) (list []string, n int, err error) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", body, err)
	}
	raw := r.Input
	if raw == nil {
		raw = r.Prompt
	}
	n = 1
	if r.N != nil {
		n = *r.N
	}
	if raw[0] == '"' {
		return []string{string(raw)}, n, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, 0, err
	}
	if len(items) > 0 && items[0][0] >= '0' && items[0][0] <= '9' {
		return []string{string(raw)}, n, nil
	}
	for _, i := range items {
		list = append(list, string(i))
	}
	return list, n, nil
}

func (s *service) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	items, n, err := itemsOf(req.Body)
	if err != nil {
		return err
	}
	if m := req.ModelSpan; m.End > 0 && string(req.Body[m.Start:m.End]) != `"`+req.Model+`"` {
		return fmt.Errorf("the model does not stand at %v of %s", m, req.Body)
	}
	s.mu.Lock()
	s.calls = append(s.calls, call{string(req.Body), items, slices.Clone(req.Header), *req})
	fail, spoil := s.fail, s.spoil
	s.mu.Unlock()
	if s.takes > 0 {
		select {
		case <-time.After(s.takes):
		case <-ctx.Done():
			s.mu.Lock()
			s.cut++
			s.mu.Unlock()
			return ctx.Err()
		}
	}
	if fail != nil {
		if err := fail(items); err != nil {
			return err
		}
	}
	body := s.body(req, items, n)
	if spoil != nil {
		body = spoil(items, body)
	}
	h := llm.Head{
		Status: 200, Kind: llm.Unary, Length: int64(len(body)), Upstream: "up", Attempts: 1, Waited: s.takes,
		Outline: outline.Read([]byte(body)),
		Header:  []llm.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "Etag", Value: "abc"}, {Name: "X-Request-Id", Value: "theirs"}},
	}
	h.Header = append(h.Header, s.header...)
	if err := out.Start(&h); err != nil {
		return err
	}
	raw := []byte(body)
	err = out.Send([]llm.Event{{Raw: raw}})
	clear(raw) // it is used for something else
	return err
}

// tokensIn is what the service counts of an item; of a choice it counts its length.
func tokensIn(item string) int {
	if item[0] == '[' {
		return strings.Count(item, ",") + 1
	}
	return len(item)
}

// choice is the text of the nth choice of a prompt.
func choice(item string, n int) string { return fmt.Sprintf("%s, choice %d", item, n) }

func (s *service) body(req *llm.Request, items []string, n int) string {
	var list []string
	in, out := 0, 0
	for i, item := range items {
		in += tokensIn(item)
		for c := range n {
			index := fmt.Sprintf(`"index": %d,`, i*n+c)
			if s.bare {
				index = ""
			}
			switch req.Op {
			case llm.Embedding:
				list = append(list, fmt.Sprintf(`{"object":"embedding", %s "embedding":[%q,1.50]}`, index, item))
			case llm.Completion:
				text := choice(item, c)
				out += len(text)
				list = append(list, fmt.Sprintf(`{%s"text":%q,"logprobs":{"tokens":[%q]},"finish_reason":"stop"}`, index, text, text))
			default:
				list = append(list, fmt.Sprintf(`{"flagged":false,"of":%q}`, item))
			}
		}
	}
	if s.order != nil {
		var other []string
		for _, i := range s.order(len(list)) {
			other = append(other, list[i])
		}
		list = other
	}
	all := strings.Join(list, ", ")
	switch req.Op {
	case llm.Embedding:
		return fmt.Sprintf(`{"object":"list","data":[%s],"model":"m-1","usage":{"prompt_tokens":%d,"total_tokens":%d}, "extra":{"a":[1]}}`, all, in, in)
	case llm.Completion:
		return fmt.Sprintf(`{"id":"cmpl-7","object":"text_completion","created":1,"model":"m-1","system_fingerprint":"fp",`+
			`"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d},"completion_tokens_details":{"reasoning_tokens":0},"cost":0.125},"choices":[%s]}`,
			in, out, in+out, in/2, all)
	default:
		return fmt.Sprintf(`{"id":"modr-7","model":"m-1","results":[%s]}`, all)
	}
}

// asked gives the calls since it was asked last.
func (s *service) asked() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// sizes gives how many items each of some calls had.
func sizes(calls []call) (n []int) {
	for _, c := range calls {
		n = append(n, len(c.items))
	}
	return n
}

// client takes a reply.
type client struct {
	head llm.Head
	body []byte
	err  error
}

func (c *client) Start(h *llm.Head) error {
	c.head = *h
	c.head.Header = slices.Clone(h.Header)
	return nil
}

func (c *client) Send(events []llm.Event) error {
	for _, e := range events {
		if said := c.head.Outline; said.Read && said != outline.Read(e.Raw) {
			return fmt.Errorf("an outline of another reply: %+v", said)
		}
		c.body = append(c.body, e.Raw...)
	}
	return nil
}

// newRequest makes a request of an operation with its items and other members.
func newRequest(op llm.Operation, items, more string) *llm.Request {
	member := "input"
	r := &llm.Request{Op: op, ID: "1", Method: "POST", Path: op.Route(), Model: "m", Urgency: llm.Urgency{Priority: llm.PriorityNormal}}
	switch op {
	case llm.Completion:
		member = "prompt"
	case llm.Passthrough:
		r.Path = moderations
	}
	body := fmt.Sprintf(`{"model":"m", %q: %s%s}`, member, items, more)
	r.ModelSpan = llm.Span{Start: 9, End: 12}
	r.Body, r.BodyLen = []byte(body), int64(len(body))
	return r
}

// telling is what a client reads.
type telling struct {
	ID      string
	Model   string
	Data    []embedded
	Choices []chosen
	Results []struct{ Of string }
	Usage   struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
		Details    struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
		Cost float64
	}
	Extra any
}

type embedded struct {
	Index     *int
	Object    string
	Embedding []any
}

type chosen struct {
	Index    *int
	Text     string
	Logprobs struct{ Tokens []string }
	Finish   string `json:"finish_reason"`
}

// check says what is wrong with the reply to a request, "" for nothing, and what it
// counts.
func (c *client) check(req *llm.Request) (wrong string, v telling) {
	if c.err != nil {
		return c.err.Error(), v
	}
	if err := json.Unmarshal(c.body, &v); err != nil {
		return fmt.Sprintf("%v: %s", err, c.body), v
	}
	items, n, err := itemsOf(req.Body)
	if err != nil {
		return err.Error(), v
	}
	if c.head.Status != 200 || c.head.Length != int64(len(c.body)) || c.head.Upstream != "up" || c.head.Get("Content-Type") != "application/json" || c.head.Get("X-Request-Id") != "theirs" {
		return fmt.Sprintf("head %+v", c.head), v
	}
	byIndex := func(a, b *int) int {
		if a == nil || b == nil {
			return 0
		}
		return *a - *b
	}
	slices.SortStableFunc(v.Data, func(a, b embedded) int { return byIndex(a.Index, b.Index) })
	slices.SortStableFunc(v.Choices, func(a, b chosen) int { return byIndex(a.Index, b.Index) })
	wrong = fmt.Sprintf("%s is no reply to %s", c.body, req.Body)
	ok := v.Model == "m-1"
	for i, item := range items {
		switch req.Op {
		case llm.Embedding:
			ok = ok && len(v.Data) == len(items) && v.Data[i].Embedding[0] == item && (v.Data[i].Index == nil || *v.Data[i].Index == i) && v.Data[i].Object == "embedding" &&
				v.Extra != nil && bytes.Contains(c.body, []byte("1.50"))
		case llm.Completion:
			ok = ok && len(v.Choices) == n*len(items)
			for j := range n {
				k := i*n + j
				ok = ok && v.Choices[k].Text == choice(item, j) && *v.Choices[k].Index == k && v.Choices[k].Logprobs.Tokens[0] == v.Choices[k].Text && v.Choices[k].Finish == "stop"
			}
		default:
			ok = ok && len(v.Results) == len(items) && v.Results[i].Of == item
		}
	}
	if ok {
		wrong = ""
	}
	return wrong, v
}

// fixture is a stage in front of a service.
type fixture struct {
	*Batch
	stage llm.Handler
	up    *service
}

func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Batch: b, up: &service{takes: 20 * time.Millisecond}}
	f.stage = b.Stage(f.up)
	return f
}

// all asks all requests at once, each a moment after the one before, and gives what
// each client got.
func (f *fixture) all(ctx context.Context, reqs ...*llm.Request) []*client {
	var wait sync.WaitGroup
	clients := make([]*client, len(reqs))
	for i, req := range reqs {
		wait.Go(func() {
			time.Sleep(time.Duration(i) * time.Microsecond)
			c := &client{}
			c.err = f.stage.Serve(ctx, req, c)
			clients[i] = c
		})
	}
	wait.Wait()
	return clients
}

func refusal() *llm.Error {
	return &llm.Error{Status: 400, Fault: llm.Answered, Type: llm.TypeInvalidRequest, Message: "bad input", Attempts: 1, Waited: 20 * time.Millisecond}
}

// refuse has calls fail that have an item.
func refuse(items ...string) func([]string) error {
	return func(all []string) error {
		for _, i := range all {
			if slices.Contains(items, i) {
				return refusal()
			}
		}
		return nil
	}
}

func asError(t *testing.T, err error) *llm.Error {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		t.Fatalf("%v is none for clients", err)
	}
	return e
}
