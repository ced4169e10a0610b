package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"sluice/internal/llm"
	"sluice/internal/outline"
)

// keeping has calls answered from memory whose reply the upstream keeps.
func keeping(c *Config, _ *Options) { c.Stored, c.Streams = true, true }

// answerKept answers with a response of its own for each call, as events where a
// stream was asked for.
func answerKept(_ context.Context, n int, r *llm.Request, out llm.Sink) error {
	switch {
	case r.Op == llm.Passthrough:
		return &llm.Error{Status: 404, Fault: llm.Answered, Message: "no such response"}
	case r.Op == llm.Chat:
		return answer(out, strings.Replace(chatReply("x"), `"c"`, fmt.Sprintf(`"chatcmpl-%d"`, n), 1))
	case r.Stream:
		return answerAs(out, llm.EventStream, keptEvents(n))
	}
	return answer(out, fmt.Sprintf(`{"id":"resp_%d","status":"completed","output":[]}`, n))
}

func keptEvents(n int) []string {
	return []string{
		fmt.Sprintf("event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_%d\"}}\n\n", n),
		fmt.Sprintf("event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_%d\"}}\n\n", n),
	}
}

func response(text string, options ...func(*llm.Request)) *llm.Request {
	return chat("", append([]func(*llm.Request){responses(fmt.Sprintf(`"input":%q`, text))}, options...)...)
}

func passed(method, path string) *llm.Request {
	return &llm.Request{Op: llm.Passthrough, ID: "1", Method: method, Path: path}
}

// end passes a request on that ends a reply. The upstream knows nothing of it,
// which makes no difference.
func (f *fixture) end(method, path string) {
	_ = f.stage.Serve(context.Background(), passed(method, path), &client{})
}

// What ends or changes a reply at the upstream forgets it, and nothing else does.
func TestForgetReply(t *testing.T) {
	for _, test := range []struct {
		method, path string
		response     bool // is forgotten
		chat         bool
	}{
		{"DELETE", "/v1/responses/resp_1", true, false},
		{"DELETE", "/v1/responses/resp%5F1", true, false},
		{"DELETE", "/v1/responses/resp_1/", true, false},
		{"POST", "/v1/responses/resp_1/cancel", true, false},
		{"DELETE", "/v1/chat/completions/chatcmpl-2", false, true},
		{"POST", "/v1/chat/completions/chatcmpl-2", false, true},
		{"GET", "/v1/responses/resp_1", false, false},
		{"HEAD", "/v1/responses/resp_1", false, false},
		{"GET", "/v1/responses/resp_1/input_items", false, false},
		{"GET", "/v1/chat/completions/chatcmpl-2", false, false},
		{"DELETE", "/v1/responses/resp_2", false, false},
		{"DELETE", "/v1/responses/", false, false},
		{"DELETE", "/v1/responses/%zz", false, false},
		{"DELETE", "/v1/responses/" + strings.Repeat("x", 2*maxID), false, false},
		{"POST", "/v1/responses/compact", false, false},
		{"DELETE", "/v1/files/resp_1", false, false},
		{"DELETE", "/v1/conversations/resp_1", false, false},
	} {
		f := newFixture(t, keeping)
		f.up.serve = answerKept
		f.ask(t, response("hi"))
		f.ask(t, chat("hi"))
		f.end(test.method, test.path)
		for req, gone := range map[*llm.Request]bool{response("hi"): test.response, chat("hi"): test.chat} {
			want := llm.CacheHit
			if gone {
				want = llm.CacheMiss
			}
			if c := f.ask(t, req); c.head.Cache != want {
				t.Errorf("%s %s: %s", test.method, test.path, c)
			}
		}
	}
}

// Who shares an upstream's account shares its objects: a DELETE forgets the
// reply of that id for all who have it, and no other reply.
func TestForgetForAll(t *testing.T) {
	f := newFixture(t, keeping)
	f.up.serve = func(_ context.Context, n int, _ *llm.Request, out llm.Sink) error {
		return answer(out, fmt.Sprintf(`{"id":"same \"id\"%d","status":"completed","output":[]}`, n/3)) // of two calls
	}
	for _, who := range []string{"a", "b", "c"} {
		f.ask(t, response("hi", tenant(who)))
	}
	f.end("DELETE", "/v1/responses/same%20%22id%220")
	for who, want := range map[string]llm.CacheStatus{"a": llm.CacheMiss, "b": llm.CacheMiss, "c": llm.CacheHit} {
		if c := f.ask(t, response("hi", tenant(who))); c.head.Cache != want {
			t.Errorf("%s: %s", who, c)
		}
	}
}

// A reply that is under way when it is deleted is neither stored nor joined;
// others are.
func TestForgetUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, keeping)
		more := make(chan struct{})
		f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
			if r.Op == llm.Passthrough {
				return nil
			}
			all := keptEvents(n)
			if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream}); err != nil {
				return err
			}
			for _, e := range all {
				if err := out.Send([]llm.Event{{Raw: []byte(e)}}); err != nil {
					return err
				}
				<-more
			}
			return nil
		}
		first, other := f.start(response("hi", streamed)), f.start(response("ho", streamed))
		synctest.Wait()
		id := "resp_1"
		if !strings.Contains(first.String(), id) {
			id = "resp_2"
		}
		f.end("POST", "/v1/responses/"+id+"/cancel")
		second, joins := f.start(response("hi", streamed)), f.start(response("ho", streamed))
		synctest.Wait()
		close(more)
		for _, c := range []*call{first, other, second, joins} {
			<-c.done
		}
		if second.head.Cache != llm.CacheMiss || joins.head.Cache != llm.CacheCoalesced {
			t.Errorf("%s, %s", second.head.Cache, joins.head.Cache)
		}
		if c := f.ask(t, response("hi", streamed)); c.head.Cache != llm.CacheHit || strings.Contains(c.String(), id) {
			t.Error(c)
		}
		if c := f.ask(t, response("ho", streamed)); c.head.Cache != llm.CacheHit {
			t.Error(c)
		}
	})
}

// Of more ids than are remembered none comes back either.
func TestForgetMany(t *testing.T) {
	f := newFixture(t, keeping)
	f.up.serve = func(ctx context.Context, n int, r *llm.Request, out llm.Sink) error {
		if n == 1 {
			for i := range maxForgotten + 2 {
				f.forgetID(idOf(fmt.Appendf(nil, "resp_%d", i+1)))
			}
		}
		return answerKept(ctx, n, r, out)
	}
	for _, want := range []llm.CacheStatus{llm.CacheMiss, llm.CacheMiss, llm.CacheHit} {
		if n := f.up.count(); n == 1 {
			f.up.then(func(ctx context.Context, _ int, r *llm.Request, out llm.Sink) error {
				return answerKept(ctx, 1<<20, r, out)
			})
		}
		if c := f.ask(t, response("hi")); c.head.Cache != want {
			t.Error(c)
		}
	}
	if n := len(f.store.forgotten.ids); n != maxForgotten || len(f.store.forgotten.order) != n {
		t.Errorf("%d ids are remembered", n)
	}
}

// The other machines forget too, wherever the reply is.
func TestForgetElsewhere(t *testing.T) {
	for at, name := range []string{"who stored it", "who has it in memory", "who has it in the second level alone"} {
		second, m := machines(t, 3, keeping)
		for _, f := range m {
			f.up.serve = answerKept
		}
		m[0].ask(t, response("hi"))
		m[1].ask(t, response("hi"))
		m[at].end("DELETE", "/v1/responses/resp_1")
		if n := len(second.values); n != 0 {
			t.Errorf("%s: %d are left", name, n)
		}
		for i, f := range m {
			if _, found := f.store.entries.GetIfPresent(f.ask(t, response("hi", policy(llm.CachePolicy{NoStore: true}))).head.CacheKey); found {
				t.Errorf("%s: machine %d has it", name, i)
			}
		}
		f := m[2]
		f.up.then(func(ctx context.Context, _ int, r *llm.Request, out llm.Sink) error {
			return answerKept(ctx, 7, r, out)
		})
		if c := f.ask(t, response("hi")); c.head.Cache != llm.CacheMiss {
			t.Errorf("%s: %s", name, c)
		}
		if c := m[0].ask(t, response("hi")); c.head.Cache != llm.CacheHit || !strings.Contains(c.String(), "resp_7") {
			t.Errorf("%s: %s", name, c)
		}
	}
	// What is left behind in the second level, as when it was down, stays there.
	second, m := machines(t, 1, keeping)
	f := m[0]
	f.up.serve = answerKept
	f.ask(t, response("hi"))
	second.fail = errDown
	f.end("DELETE", "/v1/responses/resp_1")
	second.fail = nil
	if c := f.ask(t, response("hi")); c.head.Cache != llm.CacheMiss || len(second.values) == 0 {
		t.Error(c)
	}
}

// A restart does not bring it back, and begins warm where the hot set had no
// such reply.
func TestForgetHotSet(t *testing.T) {
	dir := t.TempDir()
	in := func(c *Config, o *Options) { inDir(dir)(c, o); keeping(c, o) }
	f := newFixture(t, in)
	f.up.serve = answerKept
	f.ask(t, response("hi"))
	if err := f.save(nil); err != nil {
		t.Fatal(err)
	}
	there := func() bool { _, err := os.Stat(filepath.Join(dir, hotName)); return err == nil }
	f.end("DELETE", "/v1/responses/resp_0")
	if !there() {
		t.Error("gone for another reply")
	}
	if err := f.hot.close(); err != nil {
		t.Fatal(err)
	}
	g := newFixture(t, in)
	g.up.serve = answerKept
	if c := g.ask(t, response("hi")); c.head.Cache != llm.CacheHit {
		t.Fatal(c)
	}
	g.end("DELETE", "/v1/responses/resp_1")
	if c := g.ask(t, response("hi")); there() || c.head.Cache != llm.CacheMiss {
		t.Errorf("the file is there: %v; %s", there(), c)
	}
	if err := g.hot.close(); err != nil {
		t.Fatal(err)
	}
}

// What is known of ids is what is in memory, whatever becomes of it, and goes
// over to the next cache.
func TestIDsAreBounded(t *testing.T) {
	f := newFixture(t, func(c *Config, o *Options) { keeping(c, o); c.MaxSize = 50 })
	f.up.serve = answerKept
	for i := range 500 {
		f.ask(t, response(fmt.Sprint(i%70), policy(llm.CachePolicy{NoCache: i%3 == 0})))
	}
	count := func(c *Cache) (n int) {
		c.store.entries.CleanUp()
		for _, keys := range c.store.ids.keys {
			n += 1 + len(keys.more)
		}
		return n
	}
	if n := f.store.entries.EstimatedSize(); count(f.Cache) != f.store.entries.EstimatedSize() || n == 0 {
		t.Errorf("%d ids of %d", count(f.Cache), n)
	}
	g := newFixture(t, func(c *Config, o *Options) { keeping(c, o); o.Before = f.Cache })
	g.TakeOver()
	if n := g.store.entries.EstimatedSize(); count(g.Cache) != n || n == 0 {
		t.Errorf("%d ids of %d", count(g.Cache), n)
	}
	f.Forget(Purge{})
	if count(f.Cache) != 0 || len(f.store.ids.keys) != 0 {
		t.Errorf("%d ids are left", count(f.Cache))
	}
}

func FuzzReplyID(f *testing.F) {
	f.Add([]byte(`{"id":"resp_1"}`), 3)
	f.Add([]byte("data: {\"response\":{\"id\":\"a\\u0062\"}}\n\n"), 7)
	f.Add([]byte(`{"id":"`), 1)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		var v map[string]json.RawMessage
		if json.Unmarshal(body, &v) == nil && len(v) == 1 { // of two of a name the first counts
			var text string
			_ = json.Unmarshal(v["id"], &text)
			said := outline.Read(body)
			if id, want := replyID(body, nil, &said), idOf([]byte(text)); id != want && v["response"] == nil && utf8.Valid(body) && len(v["id"]) < maxID {
				t.Errorf("another id in %q", body)
			}
		}
		if cut >= 0 && cut <= len(body) {
			replyID(body, []uint32{uint32(cut), uint32(len(body))}, nil)
		}
	})
}
