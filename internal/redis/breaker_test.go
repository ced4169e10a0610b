package redis

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff{first: 100 * time.Millisecond, longest: 5 * time.Second}
		for n := range 100 {
			most := 5 * time.Second
			if n < 6 {
				most = 100 * time.Millisecond << n
			}
			began := time.Now()
			is(t, "waited", b.wait(t.Context()), true)
			if d := time.Since(began); d < most/2 || d > most {
				t.Errorf("wait %d: %v, want %v to %v", n, d, most/2, most)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		is(t, "ended", b.wait(ctx), false)
	})
}

func TestBreaker(t *testing.T) {
	b := breaker{down: make(chan struct{}, 1)}
	history := ""
	for _, what := range "ffffrffsfff" {
		switch what {
		case 'f':
			history += fmt.Sprint(b.fail(), " ")
		case 's':
			b.succeed()
		case 'r':
			b.rise()
		}
	}
	is(t, "brought down", history, "false false false false false false false false true ")
}
