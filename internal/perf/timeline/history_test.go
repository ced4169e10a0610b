package timeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/perf"
)

// in keeps the history in a directory, with a point every minute.
func in(dir string) func(*Options) {
	return func(o *Options) { o.StateDir, o.Config.ReportInterval = dir, time.Minute }
}

// busy is a gateway that answers two requests per second.
func busy(r perf.Reporter) {
	n := 2 * time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()
	r.Counter("requests_total", "", n, "operation", "chat")
	r.Counter("idle_total", "", 0)
	r.Ratio("request_error_ratio", "", n/4, n)
	r.Ratio("cache_hit_ratio", "", n/3, n)
	r.Ratio("idle_ratio", "", 0, 0)
	r.Gauge("go_heap_live_bytes", "", 12345678)
	r.Counter("cache_freed_bytes_total", "", n*100, "cause", "expired")
	r.Counter("cache_freed_bytes_total", "", n*100, "cause", "purged")
	r.Counter("pool_freed_total", "", 7)
}

func (f *fixture) points() string {
	var b strings.Builder
	_, points := f.History()
	for _, p := range points {
		fmt.Fprintln(&b, p.Time.Format(time.TimeOnly), p.Names, p.Values)
	}
	return b.String()
}

// Each interval has a point and a line, of what is known alone.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var response, overhead, sizes, idle perf.Histogram
		f := start(t, nil, func(r perf.Reporter) {
			busy(r)
			r.Histogram("request_duration_seconds", "", &response, "operation", "chat")
			r.Histogram("request_overhead_seconds", "", &overhead)
			r.Histogram("idle_seconds", "", &idle)
			r.Histogram("model_tokens", "", &sizes)
		})
		defer f.stop()
		pass(time.Second)
		for range 100 {
			response.Observe(100 * time.Millisecond)
			overhead.Observe(10 * time.Microsecond)
			sizes.ObserveCount(10)
		}
		pass(298 * time.Second)
		if f.log.String() != "" {
			t.Error("too early: ", f.log)
		}
		pass(time.Second)
		const line = `msg=performance requests_total.rate=2 request_error_ratio=0.25 request_duration_seconds.p50=0.09957 request_duration_seconds.p99=0.09957 ` +
			`request_overhead_seconds.p99=1e-05 go_heap_live_bytes=12345678 cache_hit_ratio=0.3333 cache_freed_bytes=120000 cache_freed_bytes.expired=60000 cache_freed_bytes.purged=60000 pool_freed=0` + "\n"
		if got := f.log.String(); !strings.HasSuffix(got, line) {
			t.Errorf("got %swant %s", got, line)
		}
		const point = "00:05:00 [cache_freed_bytes_total.rate cache_hit_ratio go_heap_live_bytes pool_freed_total.rate request_duration_seconds.count request_duration_seconds.p50 request_duration_seconds.p99 request_error_ratio " +
			"request_overhead_seconds.count request_overhead_seconds.p50 request_overhead_seconds.p99 requests_total.rate] " +
			"[400 0.33333334 1.2345678e+07 0 100 0.099571384 0.099571384 0.25 100 1.0001841e-05 1.0001841e-05 2]\n"
		if got := f.points(); got != point {
			t.Errorf("got  %swant %s", got, point)
		}
		pass(5 * time.Minute) // nothing is counted twice
		if got := f.log.String(); strings.Count(got, "\n") != 2 || strings.Contains(got[len(got)/2:], "p99") || strings.Count(got, "cache_freed_bytes=120000") != 2 {
			t.Error(got)
		}
		f.Use(Config{ReportInterval: 20 * time.Second})
		pass(time.Minute)
		if got := f.log.String(); strings.Count(got, "\n") != 5 {
			t.Error(got)
		}
	})
}

// Points come at the interval, also where that is no multiple of samples.
func TestOddInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(o *Options) { o.Config.ReportInterval = 15 * time.Second }, busy)
		defer f.stop()
		pass(20 * time.Minute)
		if _, points := f.History(); len(points) != 80 {
			t.Errorf("%d points", len(points))
		}
	})
}

// The history is of a day, whatever was there before.
func TestHistoryIsOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		rarely := func(o *Options) { o.StateDir, o.Config.ReportInterval = dir, 30*time.Minute }
		f := start(t, rarely, busy)
		pass(25 * time.Hour)
		_, points := f.History()
		if len(points) != 48 || time.Since(points[0].Time) >= 24*time.Hour || time.Since(points[47].Time) > 0 {
			t.Fatalf("%d points, %v", len(points), points)
		}
		if &points[0].Names[0] != &points[1].Names[0] {
			t.Error("points do not share their names")
		}
		f.stop()
		time.Sleep(23 * time.Hour)
		f = start(t, rarely, busy)
		if _, points := f.History(); len(points) != 2 {
			t.Errorf("%d points after a restart", len(points))
		}
		pass(time.Hour)
		f.stop()
		if got := decodeFile(t, dir); len(got) != 2 || time.Since(got[1].Time) > 0 {
			t.Errorf("in the file: %v", got)
		}
	})
}

func decodeFile(t *testing.T, dir string) []Point {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	points, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return points
}

// A restart goes on where the process ended, also one that was killed.
func TestHistoryOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "made", "when needed")
		f := start(t, in(dir), busy)
		pass(3 * time.Minute)
		want := f.points()
		info, err := os.Stat(filepath.Join(dir, fileName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if got := decodeFile(t, dir); len(got) != 3 { // as it is while it runs
			t.Errorf("%d points", len(got))
		}
		f.stop()
		time.Sleep(10 * time.Minute)
		g := start(t, in(dir), busy)
		if got := g.points(); got != want || got == "" {
			t.Errorf("got %swant %s", got, want)
		}
		pass(2 * time.Minute)
		g.stop()
		if got := decodeFile(t, dir); len(got) != 5 || got[4].Time.Sub(got[2].Time) != 12*time.Minute {
			t.Errorf("got %v", got)
		}
	})
}

// Of two processes the first one writes. The other one says once that it does
// not, shows what is there, and goes on with all of it when the first has ended.
func TestTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := start(t, in(dir), busy)
		pass(2 * time.Minute)
		g := start(t, in(dir), busy)
		if f.points() != g.points() {
			t.Error(g.points())
		}
		pass(3*time.Minute + time.Second)
		if n := strings.Count(g.log.String(), "another process"); n != 1 {
			t.Errorf("said %d times: %s", n, g.log)
		}
		g.expectCondition(t, perf.Degraded, "another process")
		f.stop()
		pass(2 * time.Minute)
		g.stop()
		got := decodeFile(t, dir) // 2 of f, then those of g
		if len(got) != 7 || strings.Contains(f.log.String(), "WARN") {
			t.Errorf("%d points; %s", len(got), f.log)
		}
		g.expectCondition(t, perf.Healthy, "")
	})
}

func (f *fixture) expectCondition(t *testing.T, state perf.State, text string) {
	t.Helper()
	said := false
	f.Examine(func(c perf.Condition) {
		said = true
		if c.Component != "state_dir/history" || c.State != state || !strings.Contains(c.Error, text) || (c.Advice == "") != (state == perf.Healthy) {
			t.Errorf("condition %+v", c)
		}
	})
	if !said {
		t.Error("no condition")
	}
}

// A full disk costs the new points; what was there stays, and there is room again
// later.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := start(t, in(dir), busy)
		pass(time.Minute)
		next := filepath.Join(dir, fileName+".new")
		full := func() {
			if err := os.Symlink("/dev/full", next); err != nil {
				t.Fatal(err)
			}
		}
		full()
		pass(time.Minute)
		f.expectCondition(t, perf.Degraded, "no space left")
		full() // the link was removed
		pass(time.Minute)
		if n := strings.Count(f.log.String(), "no space left"); n != 1 {
			t.Errorf("said %d times: %s", n, f.log)
		}
		if got := decodeFile(t, dir); len(got) != 1 {
			t.Errorf("%d points", len(got))
		}
		pass(time.Minute)
		f.expectCondition(t, perf.Healthy, "")
		if got := decodeFile(t, dir); len(got) != 4 {
			t.Errorf("%d points", len(got))
		}
		f.stop()
		if _, err := os.Lstat(next); !os.IsNotExist(err) {
			t.Errorf("left behind: %v", err)
		}
		written, failed := f.history.written.Load(), f.history.failed.Load()
		if written != 2 || failed != 2 {
			t.Errorf("%d writings, %d failures", written, failed)
		}
	})
}

// A directory that cannot be used is said, and the history is there without it.
func TestNoDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f := start(t, in(file), busy)
		f.expectCondition(t, perf.Degraded, "not a directory")
		pass(2 * time.Minute)
		f.stop()
		if n := strings.Count(f.log.String(), "not a directory"); n != 1 || strings.Count(f.points(), "\n") != 2 {
			t.Errorf("%s%s", f.log, f.points())
		}
	})
}

// A file that is damaged anywhere, or cut, is set aside, and said.
func TestDamagedHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := start(t, in(dir), busy)
		pass(3 * time.Minute)
		f.stop()
		name := filepath.Join(dir, fileName)
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := range whole {
			bad := append([]byte(nil), whole...)
			bad[at] ^= 0x55
			for _, b := range [][]byte{bad, whole[:at]} {
				if _, err := decode(b); err == nil {
					t.Errorf("byte %d: not noticed", at)
				}
			}
		}
		if err := os.WriteFile(name, whole[:len(whole)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		g := start(t, in(dir), busy)
		if !strings.Contains(g.log.String(), "damaged") || g.points() != "" {
			t.Errorf("%s%s", g.log, g.points())
		}
		pass(time.Minute)
		g.stop()
		aside, err := os.ReadFile(name + ".damaged")
		if err != nil || string(aside) != string(whole[:len(whole)/2]) || len(decodeFile(t, dir)) != 1 {
			t.Errorf("set aside %d bytes, %v", len(aside), err)
		}
	})
}

// Where the clock was set back, points of the future are not shown, and are there
// again when it is right again. Points of the time that comes twice make room.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	at := func(hour int) Point {
		return Point{time.Date(2000, 1, 1, hour, 0, 0, 0, time.UTC), []string{"n"}, []float32{float32(hour)}}
	}
	file := newStateFile(dir)
	if err := file.write(encode([]Point{at(1), at(2), at(3)})); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(o *Options) { o.StateDir, o.Config.ReportInterval = dir, time.Hour }, func(perf.Reporter) {})
		if got := f.points(); got != "" {
			t.Errorf("of the future: %s", got)
		}
		now := time.Now()
		f.history.add(now.Add(150*time.Minute), nil)
		if got := f.history.view(now.Add(4 * time.Hour)); len(got) != 3 {
			t.Errorf("got %v", got)
		}
		f.history.add(now.Add(90*time.Minute), nil)
		if got := f.history.view(now.Add(4 * time.Hour)); len(got) != 2 || got[1].Time != now.Add(90*time.Minute).UTC() {
			t.Errorf("got %v", got)
		}
		f.stop()
	})
}

// A point has at most so many figures, of numbers that there are.
func TestPointIsBounded(t *testing.T) {
	var h history
	h.wake = make(chan struct{}, 1)
	list := []headline{{"big", 1e300}, {strings.Repeat("x", maxName+1), 1}}
	for i := range 2 * maxHeadlines {
		list = append(list, headline{fmt.Sprint(i), 1})
	}
	h.add(time.Now(), list)
	if n := len(h.points[0].Names); n != maxHeadlines-2 {
		t.Errorf("%d figures", n)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, d := range []time.Duration{0, 9 * time.Second, 2 * time.Hour} {
		_, err := New(perf.New(), Options{Config: Config{ReportInterval: d}})
		if err == nil || !strings.Contains(err.Error(), "report_interval: "+d.String()+" is not between 10s and 1h0m0s") {
			t.Errorf("%v: %v", d, err)
		}
	}
}

// FuzzDecode: whatever is in the file, it is read or refused, and what was read
// is written the same.
func FuzzDecode(f *testing.F) {
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	names := []string{"a", "b.rate"}
	f.Add(encode(nil)[:5])
	whole := encode([]Point{{at, names, []float32{1, 2}}, {at.Add(time.Minute), names, []float32{3, 4}}, {at.Add(time.Hour), names[1:], []float32{5}}, {Time: at.Add(2 * time.Hour)}})
	f.Add(whole[:len(whole)-crcSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := checksum(b)
		points, err := decode(append(b[:len(b):len(b)], byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)))
		if err != nil {
			return
		}
		again, err := decode(encode(points))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(points) {
			t.Errorf("%v: got %v, want %v", err, again, points)
		}
		for i, p := range points {
			if len(p.Names) != len(p.Values) || i > 0 && !points[i-1].Time.Before(p.Time) {
				t.Errorf("point %v", p)
			}
		}
	})
}
