package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/bench/process"
)

// figures are those of /metrics, by name with labels.
type figures map[string]float64

func (h *hardening) figures(ctx context.Context) (figures, error) {
	b, err := process.Page(ctx, h.base+"/metrics")
	if err != nil {
		return nil, err
	}
	all := figures{}
	for line := range strings.Lines(string(b)) {
		i := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64); err == nil {
			all[strings.TrimPrefix(line[:i], "sluice_")] = v
		}
	}
	return all, nil
}

// of is the sum of all figures of a name whose labels have what is said.
func (f figures) of(name string, labels ...string) (sum float64) {
	for k, v := range f {
		if n, rest, _ := strings.Cut(k, "{"); n != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		sum += v
	}
	return sum
}

// tells gives an error where there is no figure of a name with such labels: what is not told
// of never grows.
func (f figures) tells(name string, labels ...string) error {
	for k := range f {
		if n, rest, _ := strings.Cut(k, "{"); n == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			return nil
		}
	}
	return fmt.Errorf("/metrics has no %s %s", name, labels)
}

// growth adds up what counters grew by, which a reload may begin anew.
type growth struct{ last, sum figures }

func (g *growth) grow(now figures) {
	if g.sum == nil {
		g.sum = figures{}
	}
	for k, v := range now {
		if was := g.last[k]; v >= was {
			v -= was
		}
		g.sum[k] += v
	}
	g.last = now
}

const (
	// restless is how long Sluice may take to come to rest when nothing is asked any more.
	restless = time.Minute
	// idleGoroutines, idleFiles and idleBytes are by how much it may differ from a process that
	// has just begun: connections that are kept, what is known of clients' keys.
	idleGoroutines, idleFiles, idleBytes = 20, 20, 256 << 10
)

// held are the parts of the budget that hold nothing when nothing is asked.
var held = []string{"requests", "connections", "heads", "buffers", "events", "shared_calls", "spools", "codec", "codec_streams"}

// rest waits until Sluice has come to rest, which it was before, and gives its figures.
func (h *hardening) rest(ctx context.Context, before figures) (now figures, err error) {
	h.plain.CloseIdleConnections()
	h.multi.CloseIdleConnections()
	for end := time.Now().Add(restless); ; {
		if !pause(ctx, 2*time.Second) {
			return nil, ctx.Err()
		}
		if now, err = h.figures(ctx); err != nil {
			return nil, err
		}
		if before == nil {
			return now, now.complete()
		}
		var faults []error
		if in := now.of("requests_in_flight"); in != 0 {
			faults = append(faults, fmt.Errorf("%.0f requests are under way", in))
		}
		if n, was := now.of("go_goroutines"), before.of("go_goroutines"); n > was+idleGoroutines {
			faults = append(faults, fmt.Errorf("%.0f goroutines remain, of %.0f at the start", n, was))
		}
		if n, was := now.of("process_open_fds"), before.of("process_open_fds"); n > was+idleFiles {
			faults = append(faults, fmt.Errorf("%.0f files remain open, of %.0f at the start", n, was))
		}
		for _, part := range held {
			label := partLabel(part)
			if n, was := now.of("memory_reserved_bytes", label), before.of("memory_reserved_bytes", label); n > was+idleBytes {
				faults = append(faults, fmt.Errorf("%.0f bytes of %s remain reserved, of %.0f at the start", n, part, was))
			}
		}
		if faults == nil {
			return now, nil
		}
		if time.Now().After(end) {
			return now, errors.Join(faults...)
		}
	}
}

func partLabel(part string) string { return `part="` + part + `"` }

// complete gives an error where something is missing that rest looks at.
func (f figures) complete() error {
	errs := []error{f.tells("requests_in_flight"), f.tells("go_goroutines"), f.tells("process_open_fds")}
	for _, part := range held {
		errs = append(errs, f.tells("memory_reserved_bytes", partLabel(part)))
	}
	return errors.Join(errs...)
}

// judge says what came of it.
func (h *hardening) judge(ctx context.Context, w io.Writer, flows []flow, atRest figures) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	now, err := h.rest(ctx, atRest)
	if err != nil {
		fault("it does not come to rest: %w", err)
	}
	if b, err := process.Page(ctx, h.base+"/metrics"); err == nil {
		err = os.WriteFile(filepath.Join(h.dir, "metrics.txt"), b, 0o600)
		if err != nil {
			return err
		}
	}
	if now == nil {
		return errors.Join(append(faults, errors.New(h.lastWords()))...)
	}
	report, err := process.Page(ctx, h.base+"/v1/performance")
	if err != nil {
		return err
	}
	h.print(w)
	h.agree(now, report, fault)
	for _, o := range h.origins {
		o.kill() // so that all that they said is read
	}
	h.acts.readers.Wait()
	h.twice(fault)
	h.bound(fault)
	h.happened(w, fault)

	rest := flows[len(flows)/3:]
	slope := slopeOf(rest)
	peak := peakMiB(h.pid)
	fmt.Fprintf(w, "\nresident memory: %.1f MiB at the end, %.1f at most, growing by %.1f KiB a minute in the last two thirds; %.0f goroutines at rest, %.0f at the start\n",
		flows[len(flows)-1].resident, peak, slope, now.of("go_goroutines"), atRest.of("go_goroutines"))
	if !h.race {
		if peak > float64(h.limit) || peak == 0 {
			fault("%.1f MiB were resident at most, of the %d that it may use", peak, h.limit)
		}
	}
	state, why, err := h.health(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "process/leaks is %s: %s\n", state, why)
	if v := slices.MaxFunc(flows, func(a, b flow) int { return int(a.verdict - b.verdict) }).verdict; v > 1 {
		fault("the verdict was %s", verdicts(v))
	} else if v := flows[len(flows)-1].verdict; v > 0 { // a suspicion that has not passed
		fault("the verdict is %s at the end", verdicts(v))
	}
	h.spoken(fault)
	if h.ledger.faulty(w) {
		fault("%d kinds of faults are above", len(h.faults))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	fmt.Fprintln(w, "nothing was wrong, lost or done twice")
	return nil
}

// agree holds what Sluice has counted against what was sent. Of requests whose client has left
// nobody knows how far they got.
func (h *hardening) agree(now figures, report []byte, fault func(string, ...any)) {
	for op, sent := range h.statuses {
		if op == "protobuf" || op == "passthrough" {
			continue // requests of other kinds count with these
		}
		left := h.left[op]
		sum := 0
		for _, class := range []string{"2xx", "4xx", "5xx", classLeft, classBroken} {
			sum += sent[class]
			if class == classLeft {
				continue
			}
			got := int(now.of("requests_total", `operation="`+op+`"`, `status="`+class+`"`))
			if got < sent[class] || got > sent[class]+left {
				fault("requests_total of %s, %s is %d, where clients had %d, and %d left", op, class, got, sent[class], left)
			}
		}
		if got := int(now.of("requests_total", `operation="`+op+`"`)); got > sum || got < sum-left {
			fault("requests_total of %s is %d, where %d were sent", op, got, sum)
		}
	}
	var r struct {
		Systems map[string]map[string]struct {
			Series []struct {
				Labels map[string]string
				Total  *float64
			}
		}
	}
	if err := json.Unmarshal(report, &r); err != nil {
		fault("the report: %w", err)
		return
	}
	for _, name := range []string{"requests_total", "requests_failed_total", "client_errors_total"} {
		for op := range h.statuses {
			sum := 0.0
			for _, system := range r.Systems {
				for _, s := range system[name].Series {
					if s.Labels["operation"] == op && s.Total != nil {
						sum += *s.Total
					}
				}
			}
			if want := now.of(name, `operation="`+op+`"`); sum != want {
				fault("%s of %s is %.0f in the report and %.0f in /metrics", name, op, sum, want)
			}
		}
	}
}

// twice looks for work that was done more often than it may be: once, and for a stream that
// failed before its first event once more.
func (h *hardening) twice(fault func(string, ...any)) {
	h.acts.mu.Lock()
	defer h.acts.mu.Unlock()
	if n := h.outcomes["whole"]["answered"] + h.outcomes["stream"]["answered"]; len(h.acts.times) < n {
		fault("services told of work on %d questions, where %d new ones were answered", len(h.acts.times), n)
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(h.acts.times)) {
		n := h.acts.times[id]
		switch {
		case strings.HasPrefix(id, "r"): // asked more often
			continue
		case id == smuggled:
		case n > 2, n > 1 && !strings.HasPrefix(id, "s"):
		default:
			continue
		}
		ids = append(ids, fmt.Sprintf("%s (%d)", id, n))
	}
	if len(ids) > 0 {
		fault("%d questions were worked on more often than they may be: %s", len(ids), strings.Join(ids[:min(len(ids), 10)], ", "))
	}
}

const (
	// leastAnswered is the part of the requests of a kind that has to be answered, whatever
	// fails, of kinds that ask for nothing else. For a few requests it says nothing.
	leastAnswered, few = 0.8, 50
)

// bound makes sure that what fails fails few.
func (h *hardening) bound(fault func(string, ...any)) {
	for _, kind := range []string{"whole", "stream", "conversation", "tool", "asked before", "said twice", "slow body", "slow reader", "embeddings", "completions", "upload", "protobuf"} {
		all := 0
		for _, n := range h.outcomes[kind] {
			all += n
		}
		if n := h.outcomes[kind]["answered"]; all >= few && float64(n) < leastAnswered*float64(all) {
			fault("%d of %d requests were answered of the kind %s", n, all, kind)
		}
	}
}

// enough are requests of which each part of Sluice must have had some.
const enough = 4000

// happened makes sure that all took part that was meant to.
func (h *hardening) happened(w io.Writer, fault func(string, ...any)) {
	fmt.Fprint(w, "\n| what took part | |\n| --- | ---: |\n")
	for _, f := range []struct {
		what, name string
		labels     []string
	}{
		{"answers from memory", "cache_requests_total", []string{`result="hit"`}},
		{"answers from Redis", "cache_requests_total", []string{`result="hit_l2"`}},
		{"calls that joined others", "cache_requests_total", []string{`result="coalesced"`}},
		{"failures of Redis", "cache_l2_errors_total", nil},
		{"vectors from memory", "cache_items_total", []string{`result="hit"`}},
		{"shared calls", "batch_calls_total", []string{`kind="shared"`}},
		{"shorter requests", "dedup_changed_total", nil},
		{"retries", "route_retries_total", nil},
		{"fallbacks", "route_fallbacks_total", nil},
		{"calls of the Messages API", "route_requests_total", []string{`upstream="claude"`}},
		{"calls of the Gemini API", "route_requests_total", []string{`upstream="google"`}},
		{"calls of gRPC", "route_requests_total", []string{`upstream="grpc-`}},
		{"calls of protobuf over HTTP", "route_requests_total", []string{`upstream="proto"`}},
		{"native Responses and Messages", "route_requests_total", []string{`upstream="native-`}},
		{"streams broken off", "requests_total", []string{`status="broken"`}},
		{"limited requests", "rate_limit_refused_total", nil},
	} {
		n := h.sum.of(f.name, f.labels...)
		fmt.Fprintf(w, "| %s | %.0f |\n", f.what, n)
		if n == 0 && h.asked >= enough {
			fault("no %s: %s %s", f.what, f.name, f.labels)
		}
	}
	fmt.Fprintf(w, "| new configurations, and some that are none | %d, %d |\n", h.reloads.Load(), h.refused.Load())
}

// Words of the log that no run may have.
var (
	crash    = regexp.MustCompile(`panic:|fatal error:|DATA RACE|goroutine \d+ \[|level=ERROR`)
	reloaded = regexp.MustCompile(`msg="configuration reloaded"`)
	notTaken = regexp.MustCompile(`msg="configuration not reloaded`)
)

// leastTaken is the part of the configurations that have to have been taken, for being new
// or for a signal, or refused: one that is written while another is read may be passed over.
const leastTaken = 0.8

// spoken looks for what the log must not have, and must.
func (h *hardening) spoken(fault func(string, ...any)) {
	b, err := os.ReadFile(h.log())
	if err != nil {
		fault("%w", err)
		return
	}
	faults, refused, was := 0, 0, false
	for line := range bytes.Lines(b) {
		not := notTaken.Match(line)
		if not && !was { // there is a line for each of its faults
			refused++
		}
		was = not
		switch {
		case not:
		case crash.Match(line):
			if faults++; faults <= shown {
				fault("the log has: %.400s", bytes.TrimSpace(line))
			}
		}
	}
	taken, written, none := len(reloaded.FindAll(b, -1)), h.reloads.Load()+h.signals.Load(), h.refused.Load()
	if float64(taken) < leastTaken*float64(written) || float64(refused) < leastTaken*float64(none) {
		fault("configurations were taken %d times, of %d, and %d were refused, of %d that are none", taken, written, refused, none)
	}
}

// lastWords are the end of the log.
func (h *hardening) lastWords() string {
	b, _ := os.ReadFile(h.log())
	return "the log ends with:\n" + string(b[max(0, len(b)-4000):])
}

// peakMiB is the most that a process had resident (VmHWM, proc(5)).
func peakMiB(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	kib, _ := strconv.ParseFloat(string(m[1]), 64)
	return kib / 1024
}
