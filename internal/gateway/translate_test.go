package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/testkit"
)

// hearing is a request that a service got.
type hearing struct {
	path, body string
	header     http.Header
}

// speaker is a service that speaks some dialect: it answers by path.
type speaker struct {
	mu    sync.Mutex
	heard []hearing
	reply map[string]func(w http.ResponseWriter) // by path; 404 for any other
}

func (s *speaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path != "/v1/models" {
		s.mu.Lock()
		s.heard = append(s.heard, hearing{r.URL.Path, string(body), r.Header})
		s.mu.Unlock()
	}
	if reply := s.reply[r.URL.Path]; reply != nil {
		reply(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(404)
	_, _ = io.WriteString(w, `{"detail":"Not Found"}`)
}

// last gives what was heard last, and how often.
func (s *speaker) last() (hearing, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heard) == 0 {
		return hearing{}, 0
	}
	return s.heard[len(s.heard)-1], len(s.heard)
}

// replies answers with a body: JSON, or a stream where it has events.
func replies(body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(body, "data:") || strings.HasPrefix(body, "event:") {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(w, body)
	}
}

func speaking(t *testing.T, s *speaker, protocol, more string) (url string) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	_, url = run(t, loadYAML(t, "upstreams:\n- {name: up, protocol: "+protocol+", base_url: '"+srv.URL+"/v1', api_key: sk-up, models: [m]}\n"+more), io.Discard)
	return url
}

// tell sends a request and gives the reply.
func tell(t *testing.T, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		text = append(text, " <"+err.Error()+">"...)
	}
	return resp, string(text)
}

const (
	chatReply    = `{"id":"c1","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"It is so."},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":4,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":5}}}`
	chatBegin    = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"It "},"finish_reason":null}]}` + "\n\n"
	chatEnd      = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"is so."},"finish_reason":"length"}]}` + "\n\n" + `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4}}` + "\n\ndata: [DONE]\n\n"
	messageReply = `{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[{"type":"thinking","thinking":"Hm.","signature":"c2ln"},{"type":"text","text":"It is so."},{"type":"tool_use","id":"toolu_1","name":"f","input":{"x":1}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":2,"cache_read_input_tokens":5,"output_tokens":4}}`
	messageAsked = `{"model":"m","max_tokens":9,"system":"Be brief.","messages":[{"role":"user","content":[{"type":"text","text":"Is it?","cache_control":{"type":"ephemeral"}}]}],"top_k":3}`
	chatAsked    = `{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Is it?"}],"logprobs":true}`
)

func wantHas(t *testing.T, name, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %s in %s", name, want, text)
		}
	}
}

// TestMessagesOverChat: a client of the Messages API uses a service that has chat
// completions alone.
func TestMessagesOverChat(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	url := speaking(t, s, "openai", "")
	resp, text := tell(t, url+"/v1/messages", messageAsked, "X-Api-Key", "unused", "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "x")
	wantHas(t, "reply", text, `"type":"message"`, `"text":"It is so."`, `"stop_reason":"end_turn"`, `"input_tokens":2`, `"cache_read_input_tokens":5`, `"output_tokens":4`)
	if got := resp.Header.Get("X-Sluice-Lossy"); got != "cache_control, top_k" && got != "top_k, cache_control" {
		t.Errorf("lost %q", got)
	}
	got, n := s.last()
	wantHas(t, "asked", got.body, `"role":"system","content":"Be brief."`, `"role":"user"`, `"max_tokens":9`)
	if got.path != "/v1/chat/completions" || got.header.Get("Authorization") != "Bearer sk-up" || got.header.Get("X-Api-Key")+got.header.Get("Anthropic-Beta")+got.header.Get("Anthropic-Version") != "" {
		t.Errorf("asked %s with %v", got.path, got.header)
	}
	// What the service lacks is known from then on.
	if n != 2 {
		t.Errorf("asked %d times", n)
	}
	tell(t, url+"/v1/messages", messageAsked)
	if _, again := s.last(); again != n+1 {
		t.Errorf("asked %d times more", again-n)
	}
	resp, text = tell(t, url+"/v1/messages/count_tokens", messageAsked)
	if wantHas(t, "count", text, `{"input_tokens":`); resp.Header.Get("X-Sluice-Lossy") != "count_tokens" {
		t.Errorf("%v", resp.Header)
	}
	for body, want := range map[string]string{
		`{"model":"m","messages":7}`: `"type":"invalid_request_error"`, `{"model":"none","messages":[]}`: `"type":"not_found_error"`, `{`: `"type":"error"`,
	} {
		if resp, text := tell(t, url+"/v1/messages", body); resp.StatusCode < 400 || !strings.Contains(text, want) || !strings.HasPrefix(text, `{"type":"error"`) {
			t.Errorf("%s: %d %s", body, resp.StatusCode, text)
		}
	}
}

// TestStrictTranslation: what cannot be carried over is refused, where that is wanted.
func TestStrictTranslation(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	url := speaking(t, s, "openai, messages: translate", "translate: {strict: true}\n")
	resp, text := tell(t, url+"/v1/messages", messageAsked)
	if _, n := s.last(); resp.StatusCode != 400 || n != 0 {
		t.Errorf("%d after %d requests", resp.StatusCode, n)
	}
	wantHas(t, "refusal", text, `{"type":"error","error":{"type":"invalid_request_error"`, "top_k", "cache_control")
	if resp, text := tell(t, url+"/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}`); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestMessagesStreamOverChat: events come as the dialect has them, however the stream ends.
func TestMessagesStreamOverChat(t *testing.T) {
	for name, c := range map[string]struct {
		reply func(http.ResponseWriter)
		want  []string
		not   string
	}{
		"whole":       {replies(chatBegin + chatEnd), []string{"event: message_start\n", `"text":"It "`, `"stop_reason":"max_tokens"`, `"output_tokens":4`, "event: message_stop\n"}, "error"},
		"said in one": {replies(chatReply), []string{"event: message_start\n", `"text":"It is so."`, `"stop_reason":"end_turn"`, "event: message_stop\n"}, "error"},
		"told": {replies(chatBegin + `data: {"error":{"message":"The engine is overloaded.","type":"server_error"}}` + "\n\n"),
			[]string{`"text":"It "`, "event: error\n", `{"type":"error","error":{"type":`, "The engine is overloaded."}, "message_stop"},
		"ended early": {replies(chatBegin), []string{`"text":"It "`, "event: error\n", "complete"}, "message_stop"},
		"cut": {func(w http.ResponseWriter) {
			replies(chatBegin)(w)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, []string{`"text":"It "`, "event: error\n", `{"type":"error","error":{"type":`, "<"}, "message_stop"},
	} {
		s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": c.reply}}
		url := speaking(t, s, "openai, messages: translate", "route: {breaker: {failures: 1000}}\n")
		resp, text := tell(t, url+"/v1/messages", `{"stream":true,`+messageAsked[1:])
		if wantHas(t, name, text, c.want...); strings.Contains(text, c.not) || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
			t.Errorf("%s: %v %s", name, resp.Header, text)
		}
		got, _ := s.last()
		wantHas(t, name, got.body, `"stream":true`)
	}
}

// TestStreamThatBeginsWithItsError: nothing has been sent yet, so the reply has the status of
// an error, goes to the client in its dialect and is counted as one.
func TestStreamThatBeginsWithItsError(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){
		"/v1/chat/completions": replies(`data: {"error":{"message":"The engine is overloaded.","type":"server_error"}}` + "\n\n"),
	}}
	for _, stream := range []string{"", `"stream":true,`} {
		url := speaking(t, s, "openai, messages: translate", "route: {retry: {max_attempts: 1}}\n")
		resp, text := tell(t, url+"/v1/messages", "{"+stream+messageAsked[1:])
		if resp.StatusCode != 502 || !strings.HasPrefix(text, `{"type":"error","error":{"type":"api_error"`) || !strings.Contains(text, "The engine is overloaded.") {
			t.Errorf("%q: %d %s", stream, resp.StatusCode, text)
		}
	}
}

// TestWhatADialectLacks: a request that a service's API has nothing for goes to another one of
// the model, and says nothing of the service's state, however often it comes.
func TestWhatADialectLacks(t *testing.T) {
	lacking := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/messages": replies(messageReply)}}
	having := &speaker{reply: map[string]func(http.ResponseWriter){
		"/v1/embeddings": replies(`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]}],"model":"m"}`), "/v1/completions": replies(`{"choices":[{"text":"a"}]}`),
	}}
	srv := httptest.NewServer(having)
	t.Cleanup(srv.Close)
	const settings = "route: {breaker: {failures: 2}}\ncache: {enabled: false}\n"
	for protocol, path := range map[string]string{"anthropic": "/v1/embeddings", "gemini": "/v1/completions"} {
		both := speaking(t, lacking, protocol, "- {name: other, base_url: '"+srv.URL+"/v1', models: [m]}\n"+settings)
		alone := speaking(t, lacking, protocol, settings)
		for range 6 {
			if resp, text := tell(t, both+path, `{"model":"m","input":"a","prompt":"a"}`); resp.StatusCode != 200 || resp.Header.Get("X-Sluice-Upstream") != "other" {
				t.Errorf("%s: %d %s", protocol, resp.StatusCode, text)
			}
			resp, text := tell(t, alone+path, `{"model":"m","input":"a","prompt":"a"}`)
			if resp.StatusCode != 501 || resp.Header.Get("X-Should-Retry") != "false" {
				t.Errorf("%s: %d %v", protocol, resp.StatusCode, resp.Header)
			}
			wantHas(t, protocol, text, "has no "+path, `"type":"invalid_request_error"`)
		}
	}
	if resp, text := tell(t, speaking(t, lacking, "anthropic", settings)+"/v1/chat/completions", chatAsked); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestStrictWhereItIsNotKnown: what cannot be carried over is refused too where the service
// may have spoken the client's dialect, and did not.
func TestStrictWhereItIsNotKnown(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	url := speaking(t, s, "openai", "translate: {strict: true}\n")
	resp, text := tell(t, url+"/v1/messages", messageAsked)
	if got, _ := s.last(); resp.StatusCode != 400 || got.path != "/v1/messages" {
		t.Errorf("%d %s, asked %s", resp.StatusCode, text, got.path)
	}
}

// TestErrorsAreTranslated: an error of the service is told in the client's dialect, with
// what it said and what its head says of trying again.
func TestErrorsAreTranslated(t *testing.T) {
	limited := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
		_, _ = io.WriteString(w, `{"error":{"message":"Too many.","type":"rate_limit_error","code":"slow"}}`)
	}
	for _, stream := range []string{"", `"stream":true,`} {
		s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": limited}}
		url := speaking(t, s, "openai, messages: translate", "route: {retry: {max_attempts: 1}}\n")
		resp, text := tell(t, url+"/v1/messages", "{"+stream+messageAsked[1:])
		if resp.StatusCode != 429 || strings.TrimSpace(text) != `{"type":"error","error":{"type":"rate_limit_error","message":"Too many.","details":{"error_code":"slow"}}}` || resp.Header.Get("Retry-After") != "7" {
			t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
		}
	}
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(`<html>`)}}
	url := speaking(t, s, "openai, messages: translate", "")
	if resp, text := tell(t, url+"/v1/messages", messageAsked); resp.StatusCode != 502 || !strings.HasPrefix(text, `{"type":"error"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestChatOverMessages: a client of OpenAI's uses a service that speaks the Messages API.
func TestChatOverMessages(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/messages": replies(messageReply)}}
	url := speaking(t, s, "anthropic", "")
	resp, text := tell(t, url+"/v1/chat/completions", chatAsked, "Authorization", "Bearer unused")
	wantHas(t, "reply", text, `"object":"chat.completion"`, `"content":"It is so."`, `"reasoning_content":"Hm."`, `"signature":"c2ln"`, `"arguments":"{\"x\":1}"`, `"id":"toolu_1"`,
		`"finish_reason":"tool_calls"`, `"prompt_tokens":7`, `"cached_tokens":5`, `"completion_tokens":4`)
	if got := resp.Header.Get("X-Sluice-Lossy"); got != "logprobs" {
		t.Errorf("lost %q", got)
	}
	got, _ := s.last()
	wantHas(t, "asked", got.body, `"system":`, `"Be brief."`, `"max_tokens":4096`)
	if got.header.Get("X-Api-Key") != "sk-up" || got.header.Get("Authorization") != "" || got.header.Get("Anthropic-Version") != "2023-06-01" {
		t.Errorf("%v", got.header)
	}
	if resp, text := tell(t, url+"/v1/embeddings", `{"model":"m","input":"a"}`); resp.StatusCode != 501 || !strings.Contains(text, "/v1/embeddings") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestSameDialectIsUntouched: where both ends speak the same not a byte changes, nor does
// what the head says of versions.
func TestSameDialectIsUntouched(t *testing.T) {
	odd := strings.Replace(messageReply, `"usage"`, ` "new_member" : [ 1 ],  "usage"`, 1)
	const stream = "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: future\ndata: {\"type\":\"future\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/messages": replies(odd), "/v1/messages/count_tokens": replies(`{"input_tokens": 3}`)}}
	for _, protocol := range []string{"anthropic", "openai", "openai, messages: native"} {
		url := speaking(t, s, protocol, "")
		body := strings.Replace(messageAsked, `"top_k"`, `"future" : {}, "top_k"`, 1)
		resp, text := tell(t, url+"/v1/messages", body, "X-Api-Key", "client", "Anthropic-Version", "2099-01-01", "Anthropic-Beta", "b1,b2")
		got, _ := s.last()
		if text != odd || got.body != body || resp.Header.Get("X-Sluice-Lossy") != "" {
			t.Errorf("%s: asked %s, got %s", protocol, got.body, text)
		}
		if got.header.Get("Anthropic-Version") != "2099-01-01" || got.header.Get("Anthropic-Beta") != "b1,b2" || got.header.Get("X-Api-Key") == "client" {
			t.Errorf("%s: %v", protocol, got.header)
		}
		if _, text := tell(t, url+"/v1/messages/count_tokens", body); text != `{"input_tokens": 3}` {
			t.Errorf("%s: %s", protocol, text)
		}
		s.reply["/v1/messages"] = replies(stream)
		if _, text := tell(t, url+"/v1/messages", `{"stream":true,`+messageAsked[1:]); text != stream {
			t.Errorf("%s: %s", protocol, text)
		}
		s.reply["/v1/messages"] = replies(odd)
	}
}

// TestKeysOfOtherDialects: a client's key is taken from where its SDK puts it.
func TestKeysOfOtherDialects(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	url := speaking(t, s, "openai, messages: translate", fmt.Sprintf("server: {api_keys: [{name: a, hash: %q}]}\n", front.HashKey("secret")))
	for _, header := range [][]string{{"X-Api-Key", "secret"}, {"X-Goog-Api-Key", "secret"}, {"Authorization", "Bearer secret"}} {
		if resp, text := tell(t, url+"/v1/messages", messageAsked, header...); resp.StatusCode != 200 {
			t.Errorf("%v: %d %s", header, resp.StatusCode, text)
		}
		if got, _ := s.last(); strings.Contains(fmt.Sprint(got), "secret") {
			t.Errorf("told %v", got)
		}
	}
	for _, header := range [][]string{{}, {"X-Api-Key", "other"}, {"X-Api-Key", strings.Repeat("x", 600)}, {"X-Goog-Api-Key", ""}, {"Authorization", "Bearer other", "X-Api-Key", "secret"}} {
		resp, text := tell(t, url+"/v1/messages", messageAsked, header...)
		if resp.StatusCode != 401 || !strings.HasPrefix(text, `{"type":"error","error":{"type":"authentication_error"`) {
			t.Errorf("%v: %d %s", header, resp.StatusCode, text)
		}
	}
}

// TestClientOfTranslatedStreamLeaves: the service is told.
func TestClientOfTranslatedStreamLeaves(t *testing.T) {
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" {
			w.WriteHeader(404)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		replies(chatBegin)(w)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	t.Cleanup(srv.Close)
	_, url := run(t, loadYAML(t, "upstreams: [{name: up, base_url: '"+srv.URL+"/v1', models: [m]}]\n"), io.Discard)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/messages", strings.NewReader(`{"stream":true,`+messageAsked[1:]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	testkit.Until(t, "the service is told", func() bool {
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
}

// TestMessagesAreCached: replies in the Messages API are stored as others are, whole and
// streamed, and a stream is made of a whole one; none is given to another dialect.
func TestMessagesAreCached(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply)}}
	url := speaking(t, s, "openai, messages: translate", "cache: {streams: true}\n")
	const body = `{"model":"m","temperature":0,"max_tokens":9,"messages":[{"role":"user","content":"Is it?"}]}`
	ask := func(path, body, want string) string {
		t.Helper()
		resp, text := tell(t, url+path, body)
		if got := resp.Header.Get("X-Cache"); got != want || resp.StatusCode != 200 {
			t.Errorf("%d %s of %s: %s, want %s", resp.StatusCode, body, text, got, want)
		}
		return text
	}
	whole := ask("/v1/messages", body, "MISS")
	if again := ask("/v1/messages", body, "HIT"); again != whole {
		t.Errorf("%s became %s", whole, again)
	}
	stream := ask("/v1/messages", `{"stream":true,`+body[1:], "HIT")
	wantHas(t, "replayed", stream, "event: message_start\n", `"text":"It is so."`, `"stop_reason":"end_turn"`, `"output_tokens":4`, "event: message_stop\n")
	ask("/v1/chat/completions", body, "MISS")
	s.reply["/v1/chat/completions"] = replies(chatBegin + chatEnd)
	other := strings.Replace(`{"stream":true,`+body[1:], "Is it?", "Was it?", 1)
	first := ask("/v1/messages", other, "MISS")
	if again := ask("/v1/messages", other, "HIT"); again != first {
		t.Errorf("%s became %s", first, again)
	}
	// A stream that failed is not stored.
	s.reply["/v1/chat/completions"] = replies(chatBegin + `data: {"error":{"message":"No."}}` + "\n\n")
	failing := strings.Replace(other, "Was it?", "Will it?", 1)
	ask("/v1/messages", failing, "MISS")
	ask("/v1/messages", failing, "MISS")
}

// TestLimitIsInTheKey: a service that requires a limit of its replies cuts them at the configured
// one where the client sets none, so that a reply of another limit is another reply. Where no
// service requires one nothing that is stored is lost.
func TestLimitIsInTheKey(t *testing.T) {
	for protocol, counts := range map[string]bool{"anthropic": true, "openai": false} {
		s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/messages": replies(messageReply), "/v1/chat/completions": replies(chatReply)}}
		srv := httptest.NewServer(s)
		t.Cleanup(srv.Close)
		with := func(more string) *config.Config {
			return loadYAML(t, "upstreams:\n- {name: up, protocol: "+protocol+", base_url: '"+srv.URL+"/v1', api_key: sk-up, models: [m]}\n"+more)
		}
		g, url := run(t, with(""), io.Discard)
		ask := func(want string) {
			t.Helper()
			resp, text := tell(t, url+"/v1/chat/completions", `{"model":"m","temperature":0,"messages":[{"role":"user","content":"Is it?"}]}`)
			if got := resp.Header.Get("X-Cache"); got != want || resp.StatusCode != 200 {
				t.Errorf("%s: %d %s: %q, want %q", protocol, resp.StatusCode, text, got, want)
			}
		}
		reload := func(more string) {
			t.Helper()
			if err := g.Reload(with(more)); err != nil {
				t.Fatal(err)
			}
		}
		ask("MISS")
		ask("HIT")
		reload("translate: {max_tokens: 9}\n")
		if counts {
			ask("MISS")
			if last, _ := s.last(); !strings.Contains(last.body, `"max_tokens":9`) {
				t.Errorf("asked with %s", last.body)
			}
		}
		ask("HIT")
		reload("translate: {max_tokens: 4096}\n")
		ask("HIT")
		reload("translate: {strict: true, max_tokens: 9}\n")
		ask("HIT")
	}
}

// TestStrictAnswersNothingLossy: what was stored without a part of its request answers none where
// such requests are refused, and everything else that was stored still does.
func TestStrictAnswersNothingLossy(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/chat/completions": replies(chatReply), "/v1/embeddings": replies(`{"data":[{"index":0,"embedding":[1,2]}],"usage":null}`)}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	with := func(strict string) *config.Config {
		return loadYAML(t, "upstreams:\n- {name: up, protocol: openai, base_url: '"+srv.URL+"/v1', api_key: sk-up, models: [m]}\ntranslate: {strict: "+strict+"}\n")
	}
	g, url := run(t, with("false"), io.Discard)
	ask := func(when, path, body, lossy, want string) {
		t.Helper()
		resp, text := tell(t, url+path, body)
		got := resp.Header.Get("X-Cache")
		if resp.StatusCode != 200 {
			got = fmt.Sprint(resp.StatusCode)
		}
		if got != want || resp.StatusCode == 200 && resp.Header.Get("X-Sluice-Lossy") != lossy {
			t.Errorf("%s: %s %s: %d %v %s, want %s", when, path, body, resp.StatusCode, resp.Header, text, want)
		}
	}
	all := func(when, losing, others string) {
		t.Helper()
		const hello = `"model":"m","max_tokens":9,"temperature":0,"messages":[{"role":"user","content":"Is it?"}]}`
		ask(when, "/v1/messages", `{"top_k":4,`+hello, "top_k", losing)
		ask(when, "/v1/messages", `{`+hello, "", others)
		ask(when, "/v1/chat/completions", `{`+hello, "", others)
		ask(when, "/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"a"}]},"taskType":"RETRIEVAL_QUERY"}`, "taskType", losing)
	}
	all("first", "MISS", "MISS")
	all("again", "HIT", "HIT")
	for strict, losing := range map[string]string{"true": "400", "false": "HIT"} {
		if err := g.Reload(with(strict)); err != nil {
			t.Fatal(err)
		}
		all("strict: "+strict, losing, "HIT")
	}
}

// TestContentIsCached: replies in Google's API are stored as others are, whole and streamed, a
// stream is made of a whole one, and what may act or differ is asked for again.
func TestContentIsCached(t *testing.T) {
	s := geminiService()
	s.replies[methodsOf+"embedContent"], s.replies[methodsOf+"batchEmbedContents"] = `{"embedding":{"values":[1]}}`, `{"embeddings":[{"values":[1]}]}`
	url := gatewayTo(t, s, "gemini", "/v1beta", "cache: {streams: true, when: deterministic}\n")
	ask := func(method, body, want string) string {
		t.Helper()
		resp, text := send(t, "POST", url+methodsOf+method, body)
		if got := resp.Header.Get("X-Cache"); got != want || resp.StatusCode != 200 {
			t.Errorf("%d %s of %s: %q, want %q", resp.StatusCode, method, body, got, want)
		}
		return text
	}
	const body, exact = `{"contents":[{"parts":[{"text":"Is it?"}]}]}`, `"generationConfig":{"temperature":0},`
	asked := func(first string) string { return "{" + first + body[1:] }
	if first := ask("generateContent", asked(exact), "MISS"); ask("generateContent?$alt=json", asked(exact), "HIT") != first {
		t.Error("another reply")
	}
	if got, want := ask("streamGenerateContent?alt=sse", asked(exact), "HIT"), "data: "+contentReply+"\n\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if first := ask("streamGenerateContent?alt=sse", asked(`"generation_config":{"seed":1},`), "MISS"); ask("streamGenerateContent?alt=sse", asked(`"generation_config":{"seed":1},`), "HIT") != first {
		t.Error("another stream")
	}
	// Whether a stream is an array is how it is written, and no other reply.
	if got, want := ask("streamGenerateContent", asked(exact), "HIT"), "["+contentReply+"\n]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if first := ask("streamGenerateContent", asked(`"generation_config":{"seed":2},`), "MISS"); first != arrayOf(contentStream) || ask("streamGenerateContent?alt=sse", asked(`"generation_config":{"seed":2},`), "HIT") != contentStream {
		t.Error("another array")
	}
	for method, body := range map[string]string{"embedContent": `{"content":{"parts":[{"text":"a"}]}}`, "batchEmbedContents": `{"requests":[{"content":{"parts":[{"text":"b"}]}}]}`} {
		ask(method, body, "MISS")
		ask(method, body, "HIT")
	}
	for _, first := range []string{"", exact + `"tools":[{"googleSearch":{}},{"codeExecution":{}}],`, exact + `"tools":{},`, exact + `"cachedContent":"cachedContents/a",`} {
		ask("generateContent", asked(first), "BYPASS")
	}
	for _, reply := range []string{
		strings.Replace(contentReply, "STOP", "SAFETY", 1), strings.Replace(contentReply, `"finishReason": "STOP",`, "", 1), `{"promptFeedback":{"blockReason":"OTHER"}}`, `{"candidates":[],"usageMetadata":{}}`, `{"candidates":[7],"usageMetadata":{}}`,
	} {
		s.set(methodsOf+"generateContent", reply)
		other := asked(exact + `"labels":{"a":"` + strconv.Itoa(len(reply)) + `"},`)
		ask("generateContent", other, "MISS")
		ask("generateContent", other, "MISS")
	}
}

// TestCutContent: a stream of Google's API whose connection ends before a candidate said why
// it ended was cut, also for clients that speak it.
func TestCutContent(t *testing.T) {
	one, two, _ := strings.Cut(contentStream, "\r\n\r\n")
	for stream, whole := range map[string]bool{contentStream: true, one + "\r\n\r\n": false, one + "\r\n\r\n" + two[:20]: false, strings.TrimSpace(contentStream): true} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+stream)
			_ = conn.Close()
		}))
		t.Cleanup(srv.Close)
		_, url := run(t, loadYAML(t, "upstreams:\n- {name: up, protocol: gemini, base_url: '"+srv.URL+"/v1beta', models: [m]}\n"), io.Discard)
		_, text := tell(t, url+"/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"Is it?"}]}]}`)
		if failed := strings.Contains(text, `"error"`); failed == whole {
			t.Errorf("of %q a client gets %q", stream, text)
		}
		resp, err := http.Post(url+"/v1beta/models/m:streamGenerateContent", "application/json", strings.NewReader(`{"contents":[{"parts":[{"text":"Is it?"}]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		array, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if failed := strings.Contains(string(array), `"error"`); failed == whole || (err != nil) == whole || !json.Valid(array) {
			t.Errorf("of %q a client gets %q, %v", stream, array, err)
		}
	}
}
