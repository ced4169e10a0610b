package bench

import (
	"strings"
	"testing"
)

func resting(goroutines, files, heap float64) Row {
	row := Row{ID: leakRow, Watch: "healthy", Rests: []Rest{{Requests: 500, Goroutines: 900, Files: 900, Heap: 9 << 30}}} // what fills first is no leak
	for i := range 5 {
		n := float64(i + 1)
		row.Rests = append(row.Rests, Rest{Requests: 1000 * n, Goroutines: 40 + goroutines*n, Files: 20 + files*n, Heap: heap * n})
	}
	return row
}

func TestLeaks(t *testing.T) {
	for _, c := range []struct {
		name string
		row  Row
		want Verdict
		says string
	}{
		{"none", resting(0, 0, 0), Holds, "+0.00 goroutines, +0.00 files"},
		{"goroutines", resting(10, 0, 0), FallsShort, "+10.00 goroutines"},
		{"files", resting(0, 10, 0), FallsShort, "+10.00 files"},
		{"heap", resting(0, 0, 1<<20), FallsShort, "+1024.0 KiB of heap"},
		{"a little heap", resting(0, 0, 1<<19), Unclear, "+512.0 KiB of heap"},
		{"too few rounds", Row{ID: leakRow, Rests: make([]Rest, 2)}, Unclear, "three rounds"},
		{"not measured", Row{ID: leakRow}, Skipped, ""},
	} {
		if got := c.row.verdict(); got != c.want || !strings.Contains(c.row.reason(), c.says) {
			t.Errorf("%s: %s: %s", c.name, got, c.row.reason())
		}
	}
	told := resting(0, 0, 0)
	told.Watch = "degraded: goroutines: 59 a minute"
	if told.verdict() != FallsShort || !strings.Contains(told.reason(), "59 a minute") {
		t.Errorf("the gateway tells of a leak: %s %s", told.verdict(), told.reason())
	}
}

// TestOlder: memory of streams that have come further is told of where it was looked at.
func TestOlder(t *testing.T) {
	row := Row{ID: memoryRow, Claim: Claim{Low: 0.3}, Figures: []Figure{{Unit: Bytes, Pairs: []Pair{{Side{Amount: 60 << 20, Per: 1}, Side{Amount: 40 << 20, Per: 1}}}}, {Unit: Bytes, Pairs: []Pair{{Side{Amount: 20 << 20, Per: 1}, Side{Amount: 20 << 20, Per: 1}}}}, {Unit: Bytes}}}
	if got := row.reason(); strings.Contains(got, "more each") {
		t.Error(got)
	}
	row.Figures[2].Pairs = []Pair{{Side{Amount: 70 << 20, Per: 1}, Side{Amount: 50 << 20, Per: 1}}}
	if got := row.reason(); !strings.Contains(got, "with 50 events more each it is 70.0 MiB and 50.0 MiB") {
		t.Error(got)
	}
}

// TestReasons: each row says why, whatever its verdict, and only one that falls short
// gives an excuse.
func TestReasons(t *testing.T) {
	for _, row := range sample().Rows {
		if row.ID == leakRow {
			continue
		}
		said := map[Verdict]string{}
		for verdict, on := range map[Verdict]float64{Holds: 0.01, FallsShort: 0.999} {
			f := figure(false, 1, on, 1, on)
			if row.Claim.More {
				f = figure(true, on, 1, on, 1)
			}
			if row.ID == faultsRow && verdict == FallsShort {
				f = figure(false, 1, 1, 1, 1)
			}
			row.Figures = append([]Figure{f}, row.Figures[1:]...)
			if got := row.verdict(); got != verdict {
				t.Errorf("%s: %s, want %s", row.ID, got, verdict)
			}
			if said[verdict] = row.reason(); said[verdict] == "" {
				t.Errorf("%s %s, and says not why", row.ID, verdict)
			}
		}
		if row.ID != hitRow && row.ID != connectRow && row.ID != faultsRow && said[Holds] == said[FallsShort] {
			t.Errorf("%s says the same whether it holds or not", row.ID)
		}
		row.Figures[0] = figure(false, 1, 0.01, 1, 2)
		if row.Claim.More {
			row.Figures[0] = figure(true, 0.01, 1, 2, 1)
		}
		if row.verdict() != Unclear || !strings.Contains(row.reason(), "more of them") {
			t.Errorf("%s: %s: %s", row.ID, row.verdict(), row.reason())
		}
		row.Skipped = "no"
		if row.verdict() != Skipped || row.reason() != "no" {
			t.Errorf("%s was skipped, and says %s", row.ID, row.reason())
		}
	}
}
