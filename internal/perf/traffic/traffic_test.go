package traffic

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seen is what was reported, by name and labels.
type seen map[string]float64

func name(n string, labels []string) string { return strings.Join(append([]string{n}, labels...), " ") }

func (s seen) Counter(n, _ string, v float64, labels ...string) { s[name(n, labels)] = v }
func (s seen) Gauge(n, _ string, v float64, labels ...string)   { s[name(n, labels)] = v }
func (s seen) Histogram(n, _ string, h *perf.Histogram, labels ...string) {
	s[name(n, labels)] = float64(h.Distribution().Count)
}
func (s seen) Ratio(n, _ string, part, whole float64, labels ...string) {
	s[name(n, labels)] = part / whole
}

func figures(t *Traffic) seen {
	s := seen{}
	t.Figures(s)
	return s
}

func answered(model string) *perf.Exchange {
	return &perf.Exchange{
		ID: "r1", Op: llm.Chat, Model: model, Upstream: "up", Status: 200, Begun: time.Now(), Stream: true,
		First: 2 * time.Second, Total: 3 * time.Second, Waiting: time.Second, HasOverhead: true, Overhead: time.Millisecond,
		Usage: perf.Usage{Known: true, Input: 10, Output: 5, Cached: 3},
	}
}

func TestFigures(t *testing.T) {
	tr := New()
	if got := figures(tr); len(got) != 0 {
		t.Errorf("nothing has happened, and %v is reported", got)
	}
	tr.Observe(answered("m"))
	hit := answered("m")
	hit.Cache, hit.Stream, hit.Waiting = llm.CacheHit, false, 0
	tr.Observe(hit)
	failed := answered("m")
	failed.Status, failed.HasOverhead, failed.Upstream, failed.Usage = 502, false, "", perf.Usage{}
	failed.First, failed.Queued = 0, time.Second
	tr.Observe(failed)
	cut, left := answered("m"), answered("m")
	cut.Aborted, cut.Late, cut.Usage = perf.AbortUpstream, 502, perf.Usage{}
	tr.Observe(cut)
	left.Aborted, left.Usage = perf.AbortClient, perf.Usage{}
	tr.Observe(left)
	own := answered("m")
	own.Own = true
	tr.Observe(own)
	got := figures(tr)
	for k, want := range map[string]float64{
		"request_duration_seconds operation chat":               5,
		"request_overhead_seconds operation chat":               4,
		"request_queue_seconds operation chat":                  1,
		"request_error_ratio operation chat":                    2. / 5,
		"model_request_error_ratio operation chat model m":      2. / 5,
		"upstream_request_error_ratio upstream up":              1. / 3,
		"model_request_duration_seconds operation chat model m": 5,
		"model_first_event_seconds operation chat model m":      3,
		"model_tokens operation chat model m type input":        1,
		"upstream_request_duration_seconds upstream up":         3,
		"upstream_wait_seconds upstream up":                     3,

		"requests_failed_total operation chat class server_error":   1,
		"requests_failed_total operation chat class upstream_error": 0,
		"requests_failed_total operation chat class timeout":        0,
		"requests_failed_total operation chat class cut":            1,
		"requests_failed_total operation chat class stream_error":   0,
		"requests_failed_total operation chat class shutdown":       0,
		"client_errors_total operation chat class client_left":      1,

		"tokens_total type input":  10,
		"tokens_total type output": 5,
		"tokens_total type cached": 3,
		"tokens_saved_total":       15,
	} {
		if v, ok := got[k]; v != want || !ok {
			t.Errorf("%s is %g, want %g", k, v, want)
		}
		delete(got, k)
	}
	last := tr.Recent()
	if last[0].Error != "client_left" || last[0].Failed || last[1].Error != "cut" || !last[1].Failed || last[4].Error != "" || last[4].Failed {
		t.Errorf("the last requests are %+v", last)
	}
	for k := range got {
		if !strings.HasPrefix(k, "model_") && !strings.HasPrefix(k, "upstream_") {
			t.Errorf("%s is reported", k)
		}
	}
}

// Of a reply that came from memory in part the upstream took the rest.
func TestPartlySaved(t *testing.T) {
	for saved, want := range map[int64][2]float64{0: {10, 0}, 4: {6, 4}, 10: {0, 10}, 11: {0, 10}, -1: {10, 0}} {
		tr := New()
		x := answered("m")
		x.Cache, x.Saved, x.Usage = llm.CacheMiss, saved, perf.Usage{Known: true, Input: 10}
		tr.Observe(x)
		got := figures(tr)
		if spent := got["tokens_total type input"]; spent != want[0] || got["tokens_saved_total"] != want[1] {
			t.Errorf("%d saved: %g were spent and %g saved", saved, spent, got["tokens_saved_total"])
		}
		// Who joined its call has cost nothing.
		x.Cache = llm.CacheCoalesced
		tr.Observe(x)
		if got := figures(tr)["tokens_saved_total"]; got != want[1]+10 {
			t.Errorf("%d saved: %g with who joined", saved, got)
		}
	}
}

// A model that nobody has answered for has no label, however often it is named.
func TestUnknownModel(t *testing.T) {
	tr := New()
	x := answered("junk")
	x.Status, x.Upstream = 404, ""
	tr.Observe(x)
	if got := figures(tr); got["model_request_duration_seconds operation chat model other"] != 1 {
		t.Errorf("it is reported as %v", got)
	}
	tr.Observe(answered("junk"))
	tr.Observe(x)
	if got := figures(tr)["model_request_duration_seconds operation chat model junk"]; got != 2 {
		t.Errorf("once it was answered it has %g requests", got)
	}
}

// Memory stays the same under 100,000 names, even answered ones; every request
// is counted somewhere; and the first names come in again when others are not
// used any more.
func TestBounded(t *testing.T) {
	testkit.Simulation(t)
	tr := New()
	begun := time.Now()
	observe := func(i int) {
		x := answered(fmt.Sprintf("model-%d", i))
		x.Begun, x.Upstream = begun, fmt.Sprintf("up-%d", i)
		tr.Observe(x)
	}
	total := func() (n float64, models int) {
		for k, v := range figures(tr) {
			if strings.HasPrefix(k, "model_request_duration_seconds ") {
				n, models = n+v, models+1
			}
		}
		return n, models
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for i := range 1000 {
		observe(i)
	}
	before := heap()
	for i := range 100_000 {
		observe(i)
	}
	if n, models := total(); n != 101_000 || models != MaxModels+1 {
		t.Errorf("%g requests under %d names", n, models)
	}
	if after := heap(); after > before+64<<10 {
		t.Errorf("the heap grew by %d bytes", after-before)
	}
	begun = begun.Add(3 * time.Hour)
	observe(7_777)
	if got := figures(tr)["model_request_duration_seconds operation chat model model-7777"]; got != 1 {
		t.Errorf("a new model has %g requests of its own after others were not used", got)
	}
	runtime.KeepAlive(tr)
}

// A name that is known has a label from its first request on, answered or not,
// whatever others have taken the room.
func TestKnownNames(t *testing.T) {
	for _, first := range []string{"m", "alias"} {
		t.Run(first+" first", func(t *testing.T) { testKnownNames(t, first) })
	}
}

func testKnownNames(t *testing.T, first string) {
	tr := New()
	tr.Know(func(model string) bool { return strings.HasPrefix(model, "alias") })
	then := map[string]string{"m": "alias", "alias": "m"}[first]
	for _, prefix := range []string{first, then} {
		for i := range 2 * MaxModels {
			x := answered(fmt.Sprint(prefix, i))
			if prefix == "alias" {
				x.Status = 500
			}
			tr.Observe(x)
		}
	}
	x := answered("slip")
	x.Status = 500
	tr.Observe(x)
	got := figures(tr)
	for name, want := range map[string]float64{
		"m0": 1, fmt.Sprint("m", MaxModels-1): 1, fmt.Sprint("m", MaxModels): 0,
		"alias0": 1, fmt.Sprint("alias", MaxModels-1): 1, fmt.Sprint("alias", MaxModels): 0,
		"slip": 0, "other": 2*MaxModels + 1,
	} {
		if n := got["model_request_duration_seconds operation chat model "+name]; n != want {
			t.Errorf("%s: %g requests, want %g", name, n, want)
		}
	}
}

func TestRecent(t *testing.T) {
	tr := New()
	long := strings.Repeat("é", 100) // is cut in the middle of a letter
	for i := range Kept + 50 {
		x := answered(fmt.Sprint("m", i))
		if i == Kept+49 {
			x.Model, x.Tenant, x.Trace.ID, x.Cache = long, `<b>"`, perf.TraceID{1}, llm.CacheHit
		}
		tr.Observe(x)
	}
	b, err := tr.RecentJSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Data []Request }
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Data) != Kept || got.Data[1].Model != fmt.Sprint("m", Kept+48) || got.Data[Kept-1].Model != "m50" {
		t.Fatalf("%d requests, from %q to %q", len(got.Data), got.Data[1].Model, got.Data[len(got.Data)-1].Model)
	}
	if w := got.Data[1].Waiting; w == nil || *w != 1 {
		t.Error("it is not told how long a request waited")
	}
	last := got.Data[0]
	if !strings.HasPrefix(last.Model, "éééé") || last.Tenant != `<b>"` || last.Trace != "01"+strings.Repeat("0", 30) ||
		last.Waiting != nil || *last.FirstEvent != 2 || *last.Overhead != 0.001 || *last.Input != 10 || last.Cache != "HIT" {
		t.Errorf("the last one is %+v", last)
	}
}

func TestConcurrent(t *testing.T) {
	tr := New()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				tr.Observe(answered(fmt.Sprint("m", (g*i)%130)))
				if i%100 == 0 {
					figures(tr)
					tr.Recent()
				}
			}
		})
	}
	wg.Wait()
	if got := figures(tr)["request_duration_seconds operation chat"]; got != 4000 {
		t.Errorf("counted %g", got)
	}
}

func TestObserveAllocs(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	tr, x := New(), answered("m")
	x.Trace = perf.Trace{ID: perf.TraceID{1}, Sampled: true}
	tr.Observe(x)
	if n := testing.AllocsPerRun(100, func() { tr.Observe(x) }); n != 0 {
		t.Errorf("Observe allocates %v times", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	tr, x := New(), answered("m")
	for b.Loop() {
		tr.Observe(x)
	}
}

// TestOperations: each operation is counted under its name, and what is none as a
// passthrough.
func TestOperations(t *testing.T) {
	tr := New()
	for op := range llm.Operations + 3 {
		for _, model := range []string{"", "m"} {
			x := answered(model)
			x.Op, x.Status = op, 503
			tr.Observe(x)
		}
	}
	got := figures(tr)
	for op := range llm.Operations {
		want := 2.0
		if op == llm.Passthrough {
			want += 2 * 3
		}
		if n := got["request_duration_seconds operation "+op.String()]; n != want {
			t.Errorf("%g requests of %v", n, op)
		}
		if n := got["requests_failed_total operation "+op.String()+" class upstream_error"]; n != want {
			t.Errorf("%g failures of %v", n, op)
		}
	}
	if n := len(tr.Recent()); n != 2*(int(llm.Operations)+3) {
		t.Errorf("%d requests are kept", n)
	}
}
