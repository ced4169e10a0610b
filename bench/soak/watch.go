package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/bench/process"
)

// sampled is the time between two looks at the process, told that between two rows.
const sampled, told = 10 * time.Second, 5 * time.Minute

// watch looks at one Sluice while it is loaded.
type watch struct {
	base    string // URL of the Sluice
	pid     int
	samples io.Writer // nil for nobody

	mu    sync.Mutex
	asked int
}

// flow is how Sluice does at a time.
type flow struct {
	at                               time.Duration
	resident                         float64 // MiB
	heap, goroutines, files, verdict float64
}

// heading stands above the rows of tell.
const heading = "| minute | requests | resident MiB | live heap MiB | goroutines | files | verdict |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"

// tell prints a row.
func (s *watch) tell(w io.Writer, f flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(w, "| %.1f | %d | %.1f | %.2f | %.0f | %.0f | %s |\n", f.at.Minutes(), s.asked, f.resident, f.heap, f.goroutines, f.files, verdicts(f.verdict))
}

func verdicts(v float64) string { return [...]string{"none", "suspected", "leak"}[int(v)] }

// look takes a sample.
func (s *watch) look(ctx context.Context, at time.Duration) (flow, error) {
	b, err := process.Page(ctx, s.base+"/metrics")
	if err != nil {
		return flow{}, err
	}
	f := flow{at: at}
	if f.resident, err = process.ResidentMiB(s.pid); err != nil {
		return f, err
	}
	other := map[string]float64{}
	missing := map[string]bool{"sluice_go_heap_live_bytes": true, "sluice_go_goroutines": true, "sluice_process_open_fds": true, "sluice_leak_verdict": true}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, _ := strconv.ParseFloat(value, 64)
		name, _, _ = strings.Cut(name, "{")
		delete(missing, name)
		switch name {
		case "sluice_go_heap_live_bytes":
			f.heap = v / (1 << 20)
		case "sluice_go_goroutines":
			f.goroutines = v
		case "sluice_process_open_fds":
			f.files = v
		case "sluice_leak_verdict":
			f.verdict = max(f.verdict, v)
		case "sluice_requests_in_flight", "sluice_client_connections_open", "sluice_upstream_connections_open", "sluice_cache_bytes", "sluice_go_gc_cycles_total":
			other[name] += v
		}
	}
	if len(missing) > 0 { // what is not told of never leaks
		return f, fmt.Errorf("/metrics lacks %s", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	if s.samples != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, err = fmt.Fprintf(s.samples, "%.0f,%d,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f\n", at.Seconds(), s.asked, f.resident*1024, f.heap*(1<<20), f.goroutines, f.files,
			other["sluice_requests_in_flight"], other["sluice_client_connections_open"], other["sluice_upstream_connections_open"], other["sluice_cache_bytes"], other["sluice_go_gc_cycles_total"], f.verdict)
	}
	return f, err
}

// slopeOf is the median of the slopes of resident memory between each two samples, in
// KiB a minute.
func slopeOf(flows []flow) float64 {
	var slopes []float64
	for i := range flows {
		for j := range i {
			slopes = append(slopes, (flows[i].resident-flows[j].resident)*1024/(flows[i].at-flows[j].at).Minutes())
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2]
}

func (s *watch) health(ctx context.Context) (state, why string, err error) {
	b, err := process.Page(ctx, s.base+"/v1/health/detailed")
	if err != nil {
		return "", "", err
	}
	var reply struct {
		Components []struct {
			Name      string `json:"name"`
			Status    string `json:"status"`
			LastError string `json:"last_error"`
		} `json:"components"`
	}
	if err := json.Unmarshal(b, &reply); err != nil {
		return "", "", err
	}
	for _, c := range reply.Components {
		if c.Name == "process/leaks" {
			return c.Status, c.LastError, nil
		}
	}
	return "", "", errors.New("health has no process/leaks")
}
