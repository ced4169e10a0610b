package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/testkit"
)

// limited is a configuration in which the key "sk-small" has limits, in the same Redis.
func (s *service) limited(t *testing.T, r *redisServer, requests, tokens int, failure string) string {
	return s.config(fmt.Sprintf(`cache: {redis_url: %q, redis_timeout: 1s}
rate_limit: {redis_failure: %s}
server: {open_metrics: true, api_keys: [{name: small, hash: %q, requests_per_minute: %d, tokens_per_minute: %d}, {name: large, hash: %q}]}
`, r.url, failure, hashOf(t, "sk-small"), requests, tokens, hashOf(t, "sk-large")))
}

func (in *instance) limitsShared(t *testing.T, up string) {
	t.Helper()
	testkit.Until(t, "store of rate limits", func() bool {
		return strings.Contains(request(t, "GET", in.url+"/metrics", "").body, "sluice_rate_limit_redis_up "+up+"\n")
	})
}

// say asks for a chat that nobody has asked for before.
func (in *instance) say(t *testing.T, key, what string) answer {
	t.Helper()
	return request(t, "POST", in.url+"/v1/chat/completions", strings.Replace(hello("m"), "hello", what, 1), "Authorization", "Bearer "+key)
}

// TestRateLimitShared: two processes with one Redis have one limit of a key, which an
// SDK is told of in OpenAI's form; other keys have none.
func TestRateLimitShared(t *testing.T) {
	t.Parallel()
	for tries := 1; !shareLimit(t); tries++ {
		if tries == 5 {
			t.Fatal("Redis never answers in time")
		}
	}
}

// shareLimit reports whether all calls had an answer of Redis, which a busy machine may
// not give in time: then each process counts by itself, and nothing is shown.
func shareLimit(t *testing.T) bool {
	s, r := newService(t), newRedis(t)
	one, two := start(t, s.limited(t, r, 20, 100_000, "open")), start(t, s.limited(t, r, 20, 100_000, "open"))
	one.limitsShared(t, "1")
	two.limitsShared(t, "1")
	var all sync.WaitGroup
	var answered, refused atomic.Int64
	begun := time.Now()
	for i := range 40 {
		in := []*instance{one, two}[i%2]
		all.Go(func() {
			switch a := in.say(t, "sk-small", fmt.Sprint("small ", i)); a.status {
			case 200:
				answered.Add(1)
			case 429:
				refused.Add(1)
			default:
				t.Error(a)
			}
			if a := in.say(t, "sk-large", fmt.Sprint("large ", i)); a.status != 200 || a.header.Get("X-Ratelimit-Limit-Requests") != "" {
				t.Errorf("a key without a limit: %v %v", a, a.header)
			}
		})
	}
	all.Wait()
	for _, in := range []*instance{one, two} {
		if testkit.Total(t, request(t, "GET", in.url+"/metrics", "").body, "sluice_rate_limit_redis_errors_total") > 0 {
			return false
		}
	}
	if most := 20 + int64(time.Since(begun)/(3*time.Second)) + 1; answered.Load() < 20 || answered.Load() > most || answered.Load()+refused.Load() != 40 {
		t.Errorf("%d were answered and %d refused, with a limit of 20", answered.Load(), refused.Load())
	}
	client := openai.NewClient(option.WithBaseURL(two.url+"/v1"), option.WithAPIKey("sk-small"), option.WithMaxRetries(0))
	var err error
	for i := 0; err == nil; i++ { // a moment later there may be room again
		_, err = client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(fmt.Sprint("sdk ", i))}})
	}
	var told *openai.Error
	if !errors.As(err, &told) || told.StatusCode != 429 || told.Type != "requests" || told.Code != "rate_limit_exceeded" {
		t.Fatalf("the SDK is told %v", err)
	}
	h := told.Response.Header
	if h.Get("Retry-After") == "" || h.Get("X-Ratelimit-Limit-Requests") != "20" || h.Get("X-Ratelimit-Remaining-Requests") != "0" || h.Get("X-Ratelimit-Limit-Tokens") != "100000" {
		t.Errorf("the SDK is told %v", h)
	}
	if reset, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-Requests")); err != nil || reset < 50*time.Second || reset > time.Minute {
		t.Errorf("reset is %q", h.Get("X-Ratelimit-Reset-Requests"))
	}
	return true
}

// TestRateLimitTokens: what replies say they took is what counts, on both machines.
func TestRateLimitTokens(t *testing.T) {
	t.Parallel()
	s, r := newService(t), newRedis(t)
	s.body = `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":4500,"total_tokens":5500}}`
	// What the second level is not there for yet it never gets.
	yaml := s.limited(t, r, 1000, 5000, "open")
	one, two := start(t, yaml), start(t, yaml)
	for _, in := range []*instance{one, two} {
		in.limitsShared(t, "1")
		testkit.Until(t, "the second level", func() bool {
			page := request(t, "GET", in.url+"/metrics", "").body
			return strings.Contains(page, "sluice_cache_l2_up 1\n") && !strings.Contains(page, "sluice_cache_l2_subscriptions_total 0\n")
		})
	}
	if a := one.say(t, "sk-small", "long"); a.status != 200 {
		t.Fatal(a)
	}
	testkit.Until(t, "the reply in the second level", func() bool {
		return strings.Contains(request(t, "GET", one.url+"/metrics", "").body, `sluice_cache_l2_seconds_count{operation="put"} 1`)
	})
	var last answer
	testkit.Until(t, "a refusal elsewhere", func() bool {
		if last = two.say(t, "sk-small", "long"); last.status == 200 && last.cache != "HIT" {
			t.Fatal(last)
		}
		last = request(t, "POST", two.url+"/v1/embeddings", `{"model":"m","input":"`+strings.Repeat("x", 4000)+`"}`, "Authorization", "Bearer sk-small")
		return last.status == 429
	})
	if !strings.Contains(last.body, `"type":"tokens"`) || last.header.Get("X-Ratelimit-Remaining-Tokens") != "0" {
		t.Errorf("%v %v", last, last.header)
	}
}

// TestRateLimitWithoutRedis: with Redis frozen or dead a key is answered or refused as
// the configuration has it, and shares again when it is back.
func TestRateLimitWithoutRedis(t *testing.T) {
	t.Parallel()
	s, r := newService(t), newRedis(t)
	open, closed := start(t, s.limited(t, r, 1000, 1_000_000, "open")), start(t, s.limited(t, r, 1000, 1_000_000, "closed"))
	for _, in := range []*instance{open, closed} {
		in.limitsShared(t, "1")
		if a := in.say(t, "sk-small", "before "+in.url); a.status != 200 {
			t.Fatal(a)
		}
	}
	r.cmd.Process.Signal(syscall.SIGSTOP)
	for i := range 5 {
		if a := open.say(t, "sk-small", fmt.Sprint("open ", i)); a.status != 200 || a.header.Get("X-Ratelimit-Limit-Requests") != "1000" {
			t.Errorf("open: %v", a)
		}
		if a := closed.say(t, "sk-small", fmt.Sprint("closed ", i)); a.status != 503 || !strings.Contains(a.body, "rate_limit_unavailable") || a.header.Get("Retry-After") != "1" {
			t.Errorf("closed: %v", a)
		}
		if a := closed.say(t, "sk-large", fmt.Sprint("large ", i)); a.status != 200 {
			t.Errorf("a key without a limit: %v", a)
		}
	}
	open.limitsShared(t, "0")
	r.cmd.Process.Signal(syscall.SIGCONT)
	closed.limitsShared(t, "1")
	if a := closed.say(t, "sk-small", "after"); a.status != 200 {
		t.Errorf("closed, after the freeze: %v", a)
	}
	r.end()
	for i := range 5 {
		if a := open.say(t, "sk-small", fmt.Sprint("dead ", i)); a.status != 200 {
			t.Errorf("open: %v", a)
		}
		if a := closed.say(t, "sk-small", fmt.Sprint("dead, closed ", i)); a.status != 503 {
			t.Errorf("closed: %v", a)
		}
	}
}
