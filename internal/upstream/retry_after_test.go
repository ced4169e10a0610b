package upstream

import (
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	tests := []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "20", 20 * time.Second},
		{"Retry-After", " 0 ", 0},
		{"Retry-After", "1.5", 1500 * time.Millisecond},
		{"Retry-After", "-5", 0},
		{"Retry-After", "NaN", 0},
		{"Retry-After", "1e300", maxRetryAfter},
		{"Retry-After", "soon", 0},
		{"Retry-After", "", 0},
		{"Retry-After", "Mon, 23 Nov 2026 10:01:00 GMT", time.Minute},
		{"Retry-After", "Monday, 23-Nov-26 10:01:00 GMT", time.Minute},
		{"Retry-After", "Mon Nov 23 10:01:00 2026", time.Minute},
		{"Retry-After", "Mon, 23 Nov 2026 09:00:00 GMT", 0},
		{"Retry-After", "Mon, 23 Nov 2099 09:00:00 GMT", maxRetryAfter},
		{"Retry-After-Ms", "250", 250 * time.Millisecond},
		{"Retry-After-Ms", "x", 0},
	}
	for _, test := range tests {
		if got := RetryAfter([]llm.Field{{Name: test.name, Value: test.value}}, now); got != test.want {
			t.Errorf("%s: %q gives %v, want %v", test.name, test.value, got, test.want)
		}
	}
	both := []llm.Field{{Name: "Retry-After", Value: "1"}, {Name: "Retry-After-Ms", Value: "750"}}
	if got := RetryAfter(both, now); got != 750*time.Millisecond {
		t.Errorf("both give %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("Mon, 23 Nov 2026 10:01:00 GMT")
	f.Add("1e9")
	f.Fuzz(func(t *testing.T, value string) {
		if d := RetryAfter([]llm.Field{{Name: "Retry-After", Value: value}}, time.Unix(0, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q gives %v", value, d)
		}
	})
}
