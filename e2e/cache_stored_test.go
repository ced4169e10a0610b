package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"

	"sluice/internal/testkit"
)

// newKeeping is a model service that keeps each response under an id of its own,
// as OpenAI does, and counts a token for each word of an embedding.
func newKeeping(t *testing.T) (config string) {
	var mu sync.Mutex
	kept, made := map[string]bool{}, 0
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		var req struct {
			Previous string `json:"previous_response_id"`
			User     string
			Input    json.RawMessage
		}
		_ = json.NewDecoder(r.Body).Decode(&req)
		switch {
		case r.Method == "GET":
			io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
		case r.Method == "DELETE":
			delete(kept, path.Base(r.URL.Path))
			io.WriteString(w, `{"deleted":true}`)
		case path.Base(r.URL.Path) == "embeddings":
			var list []string
			if json.Unmarshal(req.Input, &list) != nil {
				list = []string{string(req.Input)}
			}
			var data []string
			words := 0
			for i, text := range list {
				words += len(strings.Fields(text))
				data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[0.5]}`, i))
			}
			fmt.Fprintf(w, `{"object":"list","id":"e","model":"m","data":[%s],"usage":{"prompt_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{}}}`,
				strings.Join(data, ","), words, words)
		case req.Previous != "" && !kept[req.Previous]:
			w.WriteHeader(400)
			io.WriteString(w, `{"error":{"message":"not found","type":"invalid_request_error","param":null,"code":"previous_response_not_found"}}`)
		default:
			made++
			id := fmt.Sprintf("resp_%d", made)
			kept[id] = true
			fmt.Fprintf(w, `{"id":%q,"object":"response","status":"completed","output":[],"user":%q,"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`, id, req.User)
		}
	}))
	return fmt.Sprintf("upstreams: [{name: up, base_url: %q}]\n", url+"/v1")
}

func idOf(t *testing.T, a answer) string {
	t.Helper()
	var r struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || r.ID == "" {
		t.Fatalf("%s: %v", a, err)
	}
	return r.ID
}

// TestCacheStoredResponses: a response that the upstream keeps is its caller's
// own, to go on from and to delete.
func TestCacheStoredResponses(t *testing.T) {
	t.Parallel()
	in := start(t, newKeeping(t))
	post := func(more string) answer {
		return request(t, "POST", in.url+"/v1/responses", `{"model":"m","input":"hello"`+more+`}`)
	}
	first, second := post(""), post("")
	second.status200(t, "again", "BYPASS")
	if idOf(t, first) == idOf(t, second) {
		t.Error("two callers have one response")
	}
	if a := request(t, "DELETE", in.url+"/v1/responses/"+idOf(t, first), ""); a.status != 200 {
		t.Error(a)
	}
	post(`,"previous_response_id":"`+idOf(t, second)+`"`).status200(t, "the other one goes on", "BYPASS")
	// One that is not kept may come from memory, for who says the same.
	post(`,"store":false,"user":"a"`).status200(t, "not kept", "MISS")
	post(`,"store":false,"user":"a"`).status200(t, "not kept", "HIT")
	post(`,"store":false,"user":"b"`).status200(t, "not kept, another user", "MISS")
}

// TestCacheDeleteElsewhere: what one machine passes a DELETE on for, none has.
func TestCacheDeleteElsewhere(t *testing.T) {
	t.Parallel()
	service, redis := newKeeping(t), newRedis(t)
	more := fmt.Sprintf("cache: {stored: true, redis_url: %q, redis_timeout: 1s}\n", redis.url)
	a, b := start(t, service+more), start(t, service+more)
	a.l2up(t, "1")
	b.l2up(t, "1")
	ask := func(in *instance, header ...string) answer {
		return request(t, "POST", in.url+"/v1/responses", `{"model":"m","input":"hello"}`, header...)
	}
	made := ask(a)
	made.status200(t, "first", "MISS")
	testkit.Until(t, "the second machine has it", func() bool { return ask(b, "Cache-Control", "only-if-cached").cache == "HIT" })
	request(t, "DELETE", a.url+"/v1/responses/"+idOf(t, made), "")
	testkit.Until(t, "nobody has it", func() bool { return ask(b, "Cache-Control", "only-if-cached").status == 504 })
	if got := ask(a); idOf(t, got) == idOf(t, made) {
		t.Error(got)
	}
}

// TestCacheEmbeddingTokens: what was taken and what was saved add up to what
// clients were told.
func TestCacheEmbeddingTokens(t *testing.T) {
	t.Parallel()
	in := start(t, newKeeping(t))
	embed := func(input string) answer {
		return request(t, "POST", in.url+"/v1/embeddings", `{"model":"m","input":`+input+`}`)
	}
	first := embed(`"one two three four"`)
	if again := embed(`"one two three four"`); again.cache != "HIT" || again.body != first.body {
		t.Errorf("again: %s, first %s", again, first)
	}
	if part := embed(`["one two three four","five"]`); part.cache != "MISS" || !strings.Contains(part.body, `"prompt_tokens":5,`) {
		t.Error(part)
	}
	testkit.Until(t, "5 taken, 8 saved", func() bool {
		text := request(t, "GET", in.url+"/metrics", "").body
		return strings.Contains(text, "sluice_tokens_total{type=\"input\"} 5\n") && strings.Contains(text, "sluice_tokens_saved_total 8\n")
	})
}
