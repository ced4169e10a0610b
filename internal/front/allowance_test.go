package front

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
)

// meter says what a test says.
type meter struct{ requests, tokens llm.Allowance }

func (m meter) Left() (requests, tokens llm.Allowance) { return m.requests, m.tokens }

// limits gives the fields of a reply that speak of limits.
func limits(h http.Header) map[string]string {
	found := make(map[string]string)
	for name, values := range h {
		if rest, ok := strings.CutPrefix(name, "X-Ratelimit-"); ok {
			found[rest] = strings.Join(values, ", ")
		}
	}
	return found
}

// TestLimitHeader: every kind of reply to a limited key says what is left, in place of
// what an upstream says; to a key without a limit an upstream's words pass, and to a
// stranger nothing is said.
func TestLimitHeader(t *testing.T) {
	both := meter{llm.Allowance{Limit: 60, Left: 59, Reset: time.Second}, llm.Allowance{Limit: 150_000, Left: 149_984, Reset: 6 * time.Minute}}
	theirs := []llm.Field{{Name: "X-Ratelimit-Limit-Requests", Value: "7"}, {Name: "X-Ratelimit-Remaining-Tokens", Value: "8"}, {Name: "X-Ratelimit-Limit-Project-Tokens", Value: "9"}}
	var next llm.HandlerFunc
	s := start(t, func(ctx context.Context, req *llm.Request, out llm.Sink) error { return next(ctx, req, out) }, func(c *Config, sc *StreamConfig) {
		c.APIKeys = []APIKey{
			{Name: "both", Hash: HashKey("sk-both"), Meter: both}, {Name: "requests", Hash: HashKey("sk-requests"), Meter: meter{requests: both.requests}},
			{Name: "tokens", Hash: HashKey("sk-tokens"), Meter: meter{tokens: both.tokens}}, {Name: "none", Hash: HashKey("sk-none")},
		}
		sc.Heartbeat = 10 * time.Millisecond
	})
	requests := map[string]string{"Limit-Requests": "60", "Remaining-Requests": "59", "Reset-Requests": "1s"}
	tokens := map[string]string{"Limit-Tokens": "150000", "Remaining-Tokens": "149984", "Reset-Tokens": "6m0s"}
	all := maps.Clone(requests)
	maps.Copy(all, tokens)
	upstream := map[string]string{"Limit-Requests": "7", "Remaining-Tokens": "8", "Limit-Project-Tokens": "9"}
	whole := func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(&llm.Head{Status: 200, Length: 2, Header: theirs}); err != nil {
			return err
		}
		return out.Send(events("{}"))
	}
	fails := func(e *llm.Error) llm.HandlerFunc {
		return func(context.Context, *llm.Request, llm.Sink) error { return e }
	}
	slow := func(_ context.Context, _ *llm.Request, out llm.Sink) error {
		time.Sleep(100 * time.Millisecond)
		if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream, Length: -1, Header: theirs}); err != nil {
			return err
		}
		return out.Send(events("data: [DONE]\n\n"))
	}
	for _, c := range []struct {
		what, key, body string
		next            llm.HandlerFunc
		want            map[string]string
	}{
		{"whole", "sk-both", chatBody, whole, all},
		{"whole", "sk-requests", chatBody, whole, requests},
		{"whole", "sk-tokens", chatBody, whole, tokens},
		{"whole", "sk-none", chatBody, whole, upstream},
		{"whole", "sk-stranger", chatBody, whole, nil},
		{"stream after a heartbeat", "sk-both", strings.Replace(chatBody, "{", `{"stream":true,`, 1), slow, all},
		{"own error", "sk-both", chatBody, fails(llm.Errorf(429, "rate_limit_exceeded", "x")), all},
		{"upstream's error", "sk-both", chatBody, fails(&llm.Error{Status: 429, Reply: &llm.ErrorReply{Body: []byte(`{}`), Header: theirs}}), all},
		{"upstream's error", "sk-none", chatBody, fails(&llm.Error{Status: 429, Reply: &llm.ErrorReply{Body: []byte(`{}`), Header: theirs}}), upstream},
		{"refused early", "sk-both", "{", whole, all},
	} {
		next = c.next
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), c.body)
		req.Header.Set("Authorization", "Bearer "+c.key)
		if resp, _ := do(t, h1(t, s), req); !maps.Equal(limits(resp.Header), c.want) {
			t.Errorf("%s, %s: %d %v", c.what, c.key, resp.StatusCode, limits(resp.Header))
		}
	}
}

// TestReset: times are as OpenAI writes them, which is as Go does.
func TestReset(t *testing.T) {
	for _, d := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 999 * time.Millisecond, time.Second, 8640 * time.Millisecond, 59999 * time.Millisecond,
		time.Minute, 90951 * time.Millisecond, 6 * time.Minute, time.Hour, time.Hour + 7*time.Second, 25*time.Hour + 61*time.Second + time.Millisecond} {
		if got := string(appendReset(nil, d)); got != d.String() {
			t.Errorf("%v is written %s", d, got)
		}
	}
	if got := string(appendReset(nil, -time.Second)); got != "0s" {
		t.Errorf("less than nothing is written %s", got)
	}
}

func TestPerMinute(t *testing.T) {
	for text, want := range map[string]int64{"": 7, "none": 0, "1": 1, "600": 600, "1000000000": 1_000_000_000} {
		if n, err := PerMinute(text, 7); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"0", "-1", "1e3", "10.5", "1000000001", "99999999999999999999", "None", " 5"} {
		if n, err := PerMinute(text, 7); err == nil {
			t.Errorf("%q is %d", text, n)
		}
	}
	cfg, _ := testConfig(func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("a"), RequestsPerMinute: "many", TokensPerMinute: "0"}}
	})
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "api_keys[0].requests_per_minute: ") || !strings.Contains(err.Error(), "api_keys[0].tokens_per_minute: ") {
		t.Error(err)
	}
}
