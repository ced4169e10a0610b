package cache

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/internal/embeddings"
	"sluice/internal/llm"
)

// words is an upstream that counts a token for each word, the length of arrays,
// and what it counted in all.
type words struct {
	told uint64
	more string // after the tokens of each usage
	fail func(n int) error
}

func (w *words) serve(_ context.Context, n int, req *llm.Request, out llm.Sink) error {
	if w.fail != nil {
		if err := w.fail(n); err != nil {
			return err
		}
	}
	var r struct {
		Input          json.RawMessage
		EncodingFormat string `json:"encoding_format"`
		Dimensions     int
	}
	if err := json.Unmarshal(req.Body, &r); err != nil {
		return err
	}
	var list []json.RawMessage
	var one []int
	if json.Unmarshal(r.Input, &one) == nil || json.Unmarshal(r.Input, &list) != nil {
		list = []json.RawMessage{r.Input}
	}
	var data []string
	count := 0
	for i, raw := range list {
		v := fmt.Sprintf("[%d.5,%d]", i, r.Dimensions)
		if r.EncodingFormat == "base64" {
			v = `"` + base64.StdEncoding.EncodeToString(raw) + `"`
		}
		data = append(data, fmt.Sprintf(`{ "object":"embedding", "index":%d, "embedding":%s }`, i, v))
		count += wordsOf(string(raw))
	}
	w.told += uint64(count)
	return answer(out, fmt.Sprintf(`{"id":"embd-%d", "object":"list","data":[ %s ],"model":"gpt-e","usage":{"prompt_tokens":%d,"total_tokens":%d%s}, "x":[1]}`,
		n, strings.Join(data, " , "), count, count, w.more))
}

func wordsOf(raw string) int {
	if raw[0] == '[' {
		return strings.Count(raw, ",") + 1
	}
	return max(len(strings.Fields(strings.Trim(raw, `"`))), 1)
}

func toldBy(t testing.TB, c *client) int {
	t.Helper()
	var r struct {
		Data  []json.RawMessage
		Usage struct {
			PromptTokens int `json:"prompt_tokens"`
			TotalTokens  int `json:"total_tokens"`
		}
	}
	if err := json.Unmarshal(c.body, &r); err != nil || r.Usage.PromptTokens != r.Usage.TotalTokens {
		t.Fatalf("%s: %v", c, err)
	}
	return r.Usage.PromptTokens
}

// The same call again has the reply that was given before, byte for byte: of one
// input and of several, with an index and without, in any order, in both levels.
func TestEmbeddingsAgain(t *testing.T) {
	item := func(members string) string { return `{` + members + `"embedding":[0.5] }` }
	reply := func(items ...string) string {
		return `{"id":"e", "data": [` + strings.Join(items, " , ") + `] ,"model":"m","usage":{"total_tokens":7,"prompt_tokens":7,"prompt_tokens_details":{"image_count":0}}, "x":1}`
	}
	for name, test := range map[string]struct{ input, reply string }{
		"one":                 {`"a"`, reply(item(`"index":0, `))},
		"one in a list":       {`["a"]`, reply(item(`"o":1, "index" : 0,`))},
		"one without index":   {`"a"`, reply(item(""))},
		"several":             {`["a","b","c"]`, reply(item(`"index":0, `), item(`"index":1, "o":1, `), item(`"index":2, `))},
		"in another order":    {`["a","b","c"]`, reply(item(`"index":2, "o":2, `), item(`"index":0, `), item(`"index":1, `))},
		"several, no index":   {`["a","b"]`, reply(item(""), item(`"o":1, `))},
		"some without index":  {`["a","b"]`, reply(item(`"index":0, `), item(`"o":1, `))},
		"equal ones":          {`["a","b","a"]`, reply(item(`"index":0, `), item(`"index":1, `), item(`"index":2, `))},
		"tokens":              {`[[1,2],[3]]`, reply(item(`"index":0, `), item(`"index":1, `))},
		"long ones, in parts": {`["a","b"]`, reply(item(`"index":0, "x":"`+strings.Repeat("x", embeddings.MaxPiece)+`", `), item(`"index":1, `))},
	} {
		_, m := machines(t, 2, nil)
		for i, f := range m {
			f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, test.reply) }
			for _, want := range []llm.CacheStatus{llm.CacheMiss, llm.CacheHit, llm.CacheHit}[i:] {
				c := f.ask(t, embed(test.input))
				if c.head.Cache != want || string(c.body) != test.reply || c.head.Length != int64(len(test.reply)) || c.head.Saved != 0 {
					t.Errorf("%s: %.300s\nwant %.300s", name, c, test.reply)
				}
			}
		}
	}
}

// A reply that says who asked is given in parts alone.
func TestEmbeddingsRepeatedAsker(t *testing.T) {
	f := newFixture(t, nil)
	f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		return answer(out, `{"data":[{"index":0,"embedding":[1]}],"user":"alice","usage":{"prompt_tokens":3}}`)
	}
	f.ask(t, embed(`"a"`))
	f.expect(t, embed(`"a"`), `HIT {"object":"list","data":[{"index":0,"embedding":[1]}],"model":"gpt","usage":{"prompt_tokens":3,"total_tokens":3}}`)
}

// What clients are told, what the upstream counted and what was saved add up,
// whatever part of each call is known.
func TestEmbeddingTokensAddUp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for _, format := range []string{"float", "base64"} {
		w := &words{}
		f := newFixture(t, nil)
		f.up.serve = w.serve
		all, saved := uint64(0), uint64(0)
		for range 1500 {
			var list []string
			kind := rnd.IntN(3)
			for range 1 + rnd.IntN(6) {
				switch n := rnd.IntN(60); {
				case kind == 0 || kind == 1 && rnd.IntN(2) == 0:
					list = append(list, "["+strings.Repeat("7,", n%9)+fmt.Sprint(n)+"]")
				default:
					list = append(list, `"`+strings.TrimSpace(strings.Repeat(fmt.Sprint("w", n, " "), 1+n%7))+`"`)
				}
			}
			input := "[" + strings.Join(list, ",") + "]"
			if len(list) == 1 && rnd.IntN(2) == 0 {
				input = list[0]
			}
			before := w.told
			c := f.ask(t, embed(input, func(r *llm.Request) {
				set(r, strings.Replace(string(r.Body), `"float"`, `"`+format+fmt.Sprintf(`","dimensions":%d`, rnd.IntN(2)), 1))
			}))
			n := uint64(toldBy(t, c))
			all += n
			if c.head.Cache == llm.CacheHit {
				saved += n
			} else {
				saved += uint64(c.head.Saved)
			}
			if all != w.told+saved || n < uint64(len(list)) {
				t.Fatalf("%s: told %d, in all %d; the upstream counted %d, %d in all; saved %d (%s)", input, n, all, w.told-before, w.told, saved, c.head.Cache)
			}
			exact := 0
			for _, raw := range list {
				exact += wordsOf(raw)
			}
			if kind == 0 && n != uint64(exact) {
				t.Fatalf("%s: told %d", input, n)
			}
		}
		if saved == 0 || w.told == 0 {
			t.Error("nothing was saved, or asked for")
		}
	}
}

// What a second level gives for what stands around the vectors is not trusted.
func TestEmbeddingFrameIsNotTrusted(t *testing.T) {
	for name, spoil := range map[string]func(e *entry){
		"too few":   func(e *entry) { e.ends = e.ends[2:] },
		"no number": func(e *entry) { e.body[e.ends[0]] = 'x' },
		"far":       func(e *entry) { e.body[e.ends[0]] = '9' },
		"a stream":  func(e *entry) { e.ends = []uint32{uint32(len(e.body))} },
		"a reply":   func(e *entry) { e.ends = nil },
		"twice":     func(e *entry) { e.body[e.ends[0]] = '1' },
	} {
		second, m := machines(t, 2, nil)
		w := &words{}
		m[0].up.serve = w.serve
		m[0].ask(t, embed(`["a b","c"]`))
		for key, value := range second.values {
			if e, err := unmarshal(value, key, m[0].clock.Now()); err == nil && len(e.ends) == 5 {
				spoil(e)
				second.values[key] = marshal(key, e, m[0].clock.Now())
			}
		}
		if c := m[1].ask(t, embed(`["a b","c"]`)); c.head.Cache != llm.CacheHit || toldBy(t, c) != 3 {
			t.Errorf("%s: %s", name, c)
		}
	}
}

// They add up too where the reply that is known has inputs that are not known any
// more, and were counted otherwise with it.
func TestEmbeddingTokensOfOldFrame(t *testing.T) {
	second, m := machines(t, 2, nil)
	w := &words{}
	for _, f := range m {
		f.up.serve = w.serve
	}
	all := `["looooooooooooong","b c d e"]`
	if n := toldBy(t, m[0].ask(t, embed(all))); n != 5 {
		t.Fatalf("told %d", n)
	}
	for key, value := range second.values {
		if e, err := unmarshal(value, key, m[0].clock.Now()); err == nil && len(e.ends) == vectorEnds && e.tokens != 3 {
			delete(second.values, key)
		}
	}
	w.told = 0
	c := m[1].ask(t, embed(all))
	if n := uint64(toldBy(t, c)); c.head.Cache != llm.CacheMiss || w.told == 0 || n != w.told+uint64(c.head.Saved) {
		t.Errorf("%s: told %d; the upstream counted %d; saved %d", c.head.Cache, n, w.told, c.head.Saved)
	}
}
