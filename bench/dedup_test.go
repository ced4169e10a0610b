package main

import (
	"bytes"
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
	if strings.Count(out.String(), "| own (1) |") != 3 {
		t.Error(out.String())
	}
}
