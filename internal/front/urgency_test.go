package front

import (
	"context"
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestPriority(t *testing.T) {
	var got llm.Priority
	var header []llm.Field
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		got, header = req.Priority, append([]llm.Field(nil), req.Header...)
		return sendUnary(out, `{}`)
	}, func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{
			{Name: "any", Hash: HashKey("any")}, {Name: "low", Hash: HashKey("low"), Priority: "low"},
			{Name: "none", Hash: HashKey("none"), Priority: "0"}, {Name: "high", Hash: HashKey("high"), Priority: "HIGH"},
		}
		c.ForwardHeaders = []string{"X-*"}
	})
	client := h1(t, s)
	const refused = 255
	for _, c := range []struct {
		key    string
		values []string
		want   llm.Priority
	}{
		{"any", nil, 5}, {"low", nil, 2}, {"none", nil, 0}, {"high", nil, 5},
		{"any", []string{"high"}, 8}, {"any", []string{"Normal"}, 5}, {"any", []string{"LOW"}, 2}, {"any", []string{"0"}, 0}, {"any", []string{"9"}, 9},
		{"high", []string{"9"}, 8}, {"low", []string{"high"}, 2}, {"low", []string{"1"}, 1}, {"none", []string{"9"}, 0},
		{"any", []string{""}, refused}, {"any", []string{"10"}, refused}, {"any", []string{"-1"}, refused}, {"any", []string{"urgent"}, refused},
		{"any", []string{"high", "low"}, refused},
	} {
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		req.Header.Set("Authorization", "Bearer "+c.key)
		if c.values != nil {
			req.Header["X-Priority"] = c.values
		}
		got = 99
		resp, body := do(t, client, req)
		if c.want == refused {
			if e := apiError(t, body); resp.StatusCode != 400 || e.Type != llm.TypeInvalidRequest || e.Code != "invalid_priority" || got != 99 {
				t.Errorf("%s %q: %d %s", c.key, c.values, resp.StatusCode, body)
			}
			continue
		}
		if resp.StatusCode != 200 || got != c.want {
			t.Errorf("%s %q: %d, priority %d, want %d", c.key, c.values, resp.StatusCode, got, c.want)
		}
		for _, f := range header {
			if f.Name == "X-Priority" {
				t.Errorf("upstreams see %v", f)
			}
		}
	}
}

func TestDeadline(t *testing.T) {
	var got time.Time
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		got = req.Deadline
		for _, f := range req.Header {
			if f.Name == "X-Request-Timeout" {
				t.Errorf("upstreams see %v", f)
			}
		}
		return sendUnary(out, `{}`)
	}, func(c *Config, _ *StreamConfig) { c.ForwardHeaders = []string{"X-*"} })
	client := h1(t, s)
	for _, c := range []struct {
		header [][2]string
		want   time.Duration // 0: none; -1: refused
	}{
		{nil, 0},
		{[][2]string{{"X-Request-Timeout", "100"}}, 100 * time.Second},
		{[][2]string{{"X-Request-Timeout", "100500ms"}}, 100500 * time.Millisecond},
		{[][2]string{{"X-Request-Timeout", "1e99"}}, maxTimeout},
		{[][2]string{{"X-Stainless-Timeout", "600"}}, 600 * time.Second},
		{[][2]string{{"X-Stainless-Read-Timeout", "600.5"}}, 600500 * time.Millisecond},
		{[][2]string{{"X-Request-Timeout", "100"}, {"X-Stainless-Timeout", "600"}}, 100 * time.Second},
		{[][2]string{{"X-Stainless-Timeout", "NOT_GIVEN"}}, 0},
		{[][2]string{{"X-Stainless-Timeout", "0"}, {"X-Stainless-Read-Timeout", "60"}}, 60 * time.Second},
		{[][2]string{{"X-Request-Timeout", "0"}}, -1}, {[][2]string{{"X-Request-Timeout", "-5s"}}, -1}, {[][2]string{{"X-Request-Timeout", "soon"}}, -1},
		{[][2]string{{"X-Request-Timeout", "Inf"}}, -1}, {[][2]string{{"X-Request-Timeout", "0x1p4"}}, -1}, {[][2]string{{"X-Request-Timeout", "1_0"}}, -1},
		{[][2]string{{"X-Request-Timeout", "NaN"}}, -1}, {[][2]string{{"X-Request-Timeout", ""}}, -1},
		{[][2]string{{"X-Request-Timeout", "5"}, {"X-Request-Timeout", "6"}}, -1},
	} {
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		for _, f := range c.header {
			req.Header.Add(f[0], f[1])
		}
		got = time.Time{}
		before := time.Now()
		resp, body := do(t, client, req)
		after := time.Now()
		switch {
		case c.want < 0:
			if e := apiError(t, body); resp.StatusCode != 400 || e.Code != "invalid_timeout" {
				t.Errorf("%q: %d %s", c.header, resp.StatusCode, body)
			}
		case resp.StatusCode != 200 || c.want == 0 && !got.IsZero():
			t.Errorf("%q: %d, deadline %v", c.header, resp.StatusCode, got)
		case c.want > 0 && (got.Before(before.Add(c.want)) || got.After(after.Add(c.want))):
			t.Errorf("%q: a deadline in %v, want %v", c.header, got.Sub(before), c.want)
		}
	}
}

func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"1", "2.5", "250ms", "-1", "NaN", "+Inf", "1e309", "0x1p-1074", "9999999999h", "1m1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := parseTimeout(s)
		if ok != (d > 0) || d > maxTimeout {
			t.Errorf("%q: %v, %v", s, d, ok)
		}
		if p, ok := parsePriority(s); ok && p > highest || !ok && p != 0 {
			t.Errorf("%q: priority %d", s, p)
		}
	})
}
