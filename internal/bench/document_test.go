package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what docs/bench.json says into docs/bench.md")

// found is a report as docs/bench.md has it.
func found(r *Report) string {
	b := new(strings.Builder)
	version := r.Version
	if len(version) > 40 { // of a build without a tag: the commit
		version = version[:40]
	}
	fmt.Fprintf(b, "Measured on %s: %d CPUs (%s), %s, %s, Sluice %s. `%s` took %.0f s.\n\n", r.Date.Format("2006-01-02"), r.CPUs, r.CPU, r.System, r.Go, version, r.Command, r.Seconds)
	b.WriteString("| | claimed | off | on | change | interval | |\n| --- | --- | ---: | ---: | ---: | --- | --- |\n")
	for _, row := range r.Rows {
		c := row.cells()
		cells := []string{strings.ToLower(row.Title[:1]) + row.Title[1:], row.Claim.promised(), c.off, c.on, c.change, c.interval, string(row.verdict())}
		if row.ID == leakRow {
			cells[1] = ""
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString("\n")
	for _, row := range r.Rows {
		if why := row.reason(); why != "" {
			fmt.Fprintf(b, "* %s: %s\n", row.Title, why)
		}
	}
	return b.String()
}

// TestDocument: what docs/bench.md says was found is what the samples beside it say, and
// no figure of it is typed.
func TestDocument(t *testing.T) {
	const page, samples = "../../docs/bench.md", "../../docs/bench.json"
	const begin, end = "<!-- generated from bench.json -->\n", "<!-- end -->"
	data, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var r Report
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	r.finish()
	var again bytes.Buffer
	if err := r.WriteJSON(&again); err != nil || !bytes.Equal(again.Bytes(), data) {
		t.Errorf("%s is not as a run writes it, or its samples say something else now (%v)", samples, err)
	}
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for what was found", page)
	}
	want := before + begin + found(&r) + end + after
	switch {
	case want == string(doc):
	case *update:
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s says something else than %s: go test ./internal/bench -run TestDocument -update", page, samples)
	}
}
