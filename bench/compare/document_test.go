package compare

import (
	"os"
	"strings"
	"testing"
)

// The tables of docs/benchmarks.md are those of the figures that are kept beside it, and
// it has no others: none is typed.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/benchmarks.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Replace(string(doc), r.Sections())
	if err != nil {
		t.Fatal(err)
	}
	if string(doc) != want {
		t.Error("docs/benchmarks.md says something else than docs/benchmarks.json: cd bench && go run . compare -render ../docs/benchmarks.md")
	}
	none := map[string]string{}
	for name := range r.Sections() {
		none[name] = ""
	}
	if typed, err := Replace(string(doc), none); err != nil || strings.Contains(typed, "\n|") {
		t.Errorf("docs/benchmarks.md has a table that is not generated (%v): its place is docs/measurements.md", err)
	}
	if again, err := r.JSON(); err != nil || string(again) != string(b) {
		t.Errorf("docs/benchmarks.json is not as it was written (%v)", err)
	}
}
