package redis

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/cache"
	"sluice/internal/llm"
	"sluice/internal/redis"
	"sluice/internal/redis/redistest"
	"sluice/internal/testkit"
)

// Every test closes its levels, in whatever state they are: nothing may be left.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fast is the pace of tests.
var fast = redis.Pace{First: 5 * time.Millisecond, Longest: 50 * time.Millisecond}

// patient is more than any command takes, on a busy machine too.
const patient = time.Minute

// conf is a configuration that is as patient.
func conf(url string) Config {
	cfg := Default()
	cfg.URL, cfg.Timeout = llm.NewSecret(url), patient
	return cfg
}

func level(t testing.TB, cfg Config, o Options) *Level {
	t.Helper()
	return paced(t, cfg, o, fast)
}

func paced(t testing.TB, cfg Config, o Options, pace redis.Pace) *Level {
	t.Helper()
	if o.Servers == nil {
		o.Servers = &redis.Servers{Patience: patient}
	}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	l, err := open(cfg, o, pace)
	if err != nil {
		t.Fatal(err)
	}
	l.Start()
	t.Cleanup(l.Close)
	return l
}

// ready makes a level and waits until it is up and subscribed.
func ready(t testing.TB, cfg Config, o Options) *Level {
	t.Helper()
	l := level(t, cfg, o)
	testkit.Until(t, "up", l.Up)
	subscribed(t, l, 1)
	return l
}

// subscribed waits for the level's nth subscription.
func subscribed(t testing.TB, l *Level, n uint64) {
	t.Helper()
	testkit.Until(t, "subscribed", func() bool { return l.figures.subscriptions.Load() == n })
}

// subscribers counts who hears of the level's purges.
func subscribers(t testing.TB, s *redistest.Server, l *Level) int64 {
	n, err := s.PubSubNumSub(t.Context(), l.names.channel).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n[l.names.channel]
}

func at(model, request string) cache.Place {
	return cache.Place{Model: model, Key: sha256.Sum256([]byte(request))}
}

// get returns what the level has in places, as "value value", with "-" for none.
func get(t testing.TB, l *Level, places ...cache.Place) string {
	t.Helper()
	found := make([]cache.Found, len(places))
	if err := l.Get(context.Background(), places, found); err != nil {
		return fmt.Sprintf("%v: %v", redis.KindOf(err), err)
	}
	var out []string
	for _, f := range found {
		switch {
		case f.Value == nil && f.Left == 0:
			out = append(out, "-")
		case f.Left > 0:
			out = append(out, string(f.Value))
		default:
			out = append(out, fmt.Sprintf("%q without life", f.Value))
		}
	}
	return strings.Join(out, " ")
}

// stored puts a value and waits until it is there.
func stored(t testing.TB, l *Level, p cache.Place, value string) {
	t.Helper()
	l.Put(p, []byte(value), time.Hour)
	testkit.Until(t, "stored", func() bool { return get(t, l, p) == value })
}

func is[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
