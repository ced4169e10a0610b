package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/internal/dialect/known"
	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

func embed(input string, options ...func(*llm.Request)) *llm.Request {
	req := &llm.Request{Op: llm.Embedding, ID: "1", Method: "POST", Path: "/v1/embeddings", Model: "gpt"}
	body := `{"input":` + input + `,"model":"gpt","encoding_format":"float"}`
	at := strings.Index(body, `"gpt"`)
	req.ModelSpan = llm.Span{Start: at, End: at + 5}
	set(req, body)
	for _, o := range options {
		o(req)
	}
	return req
}

// inputs gives an embedding's inputs as JSON.
func inputs(t testing.TB, body []byte) (all []string) {
	var r struct{ Input json.RawMessage }
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var list []json.RawMessage
	if json.Unmarshal(r.Input, &list) != nil || r.Input[1] >= '0' && r.Input[1] <= '9' {
		return []string{string(r.Input)}
	}
	for _, raw := range list {
		all = append(all, string(raw))
	}
	return all
}

// embedded is an upstream whose vectors say what they are of.
func embedded(who string) func(context.Context, int, *llm.Request, llm.Sink) error {
	return func(_ context.Context, _ int, req *llm.Request, out llm.Sink) error {
		var r struct{ Input json.RawMessage }
		if err := json.Unmarshal(req.Body, &r); err != nil {
			return err
		}
		if string(req.Body[req.ModelSpan.Start:req.ModelSpan.End]) != `"gpt"` {
			return fmt.Errorf("the model does not stand at %v of %s", req.ModelSpan, req.Body)
		}
		var list []json.RawMessage
		if r.Input[0] != '[' || r.Input[1] >= '0' && r.Input[1] <= '9' {
			list = []json.RawMessage{r.Input}
		} else if err := json.Unmarshal(r.Input, &list); err != nil {
			return err
		}
		var b bytes.Buffer
		b.WriteString(`{"object":"list","data":[`)
		tokens := 0
		for i := range list { // the last one first: the index counts
			i = len(list) - 1 - i
			if b.Len() > 30 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"object":"embedding","index":%d,"embedding":[%q,%q]}`, i, list[i], "of "+who)
			tokens += tokensOf(string(list[i]))
		}
		fmt.Fprintf(&b, `],"model":"gpt-e","usage":{"prompt_tokens":%d,"total_tokens":%d}}`, tokens, tokens)
		return answer(out, b.String())
	}
}

// tokensOf is what that upstream counts: the length of text, as of arrays.
func tokensOf(input string) int {
	if input[0] == '[' {
		return strings.Count(input, ",") + 1
	}
	return len(input)
}

type told struct {
	Data []struct {
		Index     int
		Object    string
		Embedding []string
	}
	Model string
	Usage struct {
		PromptTokens int `json:"prompt_tokens"`
		TotalTokens  int `json:"total_tokens"`
	}
}

// check compares a reply with what the inputs ask for.
func check(t testing.TB, c *client, want ...string) {
	t.Helper()
	var v told
	if err := json.Unmarshal(c.body, &v); err != nil {
		t.Fatalf("%s: %v", c.body, err)
	}
	if len(v.Data) != len(want) || v.Model != "gpt-e" || c.head.Length != int64(len(c.body)) && c.head.Kind == llm.Unary {
		t.Fatalf("got %s, want vectors of %q", c, want)
	}
	tokens := 0
	for _, d := range v.Data {
		if d.Embedding[0] != want[d.Index] || d.Object != "embedding" {
			t.Errorf("vector %d is of %s, want %s", d.Index, d.Embedding[0], want[d.Index])
		}
		tokens += tokensOf(want[d.Index])
	}
	if v.Usage.PromptTokens != tokens || v.Usage.TotalTokens != tokens {
		t.Errorf("usage %+v, want %d", v.Usage, tokens)
	}
}

// Of a hundred inputs of which ninety are known the upstream is asked for ten.
func TestEmbeddingsPerInput(t *testing.T) {
	f := newFixture(t, nil)
	f.up.serve = embedded("")
	list := make([]string, 100)
	for i := range list {
		list[i] = fmt.Sprintf(`"%03d"`, i)
	}
	f.ask(t, embed("["+strings.Join(list[:90], ",")+"]"))
	c := f.ask(t, embed("["+strings.Join(list, ",")+"]"))
	check(t, c, list...)
	last := f.up.last()
	if got := inputs(t, last.Body); len(got) != 10 || got[0] != list[90] || c.head.Cache != llm.CacheMiss {
		t.Errorf("%s, asked for %q", c.head.Cache, got)
	}
	// The rest of the request is as it was.
	if !strings.HasSuffix(string(last.Body), `],"model":"gpt","encoding_format":"float"}`) {
		t.Errorf("asked with %s", last.Body)
	}
	c = f.ask(t, embed("["+strings.Join(list, ", ")+"]"))
	check(t, c, list...)
	if c.head.Cache != llm.CacheHit || f.up.count() != 2 {
		t.Errorf("%s after %d calls", c.head.Cache, f.up.count())
	}
}

// A call whose inputs are all new goes out and comes back as it is.
func TestEmbeddingsUntouched(t *testing.T) {
	f := newFixture(t, nil)
	const reply = `{"id":"e1", "created":1, "data":[{"embedding":"AAAA","index":0, "x":1}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3,"more":1}}`
	f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, reply) }
	req := embed(` "hi" `)
	sent := string(req.Body)
	c := f.expect(t, req, "MISS "+reply)
	if last := f.up.last(); string(last.Body) != sent || c.head.CacheKey == (Key{}) {
		t.Errorf("sent %s, key %x", last.Body, c.head.CacheKey)
	}
	f.expect(t, embed(`["hi"]`), "HIT "+reply)
	if n, _ := f.Purge(context.Background(), Purge{Key: c.head.CacheKey}); n != 1 {
		t.Errorf("purged %d", n)
	}
}

// Strings, arrays of tokens and several of either, some equal, some known: the
// reply is what the upstream alone would have given.
func TestEmbeddingsOfAllKinds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	f := newFixture(t, nil)
	f.up.serve = embedded("")
	for range 500 {
		var list []string
		for range 1 + rnd.IntN(6) {
			if rnd.IntN(2) == 0 {
				list = append(list, fmt.Sprintf(`"s%d"`, rnd.IntN(20)))
			} else {
				list = append(list, fmt.Sprintf(`[%d,12]`, rnd.IntN(20)))
			}
		}
		input := "[" + strings.Join(list, ",") + "]"
		if len(list) == 1 && rnd.IntN(2) == 0 {
			input = list[0]
		}
		check(t, f.ask(t, embed(input)), list...)
	}
	if n := f.up.count(); n > 60 {
		t.Errorf("%d calls", n)
	}
	f.ask(t, embed(`[7,8]`))
	if c := f.ask(t, embed(`[[ 7 , 8 ]]`)); c.head.Cache != llm.CacheHit {
		t.Error("white space between tokens counts")
	}
	if c := f.ask(t, embed(`[78]`)); c.head.Cache != llm.CacheMiss {
		t.Error("other tokens are the same")
	}
}

// Inputs that are not understood are the upstream's business.
func TestEmbeddingsNotUnderstood(t *testing.T) {
	f := newFixture(t, nil)
	for _, input := range []string{`[]`, `{}`, `7`, `null`, `["a",7]`, `[["a"]]`, `[{"text":"a"}]`, `[1.5]`, `[-1]`, `[[]]`} {
		before := f.up.count()
		for range 2 {
			if c := f.ask(t, embed(input)); c.head.Cache != llm.CacheBypass {
				t.Errorf("%s: %s", input, c.head.Cache)
			}
		}
		if f.up.count() != before+2 {
			t.Errorf("%s: %d calls", input, f.up.count()-before)
		}
	}
}

// A reply to the smaller request that does not fit it, or its refusal, has the
// upstream asked for everything; any other failure is the call's.
func TestEmbeddingsSmallerRequestFails(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(out llm.Sink) error
		calls  int
		fails  bool
	}{
		"too few": {func(out llm.Sink) error { return answer(out, `{"data":[],"model":"m"}`) }, 3, false},
		"twice": {func(out llm.Sink) error {
			return answer(out, `{"data":[{"index":0,"embedding":[]},{"index":0,"embedding":[]}]}`)
		}, 3, false},
		"far index": {func(out llm.Sink) error {
			return answer(out, `{"data":[{"index":2,"embedding":[]},{"index":0,"embedding":[]}]}`)
		}, 3, false},
		"no vector": {func(out llm.Sink) error { return answer(out, `{"data":[{"index":1},{"index":0}]}`) }, 3, false},
		"no JSON":   {func(out llm.Sink) error { return answer(out, `[`) }, 3, false},
		"bad index": {func(out llm.Sink) error {
			return answer(out, `{"data":[{"index":"1","embedding":[]},{"embedding":[]}]}`)
		}, 3, false},
		"refused":   {func(llm.Sink) error { return &llm.Error{Status: 400, Fault: llm.Answered} }, 3, false},
		"limited":   {func(llm.Sink) error { return &llm.Error{Status: 429, Fault: llm.Answered} }, 2, true},
		"failed":    {func(llm.Sink) error { return &llm.Error{Status: 500, Fault: llm.Answered} }, 2, true},
		"no answer": {func(llm.Sink) error { return &llm.Error{Status: 502} }, 2, true},
		"understood": {func(out llm.Sink) error {
			return answer(out, `{"data":[{"embedding":["\"b\""],"object":"embedding"},{"embedding":["\"c\""],"object":"embedding"}],"model":"gpt-e","usage":{"prompt_tokens":6}}`)
		}, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			whole := embedded("")
			f.up.serve = func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error {
				if n == 2 {
					return test.answer(out)
				}
				return whole(ctx, n, req, out)
			}
			f.ask(t, embed(`"a"`))
			c := &client{}
			err := f.stage.Serve(context.Background(), embed(`["a","b","c"]`), c)
			if f.up.count() != test.calls || (err != nil) != test.fails {
				t.Errorf("%v after %d calls", err, f.up.count())
			}
			if err == nil {
				check(t, c, `"a"`, `"b"`, `"c"`)
			}
		})
	}
}

// A reply in pieces is understood as one that is whole.
func TestEmbeddingsInPieces(t *testing.T) {
	f := newFixture(t, nil)
	whole := embedded("")
	f.up.serve = func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error {
		var c client
		if err := whole(ctx, n, req, &c); err != nil {
			return err
		}
		var pieces []string
		for chunk := range bytes.Lines(bytes.ReplaceAll(c.body, []byte(","), []byte(",\n"))) {
			pieces = append(pieces, string(chunk))
		}
		return answerAs(out, llm.Pieces, pieces)
	}
	check(t, f.ask(t, embed(`["a","b"]`)), `"a"`, `"b"`)
	check(t, f.ask(t, embed(`["b","c"]`)), `"b"`, `"c"`)
	check(t, f.ask(t, embed(`["c","a"]`)), `"c"`, `"a"`)
	if f.up.count() != 2 || f.flights.recorded.Load() != 0 {
		t.Errorf("%d calls, %d bytes held", f.up.count(), f.flights.recorded.Load())
	}
}

// Long vectors leave in pieces whose length was said before, in little memory.
func TestLongEmbeddings(t *testing.T) {
	for _, size := range []int{10, embeddings.MaxPiece - 200, embeddings.MaxPiece, 3 * embeddings.MaxPiece} {
		f := newFixture(t, nil)
		f.up.serve = embedded(strings.Repeat("x", size))
		list := []string{`"a"`, `"b"`, `"c"`, `"b"`}
		input := "[" + strings.Join(list, ",") + "]"
		check(t, f.ask(t, embed(input)), list...)
		c := f.ask(t, embed(input))
		check(t, c, list...)
		if c.head.Cache != llm.CacheHit || c.head.Length != int64(len(c.body)) || (c.head.Kind == llm.Unary) != (size == 10) || c.events > 5 {
			t.Errorf("%d: %d events of %d bytes, head %+v", size, c.events, len(c.body), c.head)
		}
	}
}

func FuzzEmbeddingReply(f *testing.F) {
	f.Add(`{"data":[{"index":0,"embedding":[1]}],"model":"m","usage":{"prompt_tokens":3}}`, 1)
	f.Add(`{"data":[{"embedding":[1]},{"embedding":"AA"}]}`, 2)
	f.Fuzz(func(t *testing.T, reply string, n int) {
		if n < 1 || n > 5 {
			return
		}
		fix := newFixture(t, nil)
		fix.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, reply) }
		list := `["a","b","c","d","e"]`
		req := embed(list[:4*n] + "]")
		c := fix.ask(t, req)
		if string(c.body) != reply {
			t.Fatalf("got %s", c)
		}
		if c = fix.ask(t, req); c.head.Cache != llm.CacheHit {
			return
		}
		if string(c.body) != reply && !repeats(known.StoredOf(llm.Embedding), []byte(reply)) {
			t.Fatalf("got %s", c)
		}
		// Put together from its parts.
		if c = fix.ask(t, embed(list[:4*n]+`,"a"]`)); c.head.Cache != llm.CacheHit {
			t.Fatalf("got %s", c)
		}
		n++
		for i := range n {
			if v, ok := jsonscan.Get(c.body, "data", fmt.Sprint(i), "index"); !ok || string(c.body[v.Start:v.End]) != fmt.Sprint(i) {
				t.Errorf("vector %d in %s", i, c)
			}
		}
	})
}
