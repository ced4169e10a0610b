package front

import (
	"context"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
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

// learnt notes what a TokenRatio is told.
type learnt struct {
	model        string
	text, tokens int64
	times        int
}

func (l *learnt) Learn(model string, text, tokens int64) {
	l.model, l.text, l.tokens = model, text, tokens
	l.times++
}

// TestTokenRatio: who wants to know for how many bytes the service counts a token is told, once a
// reply, whatever its kind, and only if the reply says so.
func TestTokenRatio(t *testing.T) {
	const usage = `"usage":{"prompt_tokens":1000,"completion_tokens":5}`
	for name, c := range map[string]struct {
		head   llm.Head
		events []llm.Event
		times  int
	}{
		"whole":           {llm.Head{Status: 200, Length: -1}, []llm.Event{{Raw: []byte(`{` + usage + `}`)}}, 1},
		"stream":          {llm.Head{Status: 200, Kind: llm.EventStream, Length: -1}, []llm.Event{{Raw: []byte("data: {}\n\n")}, {Raw: []byte(`data: {` + usage + "}\n\n")}, {Raw: []byte("data: [DONE]\n\n")}}, 1},
		"pieces":          {llm.Head{Status: 200, Kind: llm.Pieces, Length: -1, Header: []llm.Field{{Name: "Content-Type", Value: "application/json"}}}, []llm.Event{{Raw: []byte(`{"usage":{"prompt_to`)}, {Raw: []byte(`kens":1000}}`)}}, 1},
		"without a count": {llm.Head{Status: 200, Length: -1}, []llm.Event{{Raw: []byte(`{}`)}}, 0},
	} {
		var got learnt
		seen := make(seen, 1)
		s := startWith(t, func(_ context.Context, _ *llm.Request, out llm.Sink) error {
			h := c.head
			h.Deduped = llm.Deduped{Messages: 1, Bytes: 10, Tokens: 3, Text: 4000, Ratio: &got}
			if err := out.Start(&h); err != nil {
				return err
			}
			return out.Send(c.events)
		}, Options{Observers: []perf.Observer{seen}})
		do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody))
		seen.next(t)
		if want := (learnt{"m", 4000, 1000, 1}); c.times > 0 && got != want || got.times != c.times {
			t.Errorf("%s: told %+v", name, got)
		}
	}
}
