package jsonscan

import (
	"bytes"
	"strings"
	"testing"
)

func TestValueEnd(t *testing.T) {
	for in, want := range map[string]string{
		"tru ]": "tru", `"a\\\\"b`: `"a\\\\"`, "[1,[2]],": "[1,[2]]", `["1234567\",]",8]9`: `["1234567\",]",8]`, "é}": "é",
		`"a\"`: "", `{"a":"}`: "", "{": "", "[": "", `"`: "", ",": "", "": "",
	} {
		got := ""
		if end := ValueEnd([]byte(in), 0); end > 0 {
			got = in[:end]
		}
		if got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// FuzzSkip has what is JSON end where it ends, whatever follows and however it is
// cut, and anything else end somewhere.
func FuzzSkip(f *testing.F) {
	f.Add([]byte(`{"a\"b":["]}",1.5e3,null,"\\"],"é":{}}`), 3, 5)
	f.Add([]byte(`"\\\""`), 1, 3)
	f.Add([]byte(`["1234567\\",8]`), 0, 10)
	f.Fuzz(func(t *testing.T, b []byte, shift, piece int) {
		before := bytes.Repeat([]byte{'"'}, shift&7)
		whole := append(append(before, b...), `,"x"]}`...)
		end := ValueEnd(whole, len(before))
		if end >= 0 && (end <= len(before) || end > len(whole)) {
			t.Errorf("%q ends at %d", whole, end)
		}
		if Validate(b, 0) == nil && len(bytes.TrimSpace(b)) == len(b) && end != len(before)+len(b) {
			t.Errorf("%q ends at %d", whole, end)
		}
		if len(b) == 0 || !strings.ContainsRune(`"{[`, rune(b[0])) {
			return
		}
		s := Skip{}
		if b[0] != '"' {
			s.Depth = 1
		}
		got := -1
		for at := len(before) + 1; at < len(whole) && got < 0; {
			next := whole[at:min(at+1+piece&15, len(whole))]
			if got = s.End(next, 0); got >= 0 {
				got += at
			}
			at += len(next)
		}
		if got != end {
			t.Errorf("%q in pieces of %d ends at %d, whole at %d", whole, 1+piece&15, got, end)
		}
	})
}

func BenchmarkSkip(b *testing.B) {
	doc := chatRequest(20)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if ValueEnd(doc, 0) != len(doc) {
			b.Fatal("no end")
		}
	}
}
