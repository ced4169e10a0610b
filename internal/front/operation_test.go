package front

import (
	"context"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// TestOperationsAreRouted: a request to an operation's route is one of it.
func TestOperationsAreRouted(t *testing.T) {
	asked := make(chan llm.Operation, 1)
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		asked <- req.Op
		if err := out.Start(&llm.Head{Status: 200, Length: 2}); err != nil {
			return err
		}
		return out.Send([]llm.Event{{Raw: []byte("{}")}})
	})
	for op := range llm.Operations {
		path, found := "/v1/files", false
		if route := op.Route(); route != "" {
			path = strings.Replace(route, "{model}", "m", 1)
		}
		for method, body := range map[string]string{"GET": "", "POST": `{"model":"m"}`} {
			if resp, _ := do(t, h1(t, s), newRequest(t, t.Context(), method, s.url(path), body)); resp.StatusCode == 200 {
				got := <-asked
				found = found || got == op
			}
		}
		if !found {
			t.Errorf("no request to %s is one of %v", path, op)
		}
	}
}
