package cache

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// options gives a streamed request stream_options.
func options(o string) func(*llm.Request) {
	return func(r *llm.Request) {
		streamed(r)
		set(r, strings.TrimSuffix(string(r.Body), "}")+`,"stream_options":`+o+`}`)
	}
}

func withStreams(c *Config, _ *Options) { c.Streams = true }

// With cache.streams a finished stream is stored and comes back event for
// event; without, a streamed call is answered by the upstream alone.
func TestStreams(t *testing.T) {
	for _, on := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, func(c *Config, _ *Options) { c.Streams = on })
			want := strings.Join(events("a", "b"), "")
			f.up.serve = func(_ context.Context, _ int, r *llm.Request, out llm.Sink) error {
				return answerAs(out, llm.EventStream, events("a", "b"))
			}
			first, second := llm.CacheMiss, llm.CacheHit
			if !on {
				first, second = llm.CacheBypass, llm.CacheBypass
			}
			f.expect(t, chat("hi", streamed), first.String()+" "+want)
			time.Sleep(time.Second)
			c := f.expect(t, chat("hi", streamed), second.String()+" "+want)
			if c.events != 3 || c.head.Kind != llm.EventStream || c.head.Get("Content-Type") != "text/event-stream" || c.head.Length != -1 {
				t.Errorf("%d events, head %+v", c.events, c.head)
			}
			if (c.head.CacheKey != Key{}) != on {
				t.Errorf("key %x", c.head.CacheKey)
			}
			// Options may change the events.
			f.expect(t, chat("hi", options(`{"include_usage":true}`)), first.String()+" "+want)
			if !on {
				return
			}
			f.expect(t, chat("hi", options(`{ "include_usage":true }`)), second.String()+" "+want)
			// A whole reply cannot be had from a stream.
			f.up.serve = nil
			f.expect(t, chat("hi"), "MISS "+chatReply(fmt.Sprintf(" %d", f.up.count()+1)))
		})
	}
}

// A streamed call is answered from a stored whole reply.
func TestStreamFromWhole(t *testing.T) {
	f := newFixture(t, withStreams)
	f.ask(t, chat("hi"))
	for _, req := range []*llm.Request{chat("hi", streamed), chat("hi", options(`{"include_usage":false}`))} {
		c := f.ask(t, req)
		if c.head.Cache != llm.CacheHit || c.head.Kind != llm.EventStream || c.head.Get("Content-Type") != "text/event-stream" ||
			!strings.Contains(string(c.body), `"content":" 1"`) || !strings.HasSuffix(string(c.body), "data: [DONE]\n\n") {
			t.Errorf("got %s %+v", c, c.head)
		}
	}
	if f.up.count() != 1 {
		t.Errorf("%d calls", f.up.count())
	}
	// An upstream may answer a streamed call with a whole reply.
	f.ask(t, chat("ho", streamed))
	if c := f.ask(t, chat("ho")); c.head.Cache != llm.CacheHit || string(c.body) != chatReply(" 2") {
		t.Errorf("got %s", c)
	}
}

// A stream that did not end as it should is not stored.
func TestIncompleteStreams(t *testing.T) {
	done := events("a")
	response := func(kind string) string { return `data: {"type":"response.` + kind + `","response":{}}` + "\n\n" }
	for _, test := range []struct {
		name   string
		op     llm.Operation
		events []string
		stored bool
	}{
		{"whole", llm.Chat, done, true},
		{"comments", llm.Chat, append([]string{": keep-alive\n\n"}, done...), true},
		{"line ends", llm.Chat, []string{"data:{}\r\n\r\n", "data: [DONE]\r\n\r\n"}, true},
		{"no end", llm.Chat, done[:1], false},
		{"nothing", llm.Chat, []string{": x\n\n"}, false},
		{"after the end", llm.Chat, append(append([]string{}, done...), done[0]), false},
		{"error", llm.Chat, append([]string{"data: {\"error\":{\"message\":\"x\"}}\n\n"}, done...), false},
		{"broken off", llm.Chat, append([]string{"data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n"}, done...), false},
		{"no JSON", llm.Chat, append([]string{"data: {\n\n"}, done...), false},
		{"two lines", llm.Chat, append([]string{"data: {\ndata: }\n\n"}, done...), false},
		{"response", llm.Response, []string{response("created"), response("completed")}, true},
		{"cut response", llm.Response, []string{response("created"), response("incomplete")}, true},
		{"failed response", llm.Response, []string{response("created"), response("failed")}, false},
		{"unfinished response", llm.Response, []string{response("created")}, false},
		{"named the end, and is none", llm.Response, []string{response("created"), "event: response.completed\n" + response("in_progress")}, false},
		{"named the end, and says nothing", llm.Response, []string{response("created"), "event: response.completed\ndata: {\"response\":{}}\n\n"}, false},
		{"named otherwise", llm.Response, []string{response("created"), "event: x\n" + response("completed")}, true},
		{"the end has an id", llm.Chat, []string{done[0], "id: " + strings.Repeat("1", 70) + "\ndata: [DONE]\n\n"}, true},
		{"chat's end", llm.Response, []string{response("created"), done[1]}, false},
	} {
		f := newFixture(t, withStreams)
		f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
			return answerAs(out, llm.EventStream, test.events)
		}
		want := llm.CacheMiss
		if test.stored {
			want = llm.CacheHit
		}
		for range 2 {
			f.ask(t, chat("hi", streamed, unkept, func(r *llm.Request) { r.Op = test.op }))
		}
		c := f.ask(t, chat("hi", streamed, unkept, func(r *llm.Request) { r.Op = test.op }))
		if c.head.Cache != want || string(c.body) != strings.Join(test.events, "") {
			t.Errorf("%s: got %s", test.name, c)
		}
	}
}

// Events that an upstream sends without having been asked for them are not
// taken for a whole reply.
func TestUnaskedStream(t *testing.T) {
	f := newFixture(t, withStreams)
	f.up.serve = func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		return answerAs(out, llm.EventStream, events("a"))
	}
	for range 2 {
		if c := f.ask(t, chat("hi")); c.head.Cache != llm.CacheMiss {
			t.Errorf("got %s", c)
		}
	}
}
