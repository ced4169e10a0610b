package gateway

import (
	"runtime"
	"testing"

	"sluice/internal/memory/leak"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// TestReadLoad checks that what leaks are looked for in is what there is.
func TestReadLoad(t *testing.T) {
	g, url := run(t, load(t), nil)
	for range 2 {
		if status, body, err := chat(url, "sim-chat"); err != nil || status != 200 {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	var got leak.Reading
	testkit.Until(t, "both are done", func() bool {
		got = leak.Reading{}
		g.readLoad(&got)
		return got.Requests == 2
	})
	if got.Goroutines < 5 || got.Clients < 1 || got.Upstreams < 1 || got.Stored <= 0 {
		t.Errorf("%+v", got)
	}
	if runtime.GOOS == "linux" && got.Files < got.Clients+got.Upstreams {
		t.Errorf("%+v", got)
	}
	found := false
	for _, f := range g.figures.Examine().Findings {
		found = found || f.Component == "process/leaks" && f.State == perf.Healthy
	}
	if !found {
		t.Error("health has no process/leaks")
	}
}
