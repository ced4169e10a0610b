package front

import (
	"context"
	"testing"

	"sluice/internal/llm"
)

// TestDedupHeader: a request may choose a mode, no upstream sees that, and the reply says what
// was not sent.
func TestDedupHeader(t *testing.T) {
	var saved llm.Deduped
	var got llm.Request
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		got = *req
		if v := req.Get(dedupHeader); v != "" {
			t.Errorf("an upstream may see %q", v)
		}
		h := llm.Head{Status: 200, Length: 2, Deduped: saved}
		if err := out.Start(&h); err != nil {
			return err
		}
		return out.Send([]llm.Event{{Raw: []byte("{}")}})
	}, func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"X-*"} })
	for _, c := range []struct {
		values []string
		status int
		mode   llm.DedupMode
		saved  llm.Deduped
		reply  string
	}{
		{nil, 200, llm.DedupUnset, llm.Deduped{}, ""},
		{[]string{"off"}, 200, llm.DedupOff, llm.Deduped{}, ""},
		{[]string{"safe"}, 200, llm.DedupSafe, llm.Deduped{Messages: 1, Bytes: 64, Tokens: 16}, "messages=1, bytes=64, tokens=16"},
		{[]string{"blocks"}, 200, llm.DedupBlocks, llm.Deduped{Messages: 2, Bytes: 10240, Tokens: 2600}, "messages=2, bytes=10240, tokens=2600"},
		{[]string{"Blocks"}, 200, llm.DedupUnknown, llm.Deduped{}, ""},
		{[]string{"blocks", "off"}, 200, llm.DedupUnknown, llm.Deduped{}, ""},
	} {
		saved, got = c.saved, llm.Request{}
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		req.Header[dedupHeader] = c.values
		resp, body := do(t, h1(t, s), req)
		if resp.StatusCode != c.status || got.Dedup != c.mode || resp.Header.Get(dedupHeader) != c.reply {
			t.Errorf("%q: %d, mode %v, %q; %s", c.values, resp.StatusCode, got.Dedup, resp.Header.Get(dedupHeader), body)
		}
	}
}
