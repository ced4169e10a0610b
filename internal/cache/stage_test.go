package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// A stored reply is given byte for byte, with what its head says of it, and for
// as long as the configuration says.
func TestHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		first := f.expect(t, chat("hi"), "MISS "+chatReply(" 1"))
		if first.head.Get("X-Ratelimit-Remaining-Requests") != "9" {
			t.Error("the upstream's head is not passed on")
		}
		time.Sleep(5 * time.Second)
		hit := f.expect(t, chat("hi"), "HIT "+chatReply(" 1"))
		h := hit.head
		if h.Age != 5*time.Second || h.Status != 200 || h.Upstream != "up" || h.Get("Content-Type") != "application/json" ||
			h.CacheKey == (Key{}) || h.CacheKey != first.head.CacheKey || h.Length != int64(len(hit.body)) || h.Kind != llm.Unary {
			t.Errorf("head %+v", h)
		}
		if h.Get("X-Ratelimit-Remaining-Requests") != "" {
			t.Error("what is left of a limit was stored")
		}
		time.Sleep(115*time.Second - 1)
		f.expect(t, chat("hi"), "HIT "+chatReply(" 1"))
		time.Sleep(time.Nanosecond)
		f.expect(t, chat("hi"), "MISS "+chatReply(" 2"))
	})
}

// What cannot change the answer makes no difference; everything else does.
func TestKey(t *testing.T) {
	const body = `{"model":"gpt","messages":[{"role":"user","content":"hi"}],"temperature":1}`
	base := func() *llm.Request {
		r := chat("")
		set(r, body)
		return r
	}
	same := map[string]func(*llm.Request){
		"white space": func(r *llm.Request) { set(r, strings.ReplaceAll(strings.ReplaceAll(body, ":", " :\n"), ",", ",\t")) },
		"order": func(r *llm.Request) {
			set(r, `{"temperature":1,"messages":[{"content":"hi","role":"user"}],"model":"gpt"}`)
		},
		"who asks": func(r *llm.Request) {
			set(r, body[:len(body)-1]+`,"user":"u","safety_identifier":"s"}`)
		},
		"prompt cache": func(r *llm.Request) {
			set(r, body[:len(body)-1]+`,"prompt_cache_key":"k","prompt_cache_retention":"24h"}`)
		},
		"stream false":   func(r *llm.Request) { set(r, body[:len(body)-1]+`,"stream":false}`) },
		"alias":          func(r *llm.Request) { r.Model = "alias" },
		"id and trace":   func(r *llm.Request) { r.ID = "2"; r.Header = []llm.Field{{Name: "Traceparent", Value: "x"}} },
		"stream options": func(r *llm.Request) { set(r, body[:len(body)-1]+`,"stream_options":null}`) },
		"null": func(r *llm.Request) {
			set(r, `{"tools":null,`+body[1:len(body)-1]+` , "user":null,"store": null ,"stop":null}`)
		},
		"idempotency key": func(r *llm.Request) { r.Header = []llm.Field{{Name: "Idempotency-Key", Value: "x"}} },
	}
	for name, change := range same {
		f := newFixture(t, nil)
		f.ask(t, base())
		r := base()
		change(r)
		if c := f.ask(t, r); c.head.Cache != llm.CacheHit {
			t.Errorf("%s: %s", name, c.head.Cache)
		}
	}
	differs := map[string]func(*llm.Request){
		"text":         func(r *llm.Request) { set(r, strings.Replace(body, "hi", "ho", 1)) },
		"number":       func(r *llm.Request) { set(r, strings.Replace(body, "1}", "1.0}", 1)) },
		"metadata":     func(r *llm.Request) { set(r, body[:len(body)-1]+`,"metadata":{"a":1}}`) },
		"member":       func(r *llm.Request) { set(r, body[:len(body)-1]+`,"seed":1}`) },
		"inner user":   func(r *llm.Request) { set(r, strings.Replace(body, `"hi"`, `"hi","user":"x"`, 1)) },
		"model":        func(r *llm.Request) { r.Model = "gpt-5" },
		"tenant":       tenant("other"),
		"path":         func(r *llm.Request) { r.Path = "/v1/completions" },
		"query":        func(r *llm.Request) { r.RawQuery = "x=1" },
		"operation":    func(r *llm.Request) { r.Op = llm.Completion },
		"header":       func(r *llm.Request) { r.Header = []llm.Field{{Name: "Openai-Beta", Value: "x"}} },
		"inner null":   func(r *llm.Request) { set(r, strings.Replace(body, `"hi"`, `"hi","name":null`, 1)) },
		"null twice":   func(r *llm.Request) { set(r, body[:len(body)-1]+`,"temperature":null}`) },
		"null as text": func(r *llm.Request) { set(r, body[:len(body)-1]+`,"stop":"null"}`) },
		"duplicate":    func(r *llm.Request) { set(r, body[:len(body)-1]+`,"temperature":1}`) },
		"array order":  func(r *llm.Request) { set(r, strings.Replace(body, `[{`, `[{"role":"system","content":""},{`, 1)) },
	}
	for name, change := range differs {
		f := newFixture(t, nil)
		f.ask(t, base())
		r := base()
		change(r)
		if c := f.ask(t, r); c.head.Cache != llm.CacheMiss {
			t.Errorf("%s: %s", name, c.head.Cache)
		}
	}
}

// Header fields that come in any order and number are one request; split
// differently they are another.
func TestKeyOfHeader(t *testing.T) {
	with := func(fields ...llm.Field) *llm.Request {
		return chat("hi", func(r *llm.Request) { r.Header = fields })
	}
	f := newFixture(t, nil)
	f.ask(t, with(llm.Field{Name: "A", Value: "1"}, llm.Field{Name: "B", Value: "2"}))
	for _, test := range []struct {
		req  *llm.Request
		want llm.CacheStatus
	}{
		{with(llm.Field{Name: "B", Value: "2"}, llm.Field{Name: "A", Value: "1"}), llm.CacheHit},
		{with(llm.Field{Name: "A", Value: "1B2"}), llm.CacheMiss},
		{with(llm.Field{Name: "A", Value: "2"}, llm.Field{Name: "B", Value: "1"}), llm.CacheMiss},
		{with(llm.Field{Name: "A", Value: "1"}, llm.Field{Name: "A", Value: "1"}, llm.Field{Name: "B", Value: "2"}), llm.CacheMiss},
	} {
		if c := f.ask(t, test.req); c.head.Cache != test.want {
			t.Errorf("%v: %s", test.req.Header, c.head.Cache)
		}
	}
}

// Whatever they ask for and however often, nobody sees a reply that was made
// for another API key; with the global scope all see the same.
func TestScopes(t *testing.T) {
	for _, scope := range []string{ScopeKey, ScopeGlobal} {
		t.Run(scope, func(t *testing.T) {
			second := newShared()
			f := newFixture(t, func(c *Config, _ *Options) { c.Scope, c.Streams = scope, true })
			f.attach(t, second)
			f.up.serve = func(_ context.Context, n int, r *llm.Request, out llm.Sink) error {
				if r.Op == llm.Embedding {
					return embedded(r.Tenant)(context.Background(), n, r, out)
				}
				if r.Stream {
					return answerAs(out, llm.EventStream, events("of "+r.Tenant))
				}
				return answer(out, chatReply("of "+r.Tenant))
			}
			rnd := rand.New(rand.NewPCG(1, 2))
			names := []string{"", "a", "b", "ab", "a\x00", "key", "global"}
			foreign := 0
			for range 3000 {
				who, what := names[rnd.IntN(len(names))], fmt.Sprint(rnd.IntN(5))
				r := chat(what, tenant(who))
				switch rnd.IntN(3) {
				case 0:
					streamed(r)
				case 1:
					r = embed(`["`+what+`","x"]`, tenant(who))
				}
				if rnd.IntN(20) == 0 { // what is left is the second level
					f.store.purge(Purge{})
				}
				c := f.ask(t, r)
				if !strings.Contains(string(c.body), `of `+strings.Trim(fmt.Sprintf("%q", who), `"`)+`"`) {
					foreign++
				}
			}
			if scope == ScopeKey && foreign > 0 {
				t.Errorf("%d replies were another's", foreign)
			}
			if scope == ScopeGlobal && foreign == 0 {
				t.Error("nothing was shared")
			}
		})
	}
}

func TestCacheControl(t *testing.T) {
	const age, life = 60 * time.Second, 120 * time.Second
	hit, miss := "HIT", "MISS"
	for _, test := range []struct {
		p    llm.CachePolicy
		age  time.Duration
		want string
	}{
		{llm.CachePolicy{}, age, hit},
		{llm.CachePolicy{NoStore: true}, age, "BYPASS"},
		{llm.CachePolicy{NoCache: true}, age, "BYPASS"},
		{llm.CachePolicy{HasMaxAge: true, MaxAge: age}, age, hit},
		{llm.CachePolicy{HasMaxAge: true, MaxAge: age - 1}, age, miss},
		{llm.CachePolicy{HasMaxAge: true}, age, miss},
		{llm.CachePolicy{MinFresh: life - age}, age, hit},
		{llm.CachePolicy{MinFresh: life - age + 1}, age, miss},
		{llm.CachePolicy{MaxStale: time.Second}, life + time.Second, "STALE"},
		{llm.CachePolicy{MaxStale: time.Second}, life + time.Second + 1, miss},
		{llm.CachePolicy{MaxStale: llm.AnyStale}, 100 * life, "STALE"},
		{llm.CachePolicy{}, life, miss},
		{llm.CachePolicy{OnlyIfCached: true}, age, hit},
		{llm.CachePolicy{OnlyIfCached: true}, life, "504"},
		{llm.CachePolicy{OnlyIfCached: true, NoCache: true}, age, "504"},
		{llm.CachePolicy{OnlyIfCached: true, NoStore: true}, age, "504"},
		{llm.CachePolicy{OnlyIfCached: true, MaxStale: llm.AnyStale}, life, "STALE"},
	} {
		t.Run(fmt.Sprintf("%+v", test.p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.ask(t, chat("hi"))
				time.Sleep(test.age)
				c := &client{}
				err := f.stage.Serve(context.Background(), chat("hi", policy(test.p)), c)
				var e *llm.Error
				if errors.As(err, &e) {
					if fmt.Sprint(e.Status) != test.want || e.Code != "not_cached" || f.up.count() != 1 {
						t.Errorf("%v after %d calls", e, f.up.count())
					}
					return
				}
				if err != nil || c.head.Cache.String() != test.want {
					t.Errorf("%s, %v", c.head.Cache, err)
				}
				calls := 2
				if test.want == hit || test.want == "STALE" {
					calls = 1
				}
				if f.up.count() != calls {
					t.Errorf("%d calls", f.up.count())
				}
			})
		})
	}
}

// The reply to a request with no-cache takes the stored one's place; one with
// no-store leaves no trace.
func TestNewReplies(t *testing.T) {
	f := newFixture(t, nil)
	f.expect(t, chat("hi"), "MISS "+chatReply(" 1"))
	f.expect(t, chat("hi", policy(llm.CachePolicy{NoStore: true})), "BYPASS "+chatReply(" 2"))
	f.expect(t, chat("hi"), "HIT "+chatReply(" 1"))
	f.expect(t, chat("hi", policy(llm.CachePolicy{NoCache: true})), "BYPASS "+chatReply(" 3"))
	f.expect(t, chat("hi"), "HIT "+chatReply(" 3"))
}

// Only what is whole and no error is stored.
func TestNotStored(t *testing.T) {
	response := func(status string) string { return `{"object":"response","output":[],"status":"` + status + `"}` }
	for _, test := range []struct {
		name, body string
		op         llm.Operation
		stored     bool
	}{
		{"chat", chatReply("x"), llm.Chat, true},
		{"a user that is null", strings.Replace(chatReply("x"), "{", `{"user":null,"safety_identifier":null,`, 1), llm.Chat, true},
		{"null error", strings.Replace(chatReply("x"), "{", `{"error":null,`, 1), llm.Chat, true},
		{"error", strings.Replace(chatReply("x"), "{", `{"error":{"message":"x"},`, 1), llm.Chat, false},
		{"no choices", `{"object":"chat.completion","choices":[]}`, llm.Chat, false},
		{"something else", `{"detail":"try later"}`, llm.Chat, false},
		{"no JSON", `{"choices":[{}]`, llm.Chat, false},
		{"broken off", strings.Replace(chatReply("x"), `"stop"`, `"error"`, 1), llm.Chat, false},
		{"error of a choice", strings.Replace(chatReply("x"), `"stop"`, `"stop","error":{"code":502}`, 1), llm.Chat, false},
		{"two errors", strings.Replace(chatReply("x"), "{", `{"error":null,"error":{"message":"x"},`, 1), llm.Chat, false},
		{"two reasons", strings.Replace(chatReply("x"), `"stop"`, `"stop","finish_reason":"error"`, 1), llm.Chat, false},
		{"two choices", strings.Replace(chatReply("x"), "{", `{"choices":[{}],`, 1), llm.Chat, false},
		{"two states", strings.Replace(response("completed"), "{", `{"status":"failed",`, 1), llm.Response, false},
		{"completion", `{"choices":[{"text":"x"}]}`, llm.Completion, true},
		{"response", response("completed"), llm.Response, true},
		{"cut response", response("incomplete"), llm.Response, true},
		{"failed response", response("failed"), llm.Response, false},
		{"response under way", response("in_progress"), llm.Response, false},
		{"too large", chatReply(strings.Repeat("x", 1<<20)), llm.Chat, false},
	} {
		f := newFixture(t, nil)
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, test.body) }
		ask := func() *client { return f.ask(t, chat("hi", func(r *llm.Request) { r.Op = test.op; unkept(r) })) }
		if c := ask(); string(c.body) != test.body {
			t.Errorf("%s: got %s", test.name, c)
		}
		want := llm.CacheMiss
		if test.stored {
			want = llm.CacheHit
		}
		if c := ask(); c.head.Cache != want || string(c.body) != test.body {
			t.Errorf("%s: %s", test.name, c.head.Cache)
		}
	}
}

// Failed calls are not stored, whatever had been sent.
func TestFailuresAreNotStored(t *testing.T) {
	fault := errors.New("cut")
	for name, serve := range map[string]func(out llm.Sink) error{
		"at once":        func(llm.Sink) error { return fault },
		"after the head": func(out llm.Sink) error { _ = out.Start(&llm.Head{Status: 200}); return fault },
		"in a stream":    func(out llm.Sink) error { _ = answerAs(out, llm.EventStream, events("a")); return fault },
		"in pieces":      func(out llm.Sink) error { _ = answerAs(out, llm.Pieces, []string{"{", "}"}); return fault },
	} {
		f := newFixture(t, func(c *Config, _ *Options) { c.Streams = true })
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return serve(out) }
		for i := range 2 {
			err := f.stage.Serve(context.Background(), chat("hi", streamed), &client{})
			if !errors.Is(err, fault) || f.up.count() != i+1 {
				t.Errorf("%s: %v after %d calls", name, err, f.up.count())
			}
		}
		if n := f.store.entries.EstimatedSize(); n != 0 {
			t.Errorf("%s: %d entries", name, n)
		}
	}
}

func TestWhenDeterministic(t *testing.T) {
	body := func(more string) func(*llm.Request) {
		return func(r *llm.Request) { set(r, `{"model":"gpt","messages":[]`+more+`}`) }
	}
	for more, cached := range map[string]bool{
		"": false, `,"temperature":0`: true, `,"temperature":0.0`: true, `,"temperature":-0e5`: true, `,"temperature":0.1`: false,
		`,"temperature":null`: false, `,"temperature":"0"`: false, `,"seed":7`: true, `,"seed":null`: false, `,"temperature":1,"seed":7`: true,
	} {
		f := newFixture(t, func(c *Config, _ *Options) { c.When = WhenDeterministic })
		f.ask(t, chat("", body(more)))
		c := f.ask(t, chat("", body(more)))
		if want := map[bool]llm.CacheStatus{true: llm.CacheHit, false: llm.CacheBypass}[cached]; c.head.Cache != want {
			t.Errorf("%s: %s", more, c.head.Cache)
		}
	}
}

// unkept has the upstream not keep its reply.
func unkept(r *llm.Request) { set(r, strings.TrimSuffix(string(r.Body), "}")+`,"store":false}`) }

// What the cache takes no part in passes untouched.
func TestBypass(t *testing.T) {
	f := newFixture(t, nil)
	for name, test := range map[string]struct {
		change func(*llm.Request)
		want   llm.CacheStatus
	}{
		"another operation":  {func(r *llm.Request) { r.Op = llm.Passthrough }, 0},
		"model list":         {func(r *llm.Request) { r.Op = llm.ListModels }, 0},
		"unknown model":      {func(r *llm.Request) { r.Model = "unknown" }, llm.CacheBypass},
		"conversation":       {responses(`"conversation":"c","store":false`), llm.CacheBypass},
		"background":         {responses(`"background":true,"store":false`), llm.CacheBypass},
		"odd background":     {responses(`"background":1,"store":false`), llm.CacheBypass},
		"previous response":  {responses(`"previous_response_id":"r","store":false`), llm.CacheBypass},
		"latest template":    {responses(`"prompt":{"id":"p"},"store":false`), llm.CacheBypass},
		"null version":       {responses(`"prompt":{"id":"p","version":null},"store":false`), llm.CacheBypass},
		"kept item":          {responses(`"input":[{"type":"item_reference","id":"i"}],"store":false`), llm.CacheBypass},
		"kept item, bare":    {responses(`"input":[{"role":"user","content":"x"},{"id":"i"}],"store":false`), llm.CacheBypass},
		"kept item, null":    {responses(`"input":[{"type":null,"id":"i"}],"store":false`), llm.CacheBypass},
		"code":               {responses(`"store":false,"tools":[{"type":"function","name":"f"},{"type":"code_interpreter","container":{"type":"auto"}}]`), llm.CacheBypass},
		"an MCP server":      {responses(`"store":false,"tools":[{"server_url":"https://a.example","type":"m\u0063p"}]`), llm.CacheBypass},
		"a hosted shell":     {responses(`"store":false,"tools":[{"type":"shell"}]`), llm.CacheBypass},
		"a tool of no type":  {responses(`"store":false,"tools":[{}]`), llm.CacheBypass},
		"tools as an object": {responses(`"store":false,"tools":{"type":"mcp"}`), llm.CacheBypass},
		"tools twice":        {responses(`"store":false,"tools":[],"tools":[{"type":"mcp"}]`), llm.CacheBypass},
		"kept by default":    {responses(`"input":"x"`), llm.CacheBypass},
		"kept":               {responses(`"store":true`), llm.CacheBypass},
		"kept, null":         {responses(`"store":null`), llm.CacheBypass},
		"kept or not":        {responses(`"store":false,"store":true`), llm.CacheBypass},
		"twice":              {responses(`"conversation":null,"conversation":"c","store":false`), llm.CacheBypass},
		"kept stream":        {func(r *llm.Request) { responses(`"input":"x"`)(r); streamed(r) }, llm.CacheBypass},
		"kept chat":          {func(r *llm.Request) { set(r, `{"messages":[],"store":true}`) }, llm.CacheBypass},
		"who asks twice":     {func(r *llm.Request) { set(r, `{"user":"a","user":"b"}`) }, llm.CacheBypass},
		"a type twice":       {responses(`"store":false,"tools":[{"type":"function","type":"mcp"}]`), llm.CacheBypass},
		"code, Messages":     {messages(`"tools":[{"name":"f","input_schema":{}},{"type":"code_execution_20250825","name":"code_execution"}]`), llm.CacheBypass},
		"toolset, Messages":  {messages(`"tools":[{"type":"mcp_toolset","mcp_server_name":"n"}]`), llm.CacheBypass},
		"odd, Messages":      {messages(`"tools":[{"type":"bash"}]`), llm.CacheBypass},
		"types, Messages":    {messages(`"tools":[{"type":"custom","type":"code_execution_20250825"}]`), llm.CacheBypass},
		"tools, Messages":    {messages(`"tools":[],"tools":[{"type":"code_execution_20250825"}]`), llm.CacheBypass},
		"servers, Messages":  {messages(`"mcp_servers":[{"type":"url","url":"https://a.example","name":"n"}]`), llm.CacheBypass},
		"spelled, Messages":  {messages(`"mcp\u005fservers":[{"type":"url"}]`), llm.CacheBypass},
		"a thread":           {messages(`"thread":{"type":"create"}`), llm.CacheBypass},
		"container":          {messages(`"container":"container_1"`), llm.CacheBypass},
		"containers":         {messages(`"container":null,"container":"container_1"`), llm.CacheBypass},
		"code, chat": {func(r *llm.Request) {
			set(r, `{"tools":[{"type":"function","function":{}},{"type":"code_interpreter"}]}`)
		}, llm.CacheBypass},
		"MCP, chat":     {func(r *llm.Request) { set(r, `{"t\u006fols":[{"type":"mcp","server_url":"https://a.example"}]}`) }, llm.CacheBypass},
		"options twice": {func(r *llm.Request) { set(r, `{"stream_options":{},"stream_options":{"include_usage":true}}`) }, llm.CacheBypass},
	} {
		for range 2 {
			if c := f.ask(t, chat("hi", test.change)); c.head.Cache != test.want {
				t.Errorf("%s: %s", name, c.head.Cache)
			}
		}
	}
	if n := f.store.entries.EstimatedSize(); n != 0 {
		t.Errorf("%d entries", n)
	}
	f.unlike(t)
}

// unlike has requests answered from memory that look like those of TestBypass and are none.
func (f *fixture) unlike(t *testing.T) {
	t.Helper()
	for _, more := range []string{
		`"store":false`, `"store":false,"background":false,"conversation":null,"previous_response_id":null,"prompt":null`, `"store":false,"prompt":{"id":"p","version":"2"}`,
		`"store":false,"tools":null,"input":"1"`, `"store":false,"tools":[]`, `"store":false,"tools":[{"type":"function","name":"mcp"},{"type":"web_search_2025_08_26"},{"type":"file_search"}]`,
	} {
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			return answer(out, `{"output":[],"status":"completed"}`)
		}
		f.ask(t, chat("", responses(more)))
		if c := f.ask(t, chat("", responses(more))); c.head.Cache != llm.CacheHit {
			t.Errorf("%s: %s", more, c.head.Cache)
		}
	}
	for _, tools := range []string{"null", "[]", `[{"type":"function","function":{"name":"mcp"}},{"type":"custom"},{"type":"web_search_preview"},{"type":"browser_search"}]`} {
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, chatReply("x")) }
		ask := func() *llm.Request { return chat("tools", func(r *llm.Request) { set(r, `{"tools":`+tools+`}`) }) }
		f.ask(t, ask())
		if c := f.ask(t, ask()); c.head.Cache != llm.CacheHit {
			t.Errorf("%s: %s", tools, c.head.Cache)
		}
	}
	for _, more := range []string{
		`"mcp_servers":null,"container":null,"thread":null,"tools":null`, `"tools":[{"name":"mcp_servers","input_schema":{}},{"type":"custom","name":"container"}]`,
		`"tools":[{"type":"bash_20250124"},{"type":"text_editor_20250728"},{"type":"computer_20250124"},{"type":"memory_20250818"}]`,
		`"tools":[{"type":"web_search_20250305"},{"type":"web_fetch_20250910"},{"type":"tool_search_tool_regex_20251119"}]`,
	} {
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			return answer(out, `{"type":"message","content":[],"stop_reason":"end_turn"}`)
		}
		f.ask(t, chat("", messages(more)))
		if c := f.ask(t, chat("", messages(more))); c.head.Cache != llm.CacheHit {
			t.Errorf("%s: %s", more, c.head.Cache)
		}
	}
}

// messages makes it a call of that operation with some members.
func messages(members string) func(*llm.Request) {
	return func(r *llm.Request) {
		r.Op, r.Path = llm.Messages, "/v1/messages"
		set(r, `{`+members+`}`)
	}
}

// responses makes it a call of that operation with some members.
func responses(members string) func(*llm.Request) {
	return func(r *llm.Request) {
		r.Op, r.Path = llm.Response, "/v1/responses"
		set(r, `{`+members+`}`)
	}
}

// Each call counts once, whatever becomes of it.
func TestEachCallCountsOnce(t *testing.T) {
	f := newFixture(t, withStreams)
	f.attach(t, newShared())
	f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
		if n%7 == 0 {
			return &llm.Error{Status: 500}
		}
		if r.Op == llm.Embedding {
			return embedded("")(ctx, n, r, out)
		}
		if r.Stream {
			return answerAs(out, llm.EventStream, events("a"))
		}
		return answer(out, chatReply("a"))
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	const calls = 2000
	for i := range calls {
		what := fmt.Sprint(rnd.IntN(30))
		r := chat(what)
		switch rnd.IntN(3) {
		case 0:
			streamed(r)
		case 1:
			r = embed(`["` + what + `","` + fmt.Sprint(rnd.IntN(30)) + `"]`)
		}
		r.Cache = [...]llm.CachePolicy{{}, {NoCache: true}, {NoStore: true}, {OnlyIfCached: true}, {HasMaxAge: true}, {}, {}, {}}[rnd.IntN(8)]
		if i%50 == 0 {
			f.store.purge(Purge{})
		}
		if err := f.stage.Serve(context.Background(), r, &client{}); err != nil {
			var e *llm.Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
		}
	}
	fig := &f.figures
	sum := uint64(0)
	for _, n := range []uint64{fig.hits.Load(), fig.hits2.Load(), fig.misses.Load(), fig.coalesced.Load(), fig.bypassed.Load(), fig.refused.Load()} {
		sum += n
	}
	if sum != calls || fig.hits2.Load() == 0 || fig.refused.Load() == 0 {
		t.Errorf("%d calls counted: %+v", sum, fig.hits2.Load())
	}
	if asked := fig.misses.Load() + fig.bypassed.Load(); uint64(f.up.count()) < asked {
		t.Errorf("%d calls to the upstream, %d counted", f.up.count(), asked)
	}
}

// What was not asked of a request is told of each reply to it, wherever it comes from. Of
// members that have no place in the key nobody knows whether they stand in another request.
func TestLossy(t *testing.T) {
	_, machines := machines(t, 2, withStreams)
	lossy := func(inner func(context.Context, int, *llm.Request, llm.Sink) error) func(context.Context, int, *llm.Request, llm.Sink) error {
		return func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
			return inner(ctx, n, r, &losing{out})
		}
	}
	whole := lossy(func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error { return answer(out, chatReply("x")) })
	stream := lossy(func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		return answerAs(out, llm.EventStream, events("a", "b"))
	})
	for name, c := range map[string]struct {
		serve func(context.Context, int, *llm.Request, llm.Sink) error
		req   func() *llm.Request
		want  string
	}{
		"whole":     {whole, func() *llm.Request { return chat("1") }, "top_k, thinking"},
		"stream":    {stream, func() *llm.Request { return chat("2", streamed) }, "top_k, thinking"},
		"replayed":  {whole, func() *llm.Request { return chat("1", streamed) }, "top_k, thinking"},
		"embedding": {lossy(embedded("")), func() *llm.Request { return embed(`["a","b"]`) }, "top_k, thinking"},
		"response": {lossy(func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			return answer(out, `{"output":[],"status":"completed"}`)
		}), func() *llm.Request { return chat("", responses(`"store":false,"user":"u"`)) }, "top_k, user, thinking, prompt_cache_key"},
	} {
		if name == "replayed" {
			machines[0].up.serve = whole
			machines[0].ask(t, chat("1"))
		}
		machines[0].up.serve = c.serve
		machines[0].ask(t, c.req())
		for i, m := range machines {
			if got := m.ask(t, c.req()).head; got.Cache != llm.CacheHit || got.Lossy != c.want {
				t.Errorf("%s, machine %d: %s %q", name, i, got.Cache, got.Lossy)
			}
		}
		for i, m := range machines { // a chain that refuses what loses something has none of it answered from memory
			none := errors.New("refused")
			m.up.then(func(context.Context, int, *llm.Request, llm.Sink) error { return none })
			strict := m.Stage(m.up, groups{}, true)
			if err := strict.Serve(t.Context(), c.req(), &client{}); !errors.Is(err, none) {
				t.Errorf("%s, strict, machine %d: %v", name, i, err)
			}
		}
	}
	for name, req := range map[string]*llm.Request{"whole": chat("lossless"), "embedding": embed(`["c","d"]`)} {
		machines[0].up.then(answering)
		machines[0].ask(t, req)
		for i, m := range machines {
			out := &client{}
			if err := m.Stage(m.up, groups{}, true).Serve(t.Context(), req, out); err != nil || out.head.Cache != llm.CacheHit {
				t.Errorf("%s, of which nothing was lost, machine %d: %v %s", name, i, err, out.head.Cache)
			}
		}
	}
}

// answering gives what is asked for.
func answering(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
	if r.Op == llm.Embedding {
		return embedded("")(ctx, n, r, out)
	}
	return answer(out, chatReply("x"))
}

// losing tells of what was lost.
type losing struct{ llm.Sink }

func (l *losing) Start(h *llm.Head) error {
	head := *h
	head.Lossy = "top_k, user, thinking, prompt_cache_key"
	return l.Sink.Start(&head)
}

// Those who share a call are told what was lost in it, each of what is its own too.
func TestLossyShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			return answer(&losing{out}, chatReply("x"))
		}
		all, errs := f.callers(3, func() *llm.Request { return chat("hi") })
		for i, c := range all {
			if errs[i] != nil || c.head.Lossy != "top_k, user, thinking, prompt_cache_key" {
				t.Errorf("%v, %s %q", errs[i], c.head.Cache, c.head.Lossy)
			}
		}
		if f.up.count() != 1 {
			t.Errorf("%d calls", f.up.count())
		}
	})
}

// TestStrictSharesWithItsOwn: while a reload is under way there are a chain that refuses what
// loses something and one that does not. Neither answers with the other's call.
func TestStrictSharesWithItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			return answer(&losing{out}, chatReply("x"))
		}
		none := errors.New("refused")
		strict := f.Stage(llm.HandlerFunc(func(context.Context, *llm.Request, llm.Sink) error {
			time.Sleep(time.Second)
			return none
		}), groups{}, true)
		var got [4]error
		var wg sync.WaitGroup
		for i := range got {
			h := f.stage
			if i%2 == 1 {
				h = strict
			}
			wg.Go(func() { got[i] = h.Serve(t.Context(), chat("hi"), &client{}) })
			synctest.Wait()
		}
		wg.Wait()
		if got[0] != nil || got[2] != nil || !errors.Is(got[1], none) || !errors.Is(got[3], none) {
			t.Error(got)
		}
	})
}
