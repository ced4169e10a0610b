package memory

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// machineOf writes what a system says of its memory.
func machineOf(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir() + "/"
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(root+name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+name, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindLimit(t *testing.T) {
	const none = math.MaxInt64
	for _, test := range []struct {
		what                string
		files               map[string]string
		configured, runtime int64
		want                Limit
	}{
		{"nothing", nil, 0, none, Limit{}},
		{"the machine", map[string]string{"proc/meminfo": "MemTotal:       2048 kB\nMemFree: 1 kB"}, 0, none, Limit{1 << 20, FromMachine}},
		{"a machine that cannot be read", map[string]string{"proc/meminfo": "MemTotal: many kB"}, 0, none, Limit{}},
		{"version 2 in a container", map[string]string{"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "268435456", "proc/meminfo": "MemTotal: 9999999 kB"}, 0, none, Limit{256 << 20, FromGroup}},
		{"version 2, one above it", map[string]string{
			"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "268435456",
		}, 0, none, Limit{256 << 20, FromGroup}},
		{"where the kernel begins to take back", map[string]string{
			"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "536870912", "sys/fs/cgroup/a/memory.high": "268435456", "proc/meminfo": "MemTotal: 9999999 kB",
		}, 0, none, Limit{256 << 20, FromGroup}},
		{"all taken back at once", map[string]string{
			"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "536870912", "sys/fs/cgroup/a/memory.high": "0", "proc/meminfo": "MemTotal: 9999999 kB",
		}, 0, none, Limit{512 << 20, FromGroup}},
		{"nothing taken back before the end", map[string]string{
			"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "536870912", "sys/fs/cgroup/a/memory.high": "max", "proc/meminfo": "MemTotal: 9999999 kB",
		}, 0, none, Limit{512 << 20, FromGroup}},
		{"version 2, seen from outside", map[string]string{"proc/self/cgroup": "0::/../../x", "sys/fs/cgroup/memory.max": "268435456"}, 0, none, Limit{256 << 20, FromGroup}},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/1", "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456",
		}, 0, none, Limit{256 << 20, FromGroup}},
		{"version 1, one above it", map[string]string{
			"proc/self/cgroup": "4:memory:/a/b", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "268435456",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
		}, 0, none, Limit{256 << 20, FromGroup}},
		{"version 1 without a limit", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 0, none, Limit{}},
		{"GOMEMLIMIT", nil, 0, 512 << 20, Limit{512 << 20, FromGo}},
		{"GOMEMLIMIT above the group's", map[string]string{"sys/fs/cgroup/memory.max": "268435456"}, 0, 512 << 20, Limit{256 << 20, FromGroup}},
		{"GOMEMLIMIT below the group's", map[string]string{"sys/fs/cgroup/memory.max": "1073741824"}, 0, 512 << 20, Limit{512 << 20, FromGo}},
		{"the configuration, not GOMEMLIMIT", nil, 1 << 30, 512 << 20, Limit{1 << 30, FromConfig}},
		{"the configuration above the group's", map[string]string{"sys/fs/cgroup/memory.max": "268435456"}, 1 << 30, none, Limit{256 << 20, FromGroup}},
	} {
		if got := findLimit(machineOf(t, test.files), test.configured, test.runtime); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.what, got, test.want)
		}
	}
}

// What is reserved, what the runtime takes beside it, and what it does not count are
// within the limit.
func TestPlan(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		l               Limit
		runtime, budget int64
	}{
		{Limit{}, math.MaxInt64, 0},
		{Limit{64 * mib, FromGroup}, 48, 14},
		{Limit{256 * mib, FromGroup}, 224, 120},
		{Limit{512 * mib, FromGo}, 512, 292},
		{Limit{64 << 30, FromConfig}, 58982, 35375},
	} {
		runtime, budget := test.l.plan()
		if test.l.Bytes > 0 {
			runtime, budget = runtime/mib, budget/mib
		}
		if runtime != test.runtime || budget != test.budget {
			t.Errorf("%+v: %d and %d, want %d and %d", test.l, runtime, budget, test.runtime, test.budget)
		}
	}
}

// The level rises at once, falls a step at a time, and not for a little less.
func TestLevels(t *testing.T) {
	l := Normal
	for i, step := range []struct {
		used float64
		want Level
	}{
		{0.79, Normal}, {0.8, Elevated}, {0.76, Elevated}, {0.74, Normal}, {0.96, Critical}, {0.91, Critical}, {0.89, High}, {0.86, High},
		{0.1, Elevated}, {0.1, Normal}, {5, Critical}, {0, High}, {0, Elevated}, {0, Normal}, {0.9, High},
	} {
		if l = l.next(step.used, 0.8); l != step.want {
			t.Fatalf("%d: %v at %v, want %v", i, l, step.used, step.want)
		}
	}
}

// Memory that becomes scarce has first what is cached go, then calls of low priority
// refused, then all; and it all comes back.
func TestPressure(t *testing.T) {
	var cache *Account
	bound := int64(0)
	var text testkit.Buffer
	g := New(Options{Logger: slog.New(slog.NewTextHandler(&text, nil)), Cached: func() int64 { return cache.Held() }, Bound: func(n int64) {
		bound = n
		cache.Give(max(cache.Held()-n, 0))
	}})
	cache = g.Budget.Account("cache")
	g.root = machineOf(t, map[string]string{"sys/fs/cgroup/memory.max": "268435456"})
	g.began, g.userGC = noLimit, true
	cfg := Default()
	g.Use(cfg)
	t.Cleanup(func() { g.root = t.TempDir() + "/"; g.Use(cfg) })
	size := g.Budget.Size()
	part := func(share float64) int64 { return int64(float64(size) * share) }
	if bound != part(0.5) {
		t.Fatalf("bound %d of %d", bound, size)
	}
	cache.Hold(bound)
	work := g.Budget.Account("work")
	look := func() { g.look(time.Now()) }
	refused := func() (low, normal bool) {
		return g.Admit(llm.PriorityLow) != nil, g.Admit(llm.PriorityNormal) != nil
	}
	work.Hold(part(0.45))
	look()
	if cache.Held() > part(0.31) {
		t.Errorf("%d of %d cached", cache.Held(), size)
	}
	if low, normal := refused(); low || normal {
		t.Error("refused at elevated")
	}
	g.Objects.Add(Owner{"request_body", "req_large"}, 5<<20)
	work.Hold(part(0.47))
	look()
	if !strings.Contains(text.String(), "request_id=req_large bytes=5242880") {
		t.Errorf("what is large is not named: %s", text.String())
	}
	if g.Level() != High || cache.Held() > leastCached {
		t.Errorf("%v, %d cached", g.Level(), cache.Held())
	}
	if low, normal := refused(); !low || normal {
		t.Error("at high those of low priority are refused, and no others")
	}
	var health perf.Condition
	g.Examine(func(c perf.Condition) { health = c })
	if health.State != perf.Degraded || !strings.Contains(health.Error, "high") {
		t.Errorf("%+v", health)
	}
	work.Hold(part(0.06))
	look()
	if low, normal := refused(); !low || !normal || g.Level() != Critical {
		t.Error("at critical all are refused")
	}
	if e := llm.AsError(g.Admit(llm.PriorityHigh)); e.Status != 503 || e.Fault != llm.Lacking || e.RetryAfter <= 0 {
		t.Errorf("%+v", e)
	}
	work.Give(work.Held())
	for range 3 {
		look()
	}
	if low, normal := refused(); low || normal || g.Level() != Normal {
		t.Errorf("%v: it does not come back", g.Level())
	}
	before := bound
	for range 64 {
		look()
	}
	if bound != part(0.5) || before >= bound {
		t.Errorf("the cache had %d and has %d of %d", before, bound, size)
	}
}

// A budget that is full of what is cached has room for a call all the same.
func TestCacheMakesRoom(t *testing.T) {
	var cache *Account
	g := New(Options{Cached: func() int64 { return cache.Held() }, Bound: func(n int64) { cache.Give(max(cache.Held()-n, 0)) }})
	cache = g.Budget.Account("cache")
	g.Budget.Resize(100 << 20)
	cache.Hold(100 << 20)
	calls := g.Budget.Account("calls")
	if !calls.Take(10 << 20) {
		t.Error("refused")
	}
	if err := calls.Wait(t.Context(), 30<<20, 0); err != nil || g.Budget.Used() > 60<<20 {
		t.Errorf("%v, %d used", err, g.Budget.Used())
	}
}

func TestHeap(t *testing.T) {
	const mib, none = 1 << 20, math.MaxInt64
	for _, test := range []struct {
		what string
		heap heap
		want int
	}{
		{"nothing", heap{limit: none}, 100},
		{"as Go has it", heap{live: 10 * mib, limit: none}, 100},
		{"stored replies", heap{live: 140 * mib, stored: 128 * mib, limit: none}, 22},
		{"many stored replies", heap{live: 1034 * mib, stored: 1024 * mib, limit: none}, 15},
		{"stored since the last collection", heap{live: 4 * mib, stored: 128 * mib, limit: none}, 579},
		{"a small heap under load", heap{live: 4 * mib, rate: 10 * mib, limit: none}, 250},
		{"much load", heap{live: 4 * mib, rate: 4000 * mib, limit: none}, 400},
		{"much load, a low limit", heap{live: 4 * mib, rate: 4000 * mib, limit: 64 * mib}, 200},
		{"little to do", heap{live: 10 * mib, limit: none, quiet: true}, 25},
		{"little to do, many stored replies", heap{live: 1034 * mib, stored: 1024 * mib, limit: none, quiet: true}, 15},
		{"a large heap needs none of that", heap{live: 100 * mib, rate: 10 * mib, limit: none}, 100},
	} {
		if got := test.heap.percent(); got != test.want {
			t.Errorf("%s: %d, want %d", test.what, got, test.want)
		}
	}
}

func TestObjects(t *testing.T) {
	var l Objects
	a := l.Add(Owner{"request_body", "r1"}, 5)
	b := l.Add(Owner{"request_body", "r2"}, 7)
	l.Add(Owner{Part: "reply"}, 6)
	if list := l.Largest(2); len(list) != 2 || list[0].ID != "r2" || list[1].Bytes != 6 {
		t.Errorf("%+v", list)
	}
	l.Remove(a)
	l.Remove(a)
	l.Remove(b)
	l.Remove(nil)
	if n, bytes := l.Sum(); n != 1 || bytes != 6 {
		t.Errorf("%d with %d bytes", n, bytes)
	}
	var none *Objects
	none.Remove(none.Add(Owner{}, 1))
}

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{"80%": 0.8, " 0.8 ": 0.8, "100 %": 1, "0": 0} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "%", "80", "-1%", "NaN", "1e9%", "x"} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, s)
		}
	}
}

// A reload may bring another cache, which is bounded as well; and one that could not make
// up for what is lacking is left alone.
func TestBoundAgain(t *testing.T) {
	cached, bounds := int64(0), 0
	g := New(Options{Cached: func() int64 { return cached }, Bound: func(int64) { bounds++ }})
	g.root, g.began, g.userGC = machineOf(t, map[string]string{"sys/fs/cgroup/memory.max": "268435456"}), noLimit, true
	g.Use(Default())
	t.Cleanup(func() { g.root = t.TempDir() + "/"; g.Use(Default()) })
	g.Use(Default())
	g.look(time.Now())
	if bounds != 3 {
		t.Errorf("bounded %d times", bounds)
	}
	cached = 20 << 20
	if g.reclaim(30 << 20); bounds != 3 {
		t.Error("reclaimed for nothing")
	}
	if g.reclaim(10 << 20); bounds != 4 {
		t.Error("not reclaimed")
	}
}

// What comes of clients that are not known has a bound of its own.
func TestHeads(t *testing.T) {
	g := New(Options{})
	g.Budget.Resize(1 << 20)
	n := 0
	for {
		if _, err := g.Buffers.GetHead(1 << 14); err != nil {
			break
		}
		n++
	}
	if n == 0 || n > 10 {
		t.Errorf("%d heads of 16 KiB in 1 MiB", n)
	}
	if _, err := g.Buffers.Get(1 << 14); err != nil {
		t.Error(err)
	}
}

// A loose buffer can be forgotten: nothing is reserved for it, also when it has grown.
func TestLoose(t *testing.T) {
	g := New(Options{})
	g.Budget.Resize(8 << 20)
	b, err := g.Buffers.GetLoose(1000)
	if err != nil {
		t.Fatal(err)
	}
	b.B = append(b.B, "kept"...)
	if b, err = g.Buffers.Grow(b, 2<<20); err != nil || string(b.B) != "kept" {
		t.Fatal(err)
	}
	if n, _ := g.Objects.Sum(); n != 0 || g.Budget.Used() != 0 {
		t.Errorf("%d objects, %d bytes", n, g.Budget.Used())
	}
	g.Buffers.Put(b)
	if g.Budget.Used() != 0 {
		t.Errorf("%d bytes", g.Budget.Used())
	}
}
