package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// contents makes a batchEmbedContents of elements, content an embedContent that is one.
func contents(elements ...string) *llm.Request {
	return posted(llm.BatchEmbedContents, `{ "requests" : [`+strings.Join(elements, " , ")+`] }`)
}

func content(element string) *llm.Request { return posted(llm.EmbedContent, element) }

func posted(op llm.Operation, body string) *llm.Request {
	req := &llm.Request{Op: op, ID: "1", Method: "POST", Path: strings.Replace(op.Route(), "{model}", "gpt", 1), Model: "gpt"}
	set(req, body)
	return req
}

// text is an element with one, and with options.
func text(s string, options ...string) string {
	return fmt.Sprintf(`{"model":"models/gpt", "content":{"parts":[{"text":%q}]}%s}`, s, strings.Join(append([]string{""}, options...), ","))
}

// lists is an upstream whose vectors are those of the elements, spelled as numbers may be,
// each with what it is of.
func lists(_ context.Context, _ int, req *llm.Request, out llm.Sink) error {
	var batch struct{ Requests []json.RawMessage }
	if err := json.Unmarshal(req.Body, &batch); err != nil {
		return err
	}
	if req.Op == llm.EmbedContent {
		batch.Requests = []json.RawMessage{json.RawMessage(strings.TrimSpace(string(req.Body)))}
	}
	var all []string
	for _, r := range batch.Requests {
		all = append(all, vectorOf(string(r)))
	}
	if req.Op == llm.EmbedContent {
		return answer(out, `{"embedding": `+all[0]+`,"new":1}`)
	}
	return answer(out, `{"embeddings": [`+strings.Join(all, ", ")+`],"new":2}`)
}

func vectorOf(element string) string { return fmt.Sprintf(`{"values":[1.50,-1E-3],"of":%q}`, element) }

// together is the reply that is put together of elements' vectors.
func together(elements ...string) string {
	var all []string
	for _, e := range elements {
		all = append(all, vectorOf(e))
	}
	return `{"embeddings":[` + strings.Join(all, ",") + `]}`
}

// A batch asks for what is not known alone. A request of one element finds what a batch has
// stored, and the other way round; each again as it was told before.
func TestContentsPerElement(t *testing.T) {
	f := newFixture(t, nil)
	f.up.serve = lists
	a, b, c, d := text("a"), text("b"), text("c", `"taskType":"RETRIEVAL_DOCUMENT"`, `"title":"t"`), text("d")
	first := `{"embeddings": [` + vectorOf(a) + `, ` + vectorOf(b) + `],"new":2}`
	f.expect(t, contents(a, b), "MISS "+first)
	f.expect(t, contents(a, b), "HIT "+first)
	f.expect(t, content(a), `HIT {"embedding":`+vectorOf(a)+`}`)
	f.expect(t, contents(b), "HIT "+together(b))
	f.expect(t, contents(b, a, b), "HIT "+together(b, a, b))
	f.expect(t, contents(c, a, c, d, b), "MISS "+together(c, a, c, d, b))
	if last := f.up.last(); string(last.Body) != `{ "requests" : [`+c+","+d+`] }` || f.up.count() != 2 {
		t.Errorf("asked %s in call %d", last.Body, f.up.count())
	}
	e := text("e")
	own := `{"embedding": ` + vectorOf(e) + `,"new":1}`
	got := f.expect(t, content(" "+e+"\n"), "MISS "+own)
	f.expect(t, content(e), "HIT "+own)
	f.expect(t, contents(e), "HIT "+together(e))
	f.expect(t, contents(e, a), "HIT "+together(e, a))
	if n, _ := f.Purge(context.Background(), Purge{Key: got.head.CacheKey}); n != 1 || f.up.count() != 3 {
		t.Errorf("purged %d after %d calls", n, f.up.count())
	}
	f.expect(t, contents(e), "MISS "+`{"embeddings": [`+vectorOf(e)+`],"new":2}`)
}

// All members of an element are its own, but for the model that the path names.
func TestContentsThatAreOthers(t *testing.T) {
	f := newFixture(t, nil)
	f.up.serve = lists
	f.ask(t, content(text("a")))
	same := func(body string, want llm.CacheStatus) {
		t.Helper()
		for _, req := range []*llm.Request{content(body), contents(body), contents(text("a"), body)} {
			calls := f.up.count()
			if c := f.ask(t, req); c.head.Cache != want || (f.up.count() == calls) != (want == llm.CacheHit) {
				t.Errorf("%s: %s", req.Body, c)
			}
			if want == llm.CacheMiss {
				f.Forget(Purge{})
				f.ask(t, content(text("a")))
			}
		}
	}
	for _, body := range []string{
		`{"content":{"parts":[{"text":"a"}]}}`,
		`{"content": {"parts" : [{"text":"a"}]}, "model":"gpt"}`,
		`{"taskType":null,"model":null,"content":{"parts":[{"text":"a"}]}}`,
	} {
		same(body, llm.CacheHit)
	}
	for _, body := range []string{
		text("b"), text("a", `"taskType":"CLUSTERING"`), text("a", `"title":"t"`), text("a", `"outputDimensionality":2`), text("a", `"new":1`), text("a", `"user":"u"`),
		`{"model":"models/other","content":{"parts":[{"text":"a"}]}}`,
		`{"model":"models/models/gpt","content":{"parts":[{"text":"a"}]}}`,
		`{"content":{"parts":[{"text":"a"},{"text":""}]}}`,
		`{"content":{"parts":[{"text":"\u0061"}]}}`,
		text("a", `"content":{"parts":[{"text":"b"}]}`),
	} {
		same(body, llm.CacheMiss)
	}
	same(text("a", `"model":"models/other"`), llm.CacheBypass)
	for _, body := range []string{`{}`, `{"requests":[]}`, `{"requests":{}}`, `{"requests":[7]}`, `{"requests":[{}],"requests":[{}]}`} {
		for range 2 {
			f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, `{}`) }
			if c := f.ask(t, posted(llm.BatchEmbedContents, body)); c.head.Cache != llm.CacheBypass {
				t.Errorf("%s: %s", body, c)
			}
		}
	}
}

// What fails, or has another number of vectors, fails as for OpenAI's embeddings, and nothing
// of it is stored.
func TestContentsThatFail(t *testing.T) {
	a, b, c := text("a"), text("b"), text("c")
	for name, test := range map[string]struct {
		answer func(out llm.Sink) error
		calls  int
		fails  bool
	}{
		"too few":   {func(out llm.Sink) error { return answer(out, `{"embeddings":[{"values":[1]}]}`) }, 3, false},
		"too many":  {func(out llm.Sink) error { return answer(out, together(a, b, c)) }, 3, false},
		"no vector": {func(out llm.Sink) error { return answer(out, `{"embeddings":[{"values":[1]},{}]}`) }, 3, false},
		"no JSON":   {func(out llm.Sink) error { return answer(out, `[`) }, 3, false},
		"refused":   {func(llm.Sink) error { return &llm.Error{Status: 400, Fault: llm.Answered} }, 3, false},
		"limited":   {func(llm.Sink) error { return &llm.Error{Status: 429, Fault: llm.Answered} }, 2, true},
		"no answer": {func(llm.Sink) error { return &llm.Error{Status: 502} }, 2, true},
	} {
		f := newFixture(t, nil)
		f.up.serve = func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error {
			if n == 2 {
				return test.answer(out)
			}
			return lists(ctx, n, req, out)
		}
		f.ask(t, contents(a))
		got := &client{}
		if err := f.stage.Serve(context.Background(), contents(a, b, c), got); (err != nil) != test.fails || f.up.count() != test.calls {
			t.Errorf("%s: %v after %d calls", name, err, f.up.count())
		} else if err == nil && string(got.body) != `{"embeddings": [`+vectorOf(a)+`, `+vectorOf(b)+`, `+vectorOf(c)+`],"new":2}` {
			t.Errorf("%s: %s", name, got)
		}
	}
	f := newFixture(t, nil)
	for _, reply := range []string{`{"embeddings":[{"values":[1]}]}`, `{"embedding":{}}`, `{"embedding":{"values":[1]},"error":{}}`} {
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, reply) }
		for range 2 {
			f.expect(t, contents(a, b), "MISS "+reply)
			f.expect(t, content(a), "MISS "+reply)
		}
	}
}

// What was not asked of one element is told of it, wherever its vector goes, and of no other.
func TestContentsThatLost(t *testing.T) {
	f := newFixture(t, nil)
	f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(&llm.Head{Status: 200, Kind: llm.Unary, Length: -1, Lossy: "taskType, title"}); err != nil {
			return err
		}
		return out.Send([]llm.Event{{Raw: []byte(together("1", "2", "3"))}})
	}
	a, b, c := text("a"), text("b", `"taskType":"CLUSTERING"`), text("c", `"title":"t"`, `"taskType":"CLUSTERING"`)
	f.ask(t, contents(a, b, c))
	for want, req := range map[string]*llm.Request{
		"": content(a), "taskType": contents(a, b), "title, taskType": contents(c, c), "taskType, title": contents(b, a, c),
	} {
		got := f.ask(t, req)
		if names := strings.Split(got.head.Lossy, ", "); got.head.Cache != llm.CacheHit || len(got.head.Lossy) != len(want) || !strings.Contains(want, names[0]) {
			t.Errorf("%s: %s, lost %q", req.Body, got, got.head.Lossy)
		}
	}
}

// A machine finds what another one has put into the second level.
func TestContentsOfOtherMachines(t *testing.T) {
	_, m := machines(t, 2, nil)
	for _, f := range m {
		f.up.serve = lists
	}
	a, b := text("a"), text("b")
	whole := `{"embeddings": [` + vectorOf(a) + `, ` + vectorOf(b) + `],"new":2}`
	m[0].expect(t, contents(a, b), "MISS "+whole)
	m[1].expect(t, contents(a, b), "HIT "+whole)
	m[0].expect(t, content(text("c")), `MISS {"embedding": `+vectorOf(text("c"))+`,"new":1}`)
	m[1].expect(t, content(text("c")), `HIT {"embedding": `+vectorOf(text("c"))+`,"new":1}`)
	m[1].expect(t, contents(text("c"), a), "HIT "+together(text("c"), a))
	if n := m[1].up.count(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// A hit takes no memory.
func TestContentsAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	f := newFixture(t, nil)
	f.up.serve = lists
	f.ask(t, contents(text("a"), text("b", `"outputDimensionality":2`)))
	for _, req := range []*llm.Request{contents(text("a"), text("b", `"outputDimensionality":2`)), contents(text("a")), content(text("a"))} {
		hits := 0
		n := testing.AllocsPerRun(200, func() {
			if err := f.stage.Serve(context.Background(), req, statuses{&hits}); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 || hits < 200 {
			t.Errorf("%s: %v allocations, %d hits", req.Body, n, hits)
		}
	}
}

func BenchmarkContentsHit(b *testing.B) {
	f := newFixture(b, nil)
	f.up.serve = lists
	var all []string
	for i := range 100 {
		all = append(all, text(fmt.Sprint("input ", i), `"taskType":"RETRIEVAL_DOCUMENT"`))
	}
	req := contents(all...)
	f.ask(b, req)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.stage.Serve(context.Background(), req, nothing{}); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzContents has any reply told as it came, and any that is stored told again, of any
// elements.
func FuzzContents(f *testing.F) {
	f.Add(`{"content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING"}`, `{"embeddings":[{"values":[1e0]},{"values":[2.0]}],"usageMetadata":{"promptTokenCount":3}}`)
	f.Add(`{"model":"models/gpt","model":"gpt"}`, `{"embedding":{"values":[1]}}`)
	f.Add(`{}`, `{"embeddings":[{"values":[]},{"values":[],"values":null}],"user":"u"}`)
	f.Fuzz(func(t *testing.T, element, reply string) {
		if !json.Valid([]byte(element)) || strings.TrimSpace(element)[0] != '{' {
			return
		}
		fix := newFixture(t, nil)
		fix.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, reply) }
		batch := contents(element, `{"content":{"parts":[{"text":"another"}]}}`)
		for _, req := range []*llm.Request{batch, content(element)} {
			status := fix.ask(t, req).head.Cache
			if again := fix.ask(t, req); string(again.body) != reply && again.head.Cache != llm.CacheHit {
				t.Fatalf("%s after %s", again, status)
			} else if status == llm.CacheMiss && string(again.body) != reply && !repeats(known.StoredOf(llm.BatchEmbedContents), []byte(reply)) {
				t.Fatalf("got %s", again)
			}
			if c := fix.ask(t, contents(element)); c.head.Cache == llm.CacheHit && !json.Valid(c.body) {
				t.Fatalf("got %s", c)
			}
		}
	})
}
