package codec

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/memory"
	"sluice/internal/protobuf"
)

func newTestResults(t testing.TB, change func(*Config)) *results {
	t.Helper()
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	r, err := newResults(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func asked(input string) *question {
	return &question{direction: Decode, digest: [32]byte{1}, typeName: "t", input: []byte(input)}
}

// see asks and, as a caller does, offers the answer. It reports a hit.
func see(r *results, q *question, answer string) bool {
	output, key, ok := r.get(q)
	if ok && string(output) != answer {
		panic("wrong answer " + string(output))
	}
	if !ok {
		r.put(key, q, []byte(answer))
	}
	return ok
}

func TestResults(t *testing.T) {
	r := newTestResults(t, nil)
	long := strings.Repeat("x", leastResult)
	for i, want := range []bool{false, false, true} {
		if got := see(r, asked(long), "1"); got != want {
			t.Errorf("time %d: hit %v; an answer is kept from the second time on", i+1, got)
		}
	}
	for range 3 {
		if see(r, asked(long[1:]), "2") {
			t.Error("a short input was kept")
		}
	}
	// Everything but the memory of the input is part of the question.
	for i, change := range []func(*question){
		func(q *question) { q.direction = Encode }, func(q *question) { q.digest[31]++ }, func(q *question) { q.typeName = "u" },
		func(q *question) { q.options = protobuf.Options{UseProtoNames: true} }, func(q *question) { q.options = protobuf.Options{EmitUnpopulated: true} },
		func(q *question) { q.options = protobuf.Options{UseEnumNumbers: true} }, func(q *question) { q.options = protobuf.Options{DiscardUnknown: true} },
		func(q *question) { q.input[leastResult-1]++ },
	} {
		q := asked(long)
		change(q)
		if r.key(q) == r.key(asked(long)) {
			t.Errorf("change %d leaves the key", i)
		}
		if q.equal(asked(long)) {
			t.Errorf("change %d leaves the question", i)
		}
	}
	if r.hits.Load() != 1 || r.misses.Load() != 2 || r.rejected.Load() != 1 || r.entries.EstimatedSize() != 1 {
		t.Errorf("%d hits, %d misses, %d rejected", r.hits.Load(), r.misses.Load(), r.rejected.Load())
	}
}

// Two questions with one key do not get each other's answers.
func TestResultCollision(t *testing.T) {
	r := newTestResults(t, nil)
	one, two := asked(strings.Repeat("x", leastResult)), asked(strings.Repeat("y", leastResult))
	r.put(r.key(two), one, []byte("1"))
	if _, _, ok := r.get(two); ok {
		t.Error("the answer to another question")
	}
}

// What is kept is a copy.
func TestResultsAreCopies(t *testing.T) {
	r := newTestResults(t, nil)
	q, answer := asked(strings.Repeat("x", leastResult)), []byte("answer")
	r.put(r.key(q), q, answer)
	clear(answer)
	clear(q.input)
	if output, _, ok := r.get(asked(strings.Repeat("x", leastResult))); !ok || string(output) != "answer" {
		t.Errorf("%q, %v", output, ok)
	}
}

func TestResultsExpireAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestResults(t, func(c *Config) { c.ResultCacheBytes = 64 << 10 })
		q := asked(strings.Repeat("x", leastResult))
		r.put(r.key(q), q, []byte("1"))
		time.Sleep(300*time.Second - 1)
		if _, _, ok := r.get(q); !ok {
			t.Error("gone before its time")
		}
		time.Sleep(2 * time.Nanosecond)
		if _, _, ok := r.get(q); ok {
			t.Error("there after its time")
		}
		for i := range byte(200) {
			q := asked(strings.Repeat(string(rune('0'+i)), 2*leastResult))
			r.put(r.key(q), q, bytes.Repeat([]byte("1"), 1000))
		}
		r.entries.CleanUp()
		if n := r.bytes.Load(); n > 64<<10 || n == 0 {
			t.Errorf("%d bytes", n)
		}
		q = asked(strings.Repeat("x", 8<<10))
		r.put(r.key(q), q, nil)
		if _, _, ok := r.get(q); ok || r.rejected.Load() == 0 {
			t.Error("an entry that is too large was kept")
		}
	})
}

// What is kept is reserved, goes when it may not be so much any more, and is given back.
func TestResultsAreReserved(t *testing.T) {
	var budget memory.Budget
	account := budget.Account("results")
	r, err := newResults(Default(), account)
	if err != nil {
		t.Fatal(err)
	}
	fill := func() {
		for i := range byte(10) {
			q := asked(strings.Repeat(string(rune('0'+i)), 1000))
			r.put(r.key(q), q, make([]byte, 1000))
		}
	}
	is := func(when string, least, most int64) {
		t.Helper()
		if n := r.bytes.Load(); n < least || n > most || account.Held() != n || budget.Used() != n {
			t.Errorf("%s: %d bytes kept, %d reserved, want %d to %d", when, n, account.Held(), least, most)
		}
	}
	fill()
	is("at first", 20_000, 25_000)
	fill() // in the place of the others
	is("again", 20_000, 25_000)
	r.limit(10_000)
	is("bounded", 2000, 10_000)
	r.limit(0)
	is("not wanted", 0, 0)
	fill()
	is("while not wanted", 0, 0)
	r.limit(1 << 40)
	fill()
	is("wanted again", 20_000, 25_000)
	r.close()
	is("at the end", 0, 0)
}

// A schema that changes takes its results with it, and those of others stay.
func TestResultsOfChangedSchema(t *testing.T) {
	c := newCodec(t, nil)
	put := func(name, text string) {
		if _, err := c.PutSchema(name, "text/plain", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	const other = `syntax = "proto3"; package other; message Note { string words = 1; }`
	put("other", other)
	body := string(note(strings.Repeat("x", leastResult)))
	ask := func(name, want string) {
		t.Helper()
		if got := send(c, post("decode?type="+name, body, asWire)); !strings.HasPrefix(got, "application/json "+want) {
			t.Errorf("%s: %.60s", name, got)
		}
	}
	for range 3 {
		ask("test.Note", `{"text":"xx`)
		ask("other.Note", `{"words":"xx`)
	}
	if hits, n := c.results.hits.Load(), c.results.entries.EstimatedSize(); hits != 2 || n != 2 {
		t.Errorf("%d hits, %d entries", hits, n)
	}
	put("other", strings.ReplaceAll(other, "words", "letters"))
	if n := c.results.entries.EstimatedSize(); n != 1 {
		t.Errorf("%d entries after a change", n)
	}
	ask("other.Note", `{"letters":"xx`)
	ask("test.Note", `{"text":"xx`)
	if hits := c.results.hits.Load(); hits != 3 {
		t.Errorf("%d hits", hits)
	}
	if _, err := c.DeleteSchema("notes"); err != nil {
		t.Fatal(err)
	}
	if n := c.results.entries.EstimatedSize(); n != 0 {
		t.Errorf("%d entries after a removal", n)
	}
}

// No result is kept where the cache is off, and none of a fault.
func TestNoResults(t *testing.T) {
	off := newCodec(t, func(c *Config) { c.ResultCacheBytes = 0 })
	body := string(note(strings.Repeat("x", leastResult)))
	if got := send(off, post("decode?type=test.Note", body, asWire)); !strings.HasPrefix(got, `application/json {"text":"xx`) {
		t.Error(got)
	}
	c, calls := newCodec(t, nil), 0
	m := &message{direction: Decode, bareInput: true, data: []byte(body), limit: 1 << 20}
	m.plan = fake(func(dst, input []byte) ([]byte, error) { calls++; return dst, errors.New("no") })
	for range 3 {
		if _, err := c.convert(nil, &scratch{}, m); err == nil {
			t.Error("no error")
		}
	}
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

// A result that is kept is held to the limit of the message that finds it.
func TestResultOverLimit(t *testing.T) {
	c := newCodec(t, nil)
	body := note(strings.Repeat("x", leastResult))
	found, err := c.find("test.Note", "")
	if err != nil {
		t.Fatal(err)
	}
	m := &message{target: found, direction: Decode, bareInput: true, data: body, limit: 1 << 10}
	for range 2 {
		if _, err := c.convert(nil, &scratch{}, m); err != nil {
			t.Fatal(err)
		}
	}
	m.limit = leastResult
	if _, err := c.convert(nil, &scratch{}, m); err == nil || !strings.HasPrefix(told(err), "413 limit_exceeded data: ") || c.results.hits.Load() != 1 {
		t.Errorf("%v, %d hits", err, c.results.hits.Load())
	}
}
