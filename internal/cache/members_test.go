package cache

import (
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/goccy/go-yaml"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// described are the members of an operation's request and of its reply.
type described struct{ request, reply []string }

// listedMembers is what OpenAI's description says of each operation, for machines that
// have no copy of it; TestMembers compares them.
func listedMembers() map[llm.Operation]described {
	words := strings.Fields
	return map[llm.Operation]described{
		llm.Chat: {
			words(`audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata modalities model
				moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort
				response_format safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p
				user verbosity web_search_options`),
			words(`choices created id metadata model moderation obfuscation object service_tier system_fingerprint usage`),
		},
		llm.Completion: {
			words(`best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty prompt seed stop stream stream_options suffix
				temperature top_p user`),
			words(`choices created id model object system_fingerprint usage`),
		},
		llm.Embedding: {words(`dimensions encoding_format input model user`), words(`data model object usage`)},
		llm.Response: {
			words(`background context_management conversation include input instructions max_output_tokens max_tool_calls metadata model moderation
				parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning
				safety_identifier service_tier store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user`),
			words(`background completed_at conversation created_at error id incomplete_details instructions max_output_tokens max_tool_calls metadata
				model moderation object output output_text parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
				prompt_cache_retention reasoning safety_identifier service_tier status temperature text tool_choice tools top_logprobs top_p
				truncation usage user`),
		},
	}
}

func paths() map[llm.Operation]string {
	return map[llm.Operation]string{
		llm.Chat: "/chat/completions", llm.Completion: "/completions", llm.Embedding: "/embeddings", llm.Response: "/responses",
	}
}

// description reads OpenAI's own description of its API, what it says of whole
// replies and of the events of streams.
func description(t *testing.T) map[llm.Operation]described {
	t.Helper()
	f, err := os.Open(testkit.Recorded(t, "conformance/openai-openapi/openapi.yaml.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.NewDecoder(plain).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	at := func(v any, path ...string) any {
		for _, name := range path {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
	var members func(schema any, into map[string]bool)
	members = func(schema any, into map[string]bool) {
		if ref, ok := at(schema, "$ref").(string); ok {
			members(at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), into)
		}
		for _, several := range []string{"allOf", "anyOf", "oneOf"} {
			list, _ := at(schema, several).([]any)
			for _, s := range list {
				members(s, into)
			}
		}
		properties, _ := at(schema, "properties").(map[string]any)
		for name := range properties {
			into[name] = true
		}
	}
	list := func(schemas ...any) (names []string) {
		all := map[string]bool{}
		for _, s := range schemas {
			members(s, all)
		}
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	all := map[llm.Operation]described{}
	for op, path := range paths() {
		post := at(doc, "paths", path, "post")
		replies := []any{at(post, "responses", "200", "content", "application/json", "schema")}
		if op == llm.Chat { // of Responses each event has a whole one, of others they are as whole replies
			replies = append(replies, at(post, "responses", "200", "content", "text/event-stream", "schema"))
		}
		all[op] = described{list(at(post, "requestBody", "content", "application/json", "schema")), list(replies...)}
	}
	return all
}

// inKey reports whether two requests that differ in one member have two keys.
func inKey(t *testing.T, op llm.Operation, member string) bool {
	t.Helper()
	k := newKeyer()
	key := func(value string) Key {
		req := &llm.Request{Op: op, Path: "/v1" + paths()[op], Body: fmt.Appendf(nil, `{%q:%s}`, member, value)}
		key, _ := k.key(req, ScopeKey, [32]byte{}, true)
		if key == (Key{}) {
			t.Fatalf("%v: no key with %s", op, member)
		}
		return key
	}
	return key(`"a"`) != key(`"b"`)
}

// Each member of a request that stands in the reply too is in the key, and the
// documentation says of each what is so.
func TestMembers(t *testing.T) {
	doc, err := os.ReadFile(filepath.FromSlash("../../docs/caching.md"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, all map[llm.Operation]described) {
		for op, path := range paths() {
			left, repeated := []string{}, []string{}
			for _, m := range all[op].request {
				in, echoed := inKey(t, op, m), slices.Contains(all[op].reply, m)
				switch {
				case m == "model", op == llm.Embedding && m == "input": // in the key otherwise
					if in {
						t.Errorf("%v: %s is in the key twice", op, m)
					}
					continue
				case !in:
					left = append(left, m)
				}
				if echoed {
					repeated = append(repeated, m)
				}
				if echoed && !in {
					t.Errorf("%v: the reply repeats %s, which is not in the key", op, m)
				}
			}
			row := fmt.Sprintf("| `%s` | %s | %s |", path, quoted(left), quoted(repeated))
			if !strings.Contains(string(doc), row) {
				t.Errorf("docs/caching.md has no row %s", row)
			}
		}
	}
	t.Run("known", func(t *testing.T) { check(t, listedMembers()) })
	t.Run("described", func(t *testing.T) {
		all := description(t)
		check(t, all)
		for op, want := range all {
			if got := listedMembers()[op]; !slices.Equal(got.request, want.request) || !slices.Equal(got.reply, want.reply) {
				t.Errorf("%v: known are %q, described %q", op, got, want)
			}
		}
	})
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

// A reply that says who asked, which no description tells of, is for nobody else:
// not from memory, and not by joining its call.
func TestRepeatedAsker(t *testing.T) {
	for _, member := range []string{"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, withStreams)
			hold := make(chan struct{})
			f.up.serve = func(_ context.Context, _ int, r *llm.Request, out llm.Sink) error {
				<-hold
				body := string(r.Body)
				at := strings.Index(body, `"`+member)
				said := strings.TrimSuffix(strings.TrimSuffix(body[at:], "}"), `,"stream":true`)
				if r.Stream {
					return answerAs(out, llm.EventStream, []string{"data: {" + said + `,"choices":[]}` + "\n\n", "data: [DONE]\n\n"})
				}
				return answer(out, strings.Replace(chatReply("x"), "{", "{"+said+",", 1))
			}
			ask := func(who string, options ...func(*llm.Request)) *llm.Request {
				return chat("hi", append([]func(*llm.Request){func(r *llm.Request) {
					set(r, strings.TrimSuffix(string(r.Body), "}")+fmt.Sprintf(`,%q:%q}`, member, who))
				}}, options...)...)
			}
			for _, kind := range [][]func(*llm.Request){nil, {streamed}} {
				var calls []*call
				for _, who := range []string{"alice", "bob", "bob"} {
					calls = append(calls, f.start(ask(who, kind...)))
					synctest.Wait()
				}
				for range 2 {
					hold <- struct{}{}
				}
				for i, want := range []string{"MISS alice", "MISS bob", "COALESCED bob"} {
					<-calls[i].done
					status, who, _ := strings.Cut(want, " ")
					if c := &calls[i].client; c.head.Cache.String() != status || !strings.Contains(string(c.body), fmt.Sprintf(`%q:%q`, member, who)) {
						t.Errorf("%s: %s, want %s", member, c, want)
					}
				}
				go func() { hold <- struct{}{} }()
				if c := f.ask(t, ask("alice", kind...)); c.head.Cache != llm.CacheMiss {
					t.Errorf("%s: %s", member, c)
				}
			}
		})
	}
}
