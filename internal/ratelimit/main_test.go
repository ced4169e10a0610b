package ratelimit

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/monotonic"
	"sluice/internal/perf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is the default one with some of it changed.
func config(change func(*Config)) Config {
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// one makes the Limits of one key, and gives the key.
func one(t testing.TB, cfg Config, requests, tokens int64, o Options) (*Limits, *Key) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	l, err := New(cfg, []Spec{{Name: "team", ID: "sha256:0", RequestsPerMinute: requests, TokensPerMinute: tokens}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Key("sha256:0")
}

// refusal is the error that a call was refused with, nil for none.
func refusal(err error) *llm.Error {
	e, _ := errors.AsType[*llm.Error](err)
	return e
}

// memory is a store that machines of a test share. It counts as the script does.
type memory struct {
	clock  monotonic.Clock
	at     time.Duration
	levels amounts
	fail   error // instead of an answer
	asked  int
	told   int // keys that were put right outside of a call
}

func (m *memory) take(k *Key, cost, owed amounts) (answer, error) {
	m.asked++
	if m.fail != nil {
		return answer{}, m.fail
	}
	now := m.clock.Now()
	m.levels, m.at = k.filled(k.drained(m.levels, now-m.at), owed), now
	if !k.room(m.levels, cost) {
		return answer{false, m.levels}, nil
	}
	m.levels = k.filled(m.levels, cost)
	return answer{true, m.levels}, nil
}

func (m *memory) settle(list []owing) {
	for _, o := range list {
		m.told++
		_, _ = m.take(o.key, amounts{}, o.owed)
		m.asked--
	}
}
func (m *memory) Examine(func(perf.Condition)) {}
func (m *memory) Figures(perf.Reporter)        {}
func (m *memory) start()                       {}
func (m *memory) close()                       {}

// handler answers as a test says.
type handler func(ctx context.Context, req *llm.Request, out llm.Sink) error

func (h handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	return h(ctx, req, out)
}

// nothing takes a reply and keeps nothing of it.
type nothing struct{}

func (nothing) Start(*llm.Head) error  { return nil }
func (nothing) Send([]llm.Event) error { return nil }
