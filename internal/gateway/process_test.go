package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/perf"
)

func conditions(examine func(func(perf.Condition))) map[string]perf.Condition {
	m := map[string]perf.Condition{}
	examine(func(c perf.Condition) { m[c.Component] = c })
	return m
}

func TestProcess(t *testing.T) {
	root := t.TempDir() + "/"
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &process{root: root}
	if got := conditions(p.Examine); len(got) != 1 || got["process/clock"].State != perf.Healthy {
		t.Errorf("with nothing to read: %+v", got)
	}
	write("proc/self/fd/0", "")
	write("sys/fs/cgroup/memory.current", "950000000\n")
	for _, test := range []struct {
		max   string
		state perf.State
	}{{"max\n", perf.Healthy}, {"2000000000\n", perf.Healthy}, {"1000000000\n", perf.Degraded}} {
		write("sys/fs/cgroup/memory.max", test.max)
		got := conditions(p.Examine)
		if c := got["process/memory"]; c.State != test.state || (c.State == perf.Degraded) != strings.Contains(c.Error, "905 of 953 MiB") {
			t.Errorf("limit %s: %+v", test.max, c)
		}
		if got["process/files"].State != perf.Healthy {
			t.Errorf("files: %+v", got["process/files"])
		}
	}
	// The machine that runs the tests has them all, or none that can be read.
	for name, c := range conditions((&process{root: "/"}).Examine) {
		if c.State != perf.Healthy {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestClockJump(t *testing.T) {
	p := &process{}
	wall := time.Duration(0)
	for _, step := range []struct {
		mono, jump time.Duration
		state      perf.State
	}{
		{0, time.Hour, perf.Healthy}, // before it was first seen
		{5 * time.Second, 0, perf.Healthy}, {10 * time.Second, time.Hour, perf.Degraded},
		{15 * time.Second, 0, perf.Degraded}, {11 * time.Minute, 0, perf.Healthy}, {12 * time.Minute, 100 * time.Millisecond, perf.Healthy},
		{13 * time.Minute, -time.Minute, perf.Degraded},
	} {
		wall += step.jump
		p.examineClock(func(c perf.Condition) {
			if c.State != step.state {
				t.Errorf("at %v: %+v", step.mono, c)
			}
		}, step.mono, step.mono+wall)
	}
}
