package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// TestDedupCommandPrintable: of what a request and the wording say, a terminal is shown nothing
// that it would obey, be it taken out or put in.
func TestDedupCommandPrintable(t *testing.T) {
	cfg := load(t)
	cfg.Dedup.Reference += "\x1b[2J"
	var file strings.Builder
	for i := range 60 {
		fmt.Fprintf(&file, "\u009b2J\u202eline %d of a file\n", i)
	}
	text := file.String()
	in := &bytes.Buffer{}
	e := json.NewEncoder(in)
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	if err := e.Encode(map[string]any{"messages": []message{{"user", text}, {"assistant", text}, {"user", "go on"}}}); err != nil {
		t.Fatal(err)
	}
	var out, people bytes.Buffer
	if err := Deduplicate(cfg, Deduplication{Mode: "blocks"}, in, &out, &people); err != nil {
		t.Fatal(err)
	}
	told := people.String()
	for _, want := range []string{"\n  - \ufffd2J\ufffdline 0 of a file\n", "\n  + [[Sluice: ", "\ufffd2J\ufffdline 59", "]]\ufffd[2J\n"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in %q", want, told)
		}
	}
	if i := strings.IndexFunc(told, func(r rune) bool { return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }); i >= 0 {
		t.Errorf("people are shown %q", told[i:])
	}
}
