package perf

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLabel(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "gpt-4o": "gpt-4o", "ünïcode/模型": "ünïcode/模型", "m\xff": "m\ufffd", "\xf0\x9f": "\ufffd\ufffd",
		"a\nb\x00c\x7fd\u0085": "a\ufffdb\ufffdc\ufffdd\ufffd", `"<b>\`: `"<b>\`,
		strings.Repeat("x", 128):       strings.Repeat("x", 128),
		strings.Repeat("x", 129):       strings.Repeat("x", 125) + "…",
		strings.Repeat("é", 64):        strings.Repeat("é", 64),
		"x" + strings.Repeat("é", 64):  "x" + strings.Repeat("é", 62) + "…",
		strings.Repeat("x", 10<<10):    strings.Repeat("x", 125) + "…",
		strings.Repeat("\xff", 10<<10): strings.Repeat("\ufffd", 41) + "…",
	} {
		if got := Label(in); got != want {
			t.Errorf("%.200q: %q", in, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Label("gpt-4o") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLabel(f *testing.F) {
	f.Add("m\xff\n")
	f.Add(strings.Repeat("é", 70))
	f.Fuzz(func(t *testing.T, s string) {
		got := Label(s)
		if len(got) > MaxLabel || !utf8.ValidString(got) || Label(got) != got || strings.ContainsAny(got, "\n\r\x00") || (s == "") != (got == "") {
			t.Errorf("%q: %q", s, got)
		}
	})
}
