package cache

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// machines are caches that share a second level.
func machines(t *testing.T, n int, change func(*Config, *Options)) (second *shared, all []*fixture) {
	second = newShared()
	for range n {
		f := newFixture(t, change)
		f.attach(t, second)
		second.others = append(second.others, f.Cache)
		all = append(all, f)
	}
	return second, all
}

// What one machine has stored another one has, with its age, in one trip.
func TestSecondLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second, m := machines(t, 2, nil)
		m[0].ask(t, chat("hi"))
		time.Sleep(100 * time.Second)
		second.gets = 0
		c := m[1].expect(t, chat("hi"), "HIT "+chatReply(" 1"))
		if c.head.Age != 100*time.Second || second.gets != 1 || m[1].up.count() != 0 {
			t.Errorf("age %v, %d trips, %d calls", c.head.Age, second.gets, m[1].up.count())
		}
		m[1].expect(t, chat("hi"), "HIT "+chatReply(" 1"))
		if second.gets != 1 {
			t.Error("it was not kept in memory")
		}
		time.Sleep(20 * time.Second)
		m[1].expect(t, chat("hi"), "MISS "+chatReply(" 1"))
	})
}

func TestSecondLevelKinds(t *testing.T) {
	second, m := machines(t, 2, withStreams)
	f, g := m[0], m[1]
	// A streamed call takes the events or the whole reply, in one trip.
	f.ask(t, chat("hi"))
	second.gets = 0
	if c := g.ask(t, chat("hi", streamed)); c.head.Cache != llm.CacheHit || second.gets != 1 {
		t.Errorf("%s after %d trips", c.head.Cache, second.gets)
	}
	// So do the inputs of an embedding that are missing.
	f.up.serve, g.up.serve = embedded(""), embedded("")
	f.ask(t, embed(`["a","b"]`))
	g.ask(t, embed(`["c"]`))
	second.gets, second.asked = 0, 0
	c := g.ask(t, embed(`["a","c","b","d"]`))
	check(t, c, `"a"`, `"c"`, `"b"`, `"d"`)
	if got := inputs(t, g.up.last().Body); len(got) != 1 || second.gets != 1 || second.asked != 4 { // and for the reply to all four
		t.Errorf("asked upstream for %q after %d trips for %d", got, second.gets, second.asked)
	}
	// Only-if-cached asks it too.
	f.ask(t, embed(`"e"`))
	only := policy(llm.CachePolicy{OnlyIfCached: true})
	check(t, g.ask(t, embed(`"e"`, only)), `"e"`)
	f.up.serve = nil
	f.ask(t, chat("ho"))
	if c := g.ask(t, chat("ho", only)); c.head.Cache != llm.CacheHit {
		t.Error(c.head.Cache)
	}
}

// Whatever is wrong with the second level, a call is answered as if there were
// none.
func TestSecondLevelIsNotTrusted(t *testing.T) {
	key := Key{1}
	good := marshal(key, sampleEntry(), 0)
	for name, change := range map[string]func(s *shared, key Key){
		"fails":         func(s *shared, _ Key) { s.fail = errDown },
		"garbage":       func(s *shared, k Key) { s.values[k] = []byte("garbage") },
		"empty":         func(s *shared, k Key) { s.values[k] = []byte{} },
		"another's":     func(s *shared, k Key) { s.values[k] = good },
		"damaged":       func(s *shared, k Key) { b := bytes.Clone(s.values[k]); b[len(b)/2] ^= 1; s.values[k] = b },
		"cut":           func(s *shared, k Key) { s.values[k] = s.values[k][:len(s.values[k])-1] },
		"other version": func(s *shared, k Key) { b := bytes.Clone(s.values[k]); b[3]++; s.values[k] = b },
		"expired":       func(s *shared, k Key) { s.until[k] = time.Now().Add(-1) },
	} {
		second, m := machines(t, 2, nil)
		c := m[0].ask(t, chat("hi"))
		change(second, c.head.CacheKey)
		m[1].expect(t, chat("hi"), "MISS "+chatReply(" 1"))
		// What is found while it fails is not used.
		second.fail = nil
		if name != "fails" && second.values[c.head.CacheKey] == nil {
			t.Errorf("%s: nothing is stored", name)
		}
	}
}

// An entry is used no longer than either clock says.
func TestSecondLevelLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second, m := machines(t, 2, nil)
		key := m[0].ask(t, chat("hi")).head.CacheKey
		for _, test := range []struct{ kept, left, age time.Duration }{
			{30 * time.Second, 30 * time.Second, 90 * time.Second},
			{time.Hour, 120 * time.Second, 0}, // a server whose clock was set back
		} {
			e := m[1].received(key, Found{Value: second.values[key], Left: test.kept})
			now := m[1].clock.Now()
			if e == nil || e.until-now != test.left || now-e.born != test.age {
				t.Fatalf("%+v: got %+v", test, e)
			}
		}
		for _, left := range []time.Duration{0, -1} {
			if e := m[1].received(key, Found{Value: second.values[key], Left: left}); e != nil {
				t.Errorf("left %v: used", left)
			}
		}
	})
}

// A purge on one machine reaches the memory of the others, and nothing that
// was asked for before comes back after it.
func TestPurge(t *testing.T) {
	other := func(r *llm.Request) { r.Model = "other" }
	for _, test := range []struct {
		name       string
		p          func(key Key) Purge
		gpt, other llm.CacheStatus
	}{
		{"all", func(Key) Purge { return Purge{} }, llm.CacheMiss, llm.CacheMiss},
		{"model", func(Key) Purge { return Purge{Model: "gpt"} }, llm.CacheMiss, llm.CacheHit},
		{"key", func(key Key) Purge { return Purge{Key: key} }, llm.CacheMiss, llm.CacheHit},
		{"other", func(Key) Purge { return Purge{Model: "other"} }, llm.CacheHit, llm.CacheMiss},
	} {
		_, m := machines(t, 2, nil)
		var key Key
		for _, f := range m {
			key = f.ask(t, chat("hi")).head.CacheKey
			f.ask(t, chat("hi", other))
		}
		n, err := m[0].Purge(context.Background(), test.p(key))
		if want := map[string]int{"all": 2}[test.name]; err != nil || n != max(want, 1) {
			t.Errorf("%s: purged %d, %v", test.name, n, err)
		}
		if got := m[1].ask(t, chat("hi")).head.Cache; got != test.gpt {
			t.Errorf("%s: %s", test.name, got)
		}
		if got := m[1].ask(t, chat("hi", other)).head.Cache; got != test.other {
			t.Errorf("%s, other: %s", test.name, got)
		}
	}
}

func TestPurgeWhileUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second, m := machines(t, 1, nil)
		f := m[0]
		f.up.serve = func(_ context.Context, n int, _ *llm.Request, out llm.Sink) error {
			time.Sleep(time.Second)
			return answer(out, chatReply(fmt.Sprint(n)))
		}
		before := f.start(chat("hi"))
		synctest.Wait()
		if _, err := f.Purge(context.Background(), Purge{}); err != nil {
			t.Error(err)
		}
		// It does not join what began before the purge.
		f.expect(t, chat("hi"), "MISS "+chatReply("2"))
		<-before.done
		if before.err != nil || string(before.body) != chatReply("1") || len(second.values) != 2 { // with what leads to it by its id
			t.Errorf("%v, %s, %d entries", before.err, &before.client, len(second.values))
		}
		f.expect(t, chat("hi"), "HIT "+chatReply("2"))
		// A purge that fails elsewhere says so, and has happened here.
		second.fail = errDown
		if n, err := f.Purge(context.Background(), Purge{}); n != 1 || err == nil {
			t.Errorf("purged %d, %v", n, err)
		}
	})
}
