package testkit

import (
	"context"
	"errors"
	"slices"
	"testing"

	"sluice/internal/llm"
)

// Reply is a Sink that keeps what it is given, under the rules of llm.Sink.
type Reply struct {
	Head    llm.Head
	Body    []byte // of all events
	started bool
}

// Ask has h answer a request and returns what it answers. An error of h's ends
// the test.
func Ask(t testing.TB, h llm.Handler, req *llm.Request) *Reply {
	t.Helper()
	r := new(Reply)
	if err := h.Serve(context.Background(), req, r); err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.Path, err)
	}
	if !r.started {
		t.Fatalf("%s %s: no reply", req.Method, req.Path)
	}
	return r
}

// Start implements llm.Sink.
func (r *Reply) Start(h *llm.Head) error {
	if r.started {
		return errors.New("Start is called twice")
	}
	r.started, r.Head = true, *h
	r.Head.Header = slices.Clone(h.Header)
	return nil
}

// Send implements llm.Sink.
func (r *Reply) Send(events []llm.Event) error {
	if !r.started {
		return errors.New("Send is called before Start")
	}
	for _, e := range events {
		r.Body = append(r.Body, e.Raw...)
	}
	return nil
}
