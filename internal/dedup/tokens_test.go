package dedup

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// TestRatios: an estimate goes where replies say, slowly, and nowhere that cannot be; a bounded
// number of models has one of its own.
func TestRatios(t *testing.T) {
	r := &ratios{begin: 3.8}
	for range 100 {
		r.Learn("m", 30_000, 10_000)
	}
	if got := r.of("m"); math.Abs(got-3) > 0.01 {
		t.Errorf("after many replies of 3 bytes a token it is %g", got)
	}
	for _, odd := range []struct{ text, tokens int64 }{{1 << 40, 1}, {leastSample, math.MaxInt64}, {math.MaxInt64, math.MaxInt64}} {
		before := r.of("m")
		if r.Learn("m", odd.text, odd.tokens); math.Abs(r.of("m")-before) > (mostPerToken-leastPerToken)*share {
			t.Errorf("%v moved %g to %g", odd, before, r.of("m"))
		}
	}
	for range 1000 {
		r.Learn("high", math.MaxInt64, 1)
		r.Learn("low", leastSample, math.MaxInt64)
	}
	if high, low := r.of("high"), r.of("low"); math.Abs(high-mostPerToken) > 0.01 || math.Abs(low-leastPerToken) > 0.01 {
		t.Errorf("the bounds are %g and %g", low, high)
	}
	before := r.of("m")
	for _, nothing := range []struct{ text, tokens int64 }{{leastSample - 1, 100}, {0, 0}, {-1, 5}, {1 << 20, 0}, {1 << 20, -1}, {1 << 20, math.MinInt64}} {
		if r.Learn("m", nothing.text, nothing.tokens); r.of("m") != before {
			t.Errorf("%v is learnt from", nothing)
		}
	}
	if got := r.of("unknown"); got != 3.8 {
		t.Errorf("of a model that nobody knows it is %g", got)
	}

	for i := range 3 * mostModels {
		r.Learn(fmt.Sprint("model ", i), 20_000, 10_000)
	}
	r.Learn("", 20_000, 10_000)
	r.Learn(otherModels, 20_000, 10_000)
	if n := len(*r.models.Load()); n != mostModels {
		t.Errorf("%d models have an estimate of their own", n)
	}
	if others := r.of("unknown"); math.Abs(others-2) > 0.01 || r.of("") != others || r.of(otherModels) != others || r.of(fmt.Sprint("model ", 3*mostModels-1)) != others {
		t.Errorf("the others have %g", others)
	}
	control := &ratios{begin: 3.8}
	if control.Learn("a\nb", 20_000, 10_000); control.of("a\nb") == 3.8 {
		t.Error("a name that is no label is not found again")
	}

	var group sync.WaitGroup
	r = &ratios{begin: 3.8}
	for i := range 4 {
		group.Go(func() {
			for n := range 200 {
				r.Learn(fmt.Sprint(n%10), 20_000, 10_000)
				r.of(fmt.Sprint((n + i) % 10))
			}
		})
	}
	group.Wait()
	for n := range 10 {
		if got := r.of(fmt.Sprint(n)); math.Abs(got-2) > 0.05 {
			t.Errorf("of model %d it is %g", n, got)
		}
	}
	if n := len(*r.models.Load()); n != 10 {
		t.Errorf("there are %d models", n)
	}
}

// TestSpoken: what a model reads of a request is its texts, calls of tools and tools; of one
// with something else nothing is known.
func TestSpoken(t *testing.T) {
	long, _ := json.Marshal(lines(1, 40))
	repeated := string(long)
	n := len(long) - 2
	for _, c := range []struct {
		name string
		op   llm.Operation
		rest string // of the messages
		tail string // behind them
		want int    // beside the repeated text; below 0: not known
	}{
		{"text", llm.Chat, ``, ``, 0},
		{"a call of a tool", llm.Chat, `,{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"four"}`, ``, 3 + 4 + 4},
		{"a call of another form", llm.Chat, `,{"role":"assistant","content":null,"tool_calls":[1]},{"role":"tool","tool_call_id":"c","content":"four"}`, ``, -1},
		{"tools", llm.Chat, ``, `,"tools":[{"a":1}]`, 9},
		{"an image", llm.Chat, `,{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}},{"type":"text","text":"a"}]}`, ``, -1},
		{"audio", llm.Chat, `,{"role":"assistant","audio":{"id":"a"}}`, ``, -1},
		{"a message of no known kind", llm.Chat, `,{"role":"critic","content":"a"}`, ``, -1},
		{"items", llm.Response, `,{"type":"function_call","name":"f","arguments":"{}","call_id":"c"},{"type":"function_call_output","call_id":"c","output":"four"}`, `,"instructions":"seven77"`, 3 + 4 + 4 + 7},
		{"reasoning", llm.Response, `,{"type":"reasoning","encrypted_content":"abc"}`, ``, -1},
		{"a call in blocks", llm.Messages, `,{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"four"}]}]}`, `,"system":[{"type":"text","text":"seven77"}],"tools":[{"a":1}]`, 3 + 2 + 4 + 7 + 9},
		{"a picture in a result", llm.Messages, `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"image","source":{}}]}]}`, ``, -1},
		{"thoughts", llm.Messages, `,{"role":"assistant","content":[{"type":"thinking","thinking":"a"}]}`, ``, -1},
	} {
		b := fmt.Appendf(nil, `{"model":"m","%s":[{"role":"user","content":%s},{"role":"assistant","content":%s}%s,{"role":"user","content":"end"}]%s}`, listOf(c.op), repeated, repeated, c.rest, c.tail)
		r := newDedup(t, always()).Rewrite(request(c.op, b), llm.DedupBlocks, nil)
		want := int64(n + n + 3 + c.want)
		if c.want < 0 {
			want = r.Saved.Bytes // nothing is left to know
		}
		if r.Saved.Bytes == 0 || r.Saved.Text != want-r.Saved.Bytes {
			t.Errorf("%s: %d bytes are text, not %d", c.name, r.Saved.Text, want-r.Saved.Bytes)
		}
	}
}

// TestSpokenGemini: the same of requests of the Gemini API.
func TestSpokenGemini(t *testing.T) {
	long := string(quote(lines(1, 40)))
	for rest, want := range map[string]int{
		``: 0, `,{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}}]},{"parts":[{"functionResponse":{"id":"x","name":"f","response":{"output":"four","code":10}}}]}`: 3 + 7 + 3 + 4 + 2,
		`,{"parts":[{"inlineData":{}}]}`: -1, `,{"parts":[{"text":"a","thought":true}]}`: -1, `,{"parts":[{}]}`: -1,
	} {
		b := fmt.Appendf(nil, `{"systemInstruction":{"parts":[{"text":"seven77"}]},"contents":[{"parts":[{"text":%s}]},{"role":"model","parts":[{"text":%s}]}%s,{"parts":[{"text":"end"}]}],"tools":[{"a":1}]}`, long, long, rest)
		r := newDedup(t, always()).Rewrite(request(llm.GenerateContent, b), llm.DedupBlocks, nil)
		if text := int64(2*(len(long)-2)+3+7+9+want) - r.Saved.Bytes; r.Saved.Bytes == 0 || want >= 0 && r.Saved.Text != text || want < 0 && r.Saved.Text != 0 {
			t.Errorf("%s: %d bytes are text, not %d", rest, r.Saved.Text, text)
		}
	}
}

// TestLearning: what services count is what estimates go by, but for replies that were not made
// for the request.
func TestLearning(t *testing.T) {
	d := newDedup(t, always())
	text := lines(1, 400)
	req := request(llm.Chat, body(llm.Chat, []json.RawMessage{say("user", text), say("assistant", text), say("user", "end")}))
	var head llm.Head
	h := d.Stage(llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		h := head
		return out.Start(&h)
	}), nil, nil)
	req.Dedup = llm.DedupBlocks
	ask := func(h2 llm.Head) llm.Deduped {
		head = h2
		s := &heads{}
		if err := h.Serve(t.Context(), req, s); err != nil {
			t.Fatal(err)
		}
		return s.head.Deduped
	}
	for _, none := range []llm.Head{{Status: 200}, {Status: 400, Upstream: "a"}, {Status: 200, Upstream: "a", Cache: llm.CacheHit}, {Status: 200, Upstream: "a", Cache: llm.CacheStale}, {Status: 200, Upstream: "a", Cache: llm.CacheCoalesced}} {
		if ask(none).Ratio != nil {
			t.Errorf("%+v is learnt from", none)
		}
	}
	var first, last llm.Deduped
	for i := range 100 {
		if last = ask(llm.Head{Status: 200, Upstream: "a", Cache: llm.CacheMiss}); last.Ratio == nil {
			t.Fatal("an upstream's own reply is not learnt from")
		}
		if i == 0 {
			first = last
		}
		last.Ratio.Learn(req.Model, last.Text, last.Text/2)
	}
	if math.Abs(float64(first.Tokens)*bytesPerToken-float64(first.Bytes)) > 4 || math.Abs(float64(last.Tokens)*2-float64(last.Bytes)) > float64(last.Bytes)/50 {
		t.Errorf("%+v became %+v where a token is two bytes", first, last)
	}
	figures := perf.New()
	figures.Register("dedup", d)
	page := string(testkit.Ask(t, figures, &llm.Request{Method: "GET", Path: "/metrics"}).Body)
	if !strings.Contains(page, `sluice_dedup_bytes_per_token{model="m"} 2.0`) || !strings.Contains(page, `sluice_dedup_bytes_per_token{model="other"} 3.8`) {
		t.Error(page)
	}
	if !testkit.Race {
		if n := testing.AllocsPerRun(100, func() { last.Ratio.Learn(req.Model, last.Text, last.Text/2); d.ratios.of(req.Model) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
	for _, b := range []float64{0.5, 9, math.NaN(), math.Inf(1), -1} {
		if _, err := New(Default(), Options{BytesPerToken: b}); err == nil {
			t.Errorf("%g bytes a token are taken", b)
		}
	}
}
