package bench

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Nothing that was not measured may look as if it had been.

// standIn is a child that is this process, which answers at an address.
func standIn(t *testing.T, answer http.HandlerFunc) *child {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	c := &child{name: "the gateway", addr: answering(t, answer), proc: self, log: filepath.Join(t.TempDir(), "log"), ended: make(chan struct{})}
	if err := os.WriteFile(c.log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFails: an experiment that fails is not measured, and says why; others are.
func TestFails(t *testing.T) {
	made := func(id string, err error) experiment {
		return experiment{rows: []Row{{ID: id, Title: id, Claim: Claim{Low: 0.5}}}, measure: func(_ context.Context, _ *run, rows map[string]*Row) error {
			rows[id].Figures = []Figure{figure(false, 4, 1, 4, 1)}
			return err
		}}
	}
	fails := errors.New("3 of 4 requests failed")
	r := &run{Options: Options{Rounds: 1}, report: &Report{}}
	if err := r.all(t.Context(), []experiment{made("a", nil), made("b", fails), made("c", nil)}); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
	r.report.finish()
	var verdicts []Verdict
	for _, row := range r.report.Rows {
		verdicts = append(verdicts, row.Verdict)
	}
	if !slices.Equal(verdicts, []Verdict{Holds, Skipped, Holds}) || r.report.Rows[1].Reason != "It failed: 3 of 4 requests failed." {
		t.Errorf("%+v", r.report.Rows)
	}
	if err := r.all(ended(t), []experiment{made("a", nil), made("b", nil)}); err != nil || len(r.report.Rows) != 3 {
		t.Errorf("%v, %d rows", err, len(r.report.Rows))
	}
}

// TestTally: requests that failed because a program has ended say nothing.
func TestTally(t *testing.T) {
	alive, dead := &child{name: "a", ended: make(chan struct{})}, &child{name: "b", ended: make(chan struct{})}
	close(dead.ended)
	replies := []reply{{good: true, took: time.Second}, {}, {good: true, took: 2 * time.Second}}
	if failed, took, err := tally(replies, alive); err != nil || failed != 1 || !slices.Equal(took, []float64{1, 2}) {
		t.Errorf("%v failed, %v, %v", failed, took, err)
	}
	if _, _, err := tally(replies, alive, dead); err == nil || err.Error() != "b ended" {
		t.Errorf("a program has ended: %v", err)
	}
}

// restful is what a gateway tells at rest.
const restful = "sluice_client_connections_open 1\nsluice_upstream_connections_open{upstream=\"a b\"} 2\nsluice_upstream_connections_open{upstream=\"c\"} 1\n" +
	"sluice_go_goroutines 40\nsluice_go_heap_live_bytes 5000\nsluice_cache_bytes 1000\nsluice_process_open_fds 24\n"

// TestRest: a gateway at rest is what it tells; what it does not tell is an error, and so
// is a collection of which its log has no word.
func TestRest(t *testing.T) {
	var told atomic.Pointer[string]
	var silent atomic.Bool
	var g *child
	g = standIn(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, *told.Load())
		} else if !silent.Load() {
			log, err := os.OpenFile(g.log, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer log.Close()
			_, _ = io.WriteString(log, "gc 2 @1.2s 0%: 0.5+10+1.5 ms clock, 1+0/0/0+3 ms cpu, 8->8->2 MB (forced)\n")
		}
	})
	all := restful
	told.Store(&all)
	r := &run{key: "the-key-of-the-run"}
	if got, err := r.rest(t.Context(), g); err != nil || got != (Rest{Goroutines: 40, Files: 20, Heap: 4000}) {
		t.Errorf("%+v, %v", got, err)
	}
	for line := range strings.Lines(restful) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "sluice_"), " ")
		name, _, _ = strings.Cut(name, "{")
		var left string
		for other := range strings.Lines(restful) {
			if !strings.HasPrefix(other, "sluice_"+name) {
				left += other
			}
		}
		told.Store(&left)
		_, err := r.rest(t.Context(), g)
		if files := name == "process_open_fds"; files != (err == nil) || err != nil && !strings.Contains(err.Error(), name+" is not there") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	told.Store(&all)
	silent.Store(true)
	if _, err := r.rest(t.Context(), g); err == nil || !strings.Contains(err.Error(), "tells of no collection") {
		t.Errorf("a silent log: %v", err)
	}
}

// TestCollected: what is counted of collections has one at least.
func TestCollected(t *testing.T) {
	g := standIn(t, nil)
	m := meter{child: g}
	if m.collected() {
		t.Error("nothing was collected")
	}
	if err := os.WriteFile(g.log, []byte("x\ngc 2 @1.2s 0%: 0.5+10+1.5 ms clock, 1 ms cpu\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !m.collected() {
		t.Error("it has collected")
	}
	if m.at = 2; !m.collected() {
		t.Error("it has collected since")
	}
	if m.at = 10; m.collected() {
		t.Error("it has collected before")
	}
}

// TestOpen: memory is looked at while streams are open, and not once they have ended.
func TestOpen(t *testing.T) {
	const streams = 3
	for _, ends := range []bool{false, true} {
		g := standIn(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
			if ends {
				return
			}
			<-r.Context().Done()
		})
		r := &run{Options: Options{Slice: 200 * time.Millisecond}, key: "the-key-of-the-run"}
		for _, more := range []time.Duration{0, 250 * time.Millisecond} {
			young, old, err := r.open(t.Context(), g, streams, more)
			if ends && (err == nil || !strings.Contains(err.Error(), "a stream ended early")) {
				t.Errorf("streams that end: %v, %v", young, err)
			}
			if !ends && (err != nil || len(young) != 10 || slices.Min(young) <= 0 || len(old) != 10 && more > 0 || len(old) > 0 && more == 0) {
				t.Errorf("streams that do not: %v, %v, %v", young, old, err)
			}
		}
	}
	if got := endedEarly(nil); !errors.Is(got, io.EOF) {
		t.Errorf("%v", got)
	}
}

// TestCrowded: the load is what its description says.
func TestCrowded(t *testing.T) {
	r := &run{key: "the-key-of-the-run"}
	times, kinds := map[string]int{}, map[string]int{}
	for n := range 1000 {
		q := crowded(r, n+1)
		times[q.fault+q.body]++
		kinds[q.path]++
	}
	again := 0
	for _, n := range times {
		if n > 1 {
			again++
		}
		if n != 1 && n != 10 {
			t.Errorf("something is asked %d times", n)
		}
	}
	if again != 20 || len(times) != 820 || kinds[embedPath] != 200 || kinds[chatPath] != 800 {
		t.Errorf("%d chats come again, %d requests are different, %v", again, len(times), kinds)
	}
}

// TestLost: rounds in which there was nothing before and something now are no gain.
func TestLost(t *testing.T) {
	row := Row{ID: pausesRow, Claim: Claim{Low: 0.6}}
	row.Figures = []Figure{figure(false, 4, 1, 4, 1, 4, 1)}
	if row.verdict() != Holds {
		t.Errorf("%s", row.verdict())
	}
	row.Figures = []Figure{figure(false, 4, 1, 4, 1, 0, 9)}
	if v, why := row.verdict(), row.reason(); v != Unclear || !strings.Contains(why, "something now") {
		t.Errorf("%s: %s", v, why)
	}
	row.Figures = []Figure{figure(false, 4, 3, 4, 3, 0, 9)}
	if v := row.verdict(); v != FallsShort {
		t.Errorf("%s", v)
	}
	row.Figures = []Figure{figure(false, 0, 0)}
	if v, why := row.verdict(), row.reason(); v != Unclear || !strings.Contains(why, "In no round") {
		t.Errorf("%s: %s", v, why)
	}
	if figure(true, 0, 9).lost() {
		t.Error("more than nothing is a loss")
	}
}

// TestHeapLeaks: a heap that grows from each look to the next by a kilobyte a request
// leaks; one that swings by as much may.
func TestHeapLeaks(t *testing.T) {
	for _, c := range []struct {
		heaps []float64 // MiB, 1,000 requests apart
		want  Verdict
	}{
		{[]float64{9, 1, 3, 5, 7, 9}, FallsShort},
		{[]float64{9, 1, 3, 2, 7, 9}, Unclear},
		{[]float64{1, 3, 5, 7, 9}, Unclear}, // too few looks
		{[]float64{9, 1, 1, 1, 1, 1}, Holds},
	} {
		row := Row{ID: leakRow, Watch: "healthy"}
		for i, mib := range c.heaps {
			row.Rests = append(row.Rests, Rest{Requests: float64(1000 * (i + 1)), Goroutines: 40, Files: 20, Heap: mib * (1 << 20)})
		}
		if got := row.verdict(); got != c.want {
			t.Errorf("%v: %s, want %s: %s", c.heaps, got, c.want, row.reason())
		}
	}
}

func TestAnswers(t *testing.T) {
	for reply, want := range map[string]bool{`{"choices":[{"index":0}]}`: true, `{"choices":[]}`: false, `{"error":{}}`: false, "": false, "<html>": false, `[1]`: false} {
		if answers([]byte(reply)) != want {
			t.Errorf("%q: %v", reply, !want)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := printable([]byte("é \x1b[2J\r\n\u202e{\"a\"}\xff")); got != "é  [2J   {\"a\"}\ufffd" {
		t.Errorf("%q", got)
	}
}

// TestService: a key in a query stays out of reports.
func TestService(t *testing.T) {
	for upstream, want := range map[string]string{"": "", "https://a.example/v1": "https://a.example/v1", "https://a.example/v1?key=secret": "https://a.example/v1"} {
		if got := (Options{Upstream: upstream}).Service(); got != want {
			t.Errorf("%q: %q", upstream, got)
		}
	}
}
