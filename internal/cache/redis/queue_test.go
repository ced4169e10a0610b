package redis

import (
	"strings"
	"testing"

	"sluice/internal/cache"
)

// keysOf names the requests of a batch.
func keysOf(b *batch) string {
	var out []string
	for _, p := range b.puts {
		out = append(out, string(p.value[:1]))
	}
	return strings.Join(out, "")
}

func TestQueue(t *testing.T) {
	q := queue{wake: make(chan struct{}, 1)}
	add := func(model, request string, size int) bool {
		return q.add(put{place: at(model, request), value: append([]byte(request), make([]byte, size-1)...)})
	}
	for _, r := range []string{"a", "b", "c", "d"} {
		add("m", r, 300<<10)
	}
	add("n", "e", 2<<20)
	add("n", "f", 1)
	ended := make(chan struct{})
	first := q.await(ended)
	is(t, "a batch's bytes", keysOf(first), "abc")
	is(t, "under way", q.forget(cache.Purge{Key: at("", "d").Key})[0], first)
	second := q.await(ended)
	is(t, "a large one alone, d forgotten", keysOf(second), "e")
	q.finish(first)
	is(t, "under way", q.forget(cache.Purge{Model: "m"})[0], second)
	<-first.done
	is(t, "rest", keysOf(q.await(ended)), "f")
	is(t, "bytes", q.bytes, 0)
	close(ended)
	is(t, "end", q.await(ended), nil)

	is(t, "too many bytes", add("m", "a", maxQueuedBytes+1), false)
	for range maxQueued {
		is(t, "room", add("m", "a", 1), true)
	}
	is(t, "too many", add("m", "a", 1), false)
	q.forget(cache.Purge{})
	is(t, "bytes", q.bytes, 0)
	is(t, "room", add("m", "a", maxQueuedBytes), true)
	is(t, "too many bytes", add("m", "a", 1), false)
}
