package dedup

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// pieces are what strings of JSON are made of here: what looks like something else when it is
// looked at eight or 64 bytes at a time.
var pieces = [...]string{"a", "n", "u", " ", "  ", "    ", "        ", `\n`, `\t`, `\t\t`, `\t\t\t\t`, `\u00e9`, `\u000a`, `\u200b`, `\/`, `\"`, `\\`, `\\n`, `\\u`, `\b`, `\f`, `\r`, "é", "世", "¢", "\u200b", "[[Sluice: ", "[[Sluice: the same text as ", "][", strings.Repeat("x", 50)}

func stringOf(r *rand.Rand, n int) string {
	var s strings.Builder
	for range r.IntN(n) {
		s.WriteString(pieces[r.IntN(len(pieces))])
	}
	return s.String()
}

// TestScan: where a string ends and its lines begin is what a byte by byte reading says, at
// whatever distance from the end of the body.
func TestScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		s := stringOf(r, 40)
		b := []byte(s + `"` + strings.Repeat(" ", r.IntN(130)))
		from := 0
		for from < len(s) && r.IntN(2) == 0 && s[from] != '\\' && (from == 0 || s[from-1] != '\\') {
			from++
		}
		var want []uint32
		unicode, end := false, from
		for ; b[end] != '"'; end++ {
			if b[end] == '\\' {
				end++
				switch b[end] {
				case 'n':
					want = append(want, uint32(end+1))
				case 'u':
					unicode = true
				}
			}
		}
		for _, noting := range []bool{true, false} {
			c := conversation{body: b, noting: noting}
			got := c.scan(from)
			if got != end {
				t.Fatalf("%q from %d ends at %d, not %d", b, from, got, end)
			}
			switch {
			case !noting && len(c.starts) > 0:
				t.Fatalf("%q: lines were noted", b)
			case noting && len(want) <= crowd(len(b)-from) && !slices.Equal(c.starts, want):
				t.Fatalf("%q from %d has lines at %v, not %v", b, from, c.starts, want)
			case noting && unicode && !c.unicode && len(c.starts) <= crowd(len(b)-from):
				t.Fatalf("%q has an escape \\u", b)
			}
		}
		if c := (conversation{body: b[:end]}); c.scan(from) >= 0 {
			t.Fatalf("%q ends, and has no quote", b[:end])
		}
	}
}

// TestLooksQuickly: what is skipped quickly at the beginning of a line is what is skipped one by one.
func TestLooksQuickly(t *testing.T) {
	w, err := parseWording(Default().Reference)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2, 1))
	found := 0
	for range 50_000 {
		line := []byte(stringOf(r, 8))
		if r.IntN(2) == 0 {
			line = append(line, "[[Sluice: the same text as line"...)
		}
		rest := line
		c, n := decode(rest)
		for n > 0 && c != '\n' && invisible(c) {
			rest = rest[n:]
			c, n = decode(rest)
		}
		want := true
		for _, is := range w.sign {
			if c, n = decode(rest); n == 0 || c != is {
				want = false
				break
			}
			rest = rest[n:]
		}
		if got := w.looks(line); got != want {
			t.Fatalf("%q looks like a reference: %v", line, got)
		}
		behind := append(slices.Clone(line), `","role":"user"}]}`...)
		if want && !w.suspects(behind) {
			t.Fatalf("%q is not suspected", line)
		}
		if want {
			found++
		}
	}
	if found < 1000 {
		t.Errorf("only %d look like references", found)
	}
}
