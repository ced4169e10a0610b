package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDedupSavings: what a conversation says again is taken out, where that costs nobody more.
func TestDedupSavings(t *testing.T) {
	dir := t.TempDir()
	if err := dedupSavings(nil, []string{"-transcripts", dir}); err == nil || !strings.Contains(err.Error(), "-transcripts") {
		t.Errorf("without conversations: %v", err)
	}
	text := strings.Repeat(`a line that is there for the second time\n`, 30)
	turn := `{"role":"user","content":"` + text + `"},{"role":"assistant","content":"` + text + `"}`
	if err := os.WriteFile(filepath.Join(dir, "own.jsonl.gz"), zipped(t, `{"messages":[`+turn+`,{"role":"user","content":"b"},{"role":"assistant","content":"c"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := dedupSavings(&out, []string{"-transcripts", dir}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		cells := strings.Split(line, " | ")
		if strings.HasPrefix(line, "| own (1) | safe") && (cells[2] != "2" || cells[6] != "0.0" || cells[8] != "+0.00") ||
			strings.HasPrefix(line, "| own (1) | blocks | ") && (cells[6] == "0.0" || !strings.HasPrefix(cells[8], "-") || cells[9] != "0") {
			t.Error(line)
		}
	}
	var perToken, constant, learnt float64
	for line := range strings.Lines(out.String()) {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| own | r50k_base | 1 | ") {
			fmt.Sscan(cells[3], &perToken)
			fmt.Sscan(cells[4], &constant)
			fmt.Sscan(cells[5], &learnt)
		}
	}
	if perToken == 0 || constant != learnt || math.Abs(100*(perToken/3.8-1)-constant) > 0.5 {
		t.Errorf("%g bytes a token: off by %g and, before a reply was learnt from, %g", perToken, constant, learnt)
	}
	if strings.Count(out.String(), "| own (1) |") != 3 {
		t.Error(out.String())
	}
}
