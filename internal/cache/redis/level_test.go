package redis

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"sluice/internal/cache"
	"sluice/internal/perf"
	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{})
	a, b, c := at("m", "a"), at("m", "b"), at("n", "a")
	is(t, "empty", get(t, l, a, b, c), "- - -")
	all := string([]byte{0, 255, '\r', '\n'})
	stored(t, l, a, all)
	stored(t, l, c, "n")
	is(t, "found", get(t, l, a, b, c), all+" - n")
	is(t, "hits", l.figures.hits.Load() > 2, true)

	key := "sluice:1:62c66a7a5dd70c31:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
	is(t, "layout", s.Get(t.Context(), key).Val(), all)
	found := []cache.Found{{}, {}}
	if err := l.Get(t.Context(), []cache.Place{a, b}, found); err != nil || found[0].Left <= 59*time.Minute || found[0].Left > time.Hour {
		t.Errorf("left %v, %v", found[0].Left, err)
	}
	if err := l.Get(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{})
	short, long := at("m", "short"), at("m", "long")
	l.Put(short, []byte("short"), time.Microsecond) // none at all
	l.Put(short, nil, time.Hour)
	l.Put(long, []byte("long"), 300*time.Millisecond)
	testkit.Until(t, "stored", func() bool { return get(t, l, short, long) == "- long" })
	testkit.Until(t, "gone", func() bool { return get(t, l, short, long) == "- -" })
	is(t, "dropped", l.figures.dropped.Load(), 0)
}

// What others wrote under our names is as good as nothing, and no failure.
func TestForeignValues(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{MaxValue: 1000})
	list, large, fits, forever := at("m", "list"), at("m", "large"), at("m", "fits"), at("m", "forever")
	s.RPush(t.Context(), l.names.place(list), "x")
	s.PExpire(t.Context(), l.names.place(list), time.Hour)
	s.Set(t.Context(), l.names.place(large), make([]byte, 30<<20), time.Hour)
	s.Set(t.Context(), l.names.place(forever), "x", 0)
	most := string(bytes.Repeat([]byte("x"), 1000))
	stored(t, l, fits, most)
	for range 2 * redis.Failures {
		is(t, "found", get(t, l, list, fits, large, forever), "- "+most+" - -")
	}
	is(t, "up", l.Up(), true)
	l.Put(at("m", "more"), make([]byte, 1001), time.Hour)
	is(t, "dropped", l.figures.dropped.Load(), 1)
}

func TestGetEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := redistest.RelayTo(t, s)
	l := level(t, conf(r.URL()), Options{})
	testkit.Until(t, "up", l.Up)
	r.Set(redistest.Silent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	found := []cache.Found{{Value: []byte("before"), Left: 1}}
	if err := l.Get(ctx, []cache.Place{at("m", "a")}, found); !errors.Is(err, context.Canceled) || found[0].Value != nil {
		t.Errorf("%v, found %v", err, found)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{})
	l.Put(at("m", "a"), []byte("x"), time.Hour)
	l.Close()
	l.Close()
	l.Put(at("m", "a"), []byte("x"), time.Hour)
	is(t, "up", l.Up(), false)
	if err := l.Get(t.Context(), []cache.Place{at("m", "a")}, make([]cache.Found, 1)); err == nil {
		t.Error("found something after Close")
	}
	if err := l.Purge(t.Context(), cache.Purge{}); err == nil {
		t.Error("purged after Close")
	}
}

// reported is what a Source reports, by name and labels.
type reported map[string]float64

func (r reported) Counter(name, _ string, v float64, labels ...string) {
	r.Gauge(name, "", v, labels...)
}
func (r reported) Gauge(name, _ string, v float64, labels ...string) {
	for i := 1; i < len(labels); i += 2 {
		name += " " + labels[i]
	}
	r[name] = v
}
func (r reported) Ratio(name, _ string, part, whole float64, labels ...string) {
	r.Gauge(name, "", part/whole, labels...)
}
func (r reported) Histogram(name, _ string, h *perf.Histogram, labels ...string) {
	n := h.Distribution().Count
	r.Gauge(name, "", float64(n), labels...)
}

func TestFigures(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := ready(t, conf(s.URL()), Options{MaxValue: 10})
	get(t, l, at("m", "a"), at("m", "b"))
	l.Put(at("m", "a"), make([]byte, 11), time.Hour)
	stored(t, l, at("m", "a"), "x")
	p := reported{}
	testkit.Until(t, "counted", func() bool { l.Figures(p); return p["cache_l2_seconds put"] == 1 })
	is(t, "up", p["cache_l2_up"], 1)
	is(t, "hits", p["cache_l2_hits_total"], 1)
	is(t, "misses and the hit", p["cache_l2_misses_total"] >= 2, true)
	is(t, "ratio", p["cache_l2_hit_ratio"], 1/(1+p["cache_l2_misses_total"]))
	is(t, "dropped", p["cache_l2_dropped_total"], 1)
	is(t, "gets", p["cache_l2_seconds get"] >= 2, true)
	is(t, "figures", len(p), 8+1+int(redis.Protocol))
}
