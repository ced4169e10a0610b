package timeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/perf"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source reports what its function does.
type source struct{ figures func(perf.Reporter) }

func (s *source) Figures(r perf.Reporter) {
	passed.Load()
	s.figures(r)
}

// passed makes what a test wrote before it let time pass known to sources, for the
// race detector: a sleep does not.
var passed atomic.Int64

// fixture is a Timeline that runs, in a bubble of faked time.
type fixture struct {
	*Timeline
	reg  *perf.Registry
	log  *testkit.Buffer
	stop func()
}

func start(t *testing.T, change func(*Options), figures func(perf.Reporter)) *fixture {
	t.Helper()
	f := &fixture{reg: perf.New(), log: new(testkit.Buffer)}
	f.reg.Register("test", &source{figures})
	o := Options{Config: Default(), Logger: slog.New(slog.NewTextHandler(f.log, nil))}
	if change != nil {
		change(&o)
	}
	line, err := New(f.reg, o)
	if err != nil {
		t.Fatal(err)
	}
	running := run(line)
	f.Timeline, f.stop = line, running.stop
	return f
}

// run has a Timeline run until it is stopped.
func run(line *Timeline) *fixture {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { line.Run(ctx) })
	synctest.Wait()
	return &fixture{Timeline: line, stop: func() { cancel(); done.Wait() }}
}

// pass lets time pass, to just after what happens at its end.
func pass(d time.Duration) {
	passed.Add(1)
	time.Sleep(d)
	synctest.Wait()
}

// expect compares a stat; want < 0 is none.
func (f *fixture) expect(t *testing.T, figure, stat string, window time.Duration, want float64, samples uint64) {
	t.Helper()
	got, n, ok := f.Read(figure, nil, stat, window)
	if ok != (want >= 0) || ok && (!near(got, want) || n != samples) {
		t.Errorf("%s %s %v: got %g of %d, %v; want %g of %d", figure, stat, window, got, n, ok, want, samples)
	}
}

func near(got, want float64) bool {
	d := got - want
	return max(d, -d) <= perf.MaxError*max(want, -want)+1e-9
}
