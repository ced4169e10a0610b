package responses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is Responses before a service that keeps nothing, with a budget.
type rig struct {
	*Responses
	handler llm.Handler
	budget  *memory.Budget

	output  string // items that the next reply has, with OWN for its own part of ids
	status  string
	cut     bool // the reply ends before it is whole
	native  bool // the service keeps replies itself
	pretend func()
	asked   string // the body that the service was asked with
	thread  llm.Thread
}

func newRig(t testing.TB, change func(*Config), o Options) *rig {
	t.Helper()
	cfg := Default()
	cfg.Store = true
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	g := &rig{output: `{"id":"a","type":"message","role":"assistant","content":[{"type":"output_text","text":"Yes"}]}`, status: "completed", budget: new(memory.Budget)}
	if o.Account == nil {
		o.Account = g.budget.Account("responses")
	}
	if o.Buffers == nil {
		o.Buffers = &memory.Buffers{Account: g.budget.Account("buffers")}
	}
	r, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	g.Responses = r
	r.TakeOver()
	g.handler = r.Stage(llm.HandlerFunc(g.answer))
	t.Cleanup(func() {
		r.Close()
		if used := g.budget.Used(); used != 0 {
			t.Errorf("%d bytes are reserved: %v", used, g.budget)
		}
	})
	return g
}

// answer is what translation does.
func (g *rig) answer(_ context.Context, req *llm.Request, out llm.Sink) error {
	g.asked = string(req.Body)
	if !json.Valid(req.Body) {
		return fmt.Errorf("asked %q", req.Body)
	}
	if g.thread = (llm.Thread{}); req.Thread != nil {
		g.thread = *req.Thread
	}
	id := g.thread.ID
	if g.native || id == "" {
		id = "resp_other"
	}
	object := fmt.Sprintf(`{"id":%q,"object":"response","status":%q,"output":[%s],"tools":[]}`, id, g.status, strings.ReplaceAll(g.output, "OWN", strings.TrimPrefix(id, "resp_")))
	h := llm.Head{Status: 200, Kind: llm.Unary, Kept: !g.native && g.thread.ID != "", Sent: true}
	if req.Stream {
		h.Kind = llm.EventStream
	}
	if err := out.Start(&h); err != nil {
		return err
	}
	if !req.Stream {
		return out.Send([]llm.Event{{Raw: []byte(object)}})
	}
	events := []llm.Event{{Raw: []byte("event: response.created\ndata: {\"response\":{}}\n\n")}}
	if g.pretend != nil {
		g.pretend()
	}
	if !g.cut {
		events = append(events, llm.Event{Raw: []byte("event: response." + g.status + "\ndata: {\"type\":\"x\",\"response\":" + object + "}\n\n")})
	}
	return out.Send(events)
}

// sink gathers a reply.
type sink struct {
	head llm.Head
	b    strings.Builder
}

func (s *sink) Start(h *llm.Head) error { s.head = *h; return nil }
func (s *sink) Send(events []llm.Event) error {
	for i := range events {
		s.b.Write(events[i].Raw)
	}
	return nil
}

// do sends a request of a tenant: for a response where there is a body.
func (g *rig) do(tenant, method, path, body string) (string, error) {
	req := llm.Request{Op: llm.Response, Tenant: tenant, Method: method, Path: path}
	if body == "" {
		req.Op = llm.Passthrough
		req.Path, req.RawQuery, _ = strings.Cut(path, "?")
	} else {
		model, ok := jsonscan.Get([]byte(body), "model")
		if ok {
			req.Model, req.ModelSpan = "m", model
		}
		stream, _ := jsonscan.Get([]byte(body), "stream")
		req.Body, req.Stream = []byte(body), body[stream.Start:stream.End] == "true"
	}
	var s sink
	err := g.handler.Serve(context.Background(), &req, &s)
	for i := range req.Body { // nobody has any of it any more
		req.Body[i] = 'x'
	}
	return s.b.String(), err
}

// ask asks for a response and gives its id.
func (g *rig) ask(t testing.TB, tenant, body string) string {
	t.Helper()
	if text, err := g.do(tenant, "POST", "/v1/responses", body); err != nil {
		t.Fatalf("%s: %v %s", body, err, text)
	}
	return g.thread.ID
}

func (g *rig) get(tenant, path string) (string, error) {
	return g.do(tenant, "GET", "/v1/responses/"+path, "")
}

// refusal is the status and the code of an error.
func refusal(err error) string {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		return fmt.Sprint(err)
	}
	return fmt.Sprint(e.Status, " ", e.Code)
}

func must(t testing.TB, text string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wants(t testing.TB, text string, all ...string) {
	t.Helper()
	for _, w := range all {
		if !strings.Contains(text, w) {
			t.Errorf("no %s in %s", w, text)
		}
	}
}

const day = 24 * time.Hour
