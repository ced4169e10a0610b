package responses

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// FuzzRequest: whatever a request is, what becomes of it is sound JSON, or it is refused; and
// nothing of it stays when what is kept is gone.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","input":"a","previous_response_id":"ID"}`, `{"previous_response_id":"ID","input":[{"id":"msg_OWN_0"},{"type":"item_reference","id":"msg_OWN_0"}]}`,
		`{"previous_response_id":"ID","previous_response_id":7}`, `{"input":[ ],"store":null,"previous_response_id":"ID"}`, `{"\u0069nput":"","input":{}}`, `{"previous_response_id":"ID"}`, `[]`,
	} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, stream bool) {
		g := newRig(t, nil, Options{})
		g.output = `{"id":"msg_OWN_0","type":"message"}`
		id := g.ask(t, "", `{"model":"m","input":"Is it?"}`)
		text := strings.NewReplacer("ID", id, "OWN", strings.TrimPrefix(id, "resp_")).Replace(string(body))
		if jsonscan.Validate([]byte(text), 100) != nil {
			return
		}
		g.asked = ""
		req := llm.Request{Op: llm.Response, Method: "POST", Path: "/v1/responses", Body: []byte(text), Stream: stream}
		var s sink
		if err := g.handler.Serve(t.Context(), &req, &s); err != nil {
			if llm.AsError(err).Status >= 500 {
				t.Errorf("%s: %v", text, err)
			}
			return
		}
		if !json.Valid([]byte(g.asked)) {
			t.Errorf("%s became %s", text, g.asked)
		}
		if g.thread.ID != "" {
			for _, path := range []string{g.thread.ID, g.thread.ID + "/input_items?limit=100"} {
				if got, err := g.get("", path); err != nil || !json.Valid([]byte(got)) {
					t.Errorf("%s: %v %s", path, err, got)
				}
			}
		}
	})
}

// passing answers nothing.
type passing struct{}

func (passing) Start(*llm.Head) error  { return nil }
func (passing) Send([]llm.Event) error { return nil }

// quick answers nothing at once.
type quick struct{}

func (quick) Serve(context.Context, *llm.Request, llm.Sink) error { return nil }

// BenchmarkGoOn is what it costs to put a conversation of 100 turns and 200 kB together, and to
// keep the reply.
func BenchmarkGoOn(b *testing.B) {
	g := newRig(b, nil, Options{})
	id := ""
	body := func() string {
		return `{"model":"m","input":"` + strings.Repeat("x", 2000) + `","previous_response_id":"` + id + `"}`
	}
	for range 100 {
		id = g.ask(b, "", body())
	}
	req := &llm.Request{Op: llm.Response, Body: []byte(body())}
	handler := g.Stage(keeper{})
	for b.Loop() {
		if err := handler.Serve(b.Context(), req, passing{}); err != nil {
			b.Fatal(err)
		}
	}
}

// keeper answers with a reply that is kept.
type keeper struct{}

func (keeper) Serve(_ context.Context, _ *llm.Request, out llm.Sink) error {
	if err := out.Start(&llm.Head{Status: 200, Kept: true}); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: []byte(`{"status":"completed","output":[1]}`)}})
}

// TestAllocationCeilings: a request that passes takes nothing, and one whose reply a service
// keeps what an id takes.
func TestAllocationCeilings(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	g := newRig(t, nil, Options{})
	stage := g.Stage(quick{})
	for _, c := range []struct {
		name, body string
		op         llm.Operation
		ceiling    float64
	}{
		{"chat", `{"model":"m","messages":[]}`, llm.Chat, 0},
		{"not kept", `{"model":"m","store":false,"input":"a"}`, llm.Response, 0},
		{"of a service", `{"model":"m","input":[{"role":"user","content":"a"}]}`, llm.Response, 3},
	} {
		req := &llm.Request{Op: c.op, Body: []byte(c.body)}
		var out llm.Sink = passing{}
		n := testing.AllocsPerRun(1000, func() {
			if err := stage.Serve(t.Context(), req, out); err != nil {
				t.Fatal(err)
			}
		})
		if n > c.ceiling {
			t.Errorf("%s: %v allocations, at most %v", c.name, n, c.ceiling)
		}
	}
}
