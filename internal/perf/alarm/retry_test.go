package alarm

import (
	"testing"
	"time"
)

func TestRetryAfterValues(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		field string
		want  time.Duration
		ok    bool
	}{
		{"5", 5 * time.Second, true}, {"0", shortestPause, true}, {"86400", longestPause, true}, {"99999999999999999999999", longestPause, true},
		{"Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second, true}, {"Fri, 02 Jan 2026 03:00:00 GMT", shortestPause, true}, {"Fri, 02 Jan 2099 03:00:00 GMT", longestPause, true},
		{"", 0, false}, {"-5", 0, false}, {"soon", 0, false},
	} {
		if got, ok := retryAfter(c.field, now); got != c.want || ok != c.ok {
			t.Errorf("%q: %v, %v", c.field, got, ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("5")
	f.Add("Fri, 02 Jan 2026 03:04:35 GMT")
	f.Fuzz(func(t *testing.T, field string) {
		if d, ok := retryAfter(field, time.Unix(1e9, 0)); ok && (d < shortestPause || d > longestPause) {
			t.Fatalf("%q is %v", field, d)
		}
	})
}
