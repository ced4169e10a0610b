package engine

import (
	"bufio"
	"bytes"
	"maps"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// collect gives the fields as a map, and fails where those of a name do not stand
// together.
func collect(t *testing.T, f *Fields) map[string][]string {
	t.Helper()
	m := make(map[string][]string)
	for i := 0; i < f.Len(); {
		name, values := f.Run(i)
		if m[name] != nil {
			t.Fatalf("%s stands in two places", name)
		}
		m[name] = slices.Clone(values)
		i += len(values)
	}
	return m
}

// FuzzFields does things to Fields and to a map, which stay the same.
func FuzzFields(f *testing.F) {
	f.Add([]byte("aAbBaCcD"))
	f.Add([]byte("a\x00a\x01a\x02a\x03b\x01a\x01c\x01a\x01d\x02a\x02"))
	f.Add(bytes.Repeat([]byte("a\x01b\x01c\x01"), 20)) // more than have a place
	f.Fuzz(func(t *testing.T, steps []byte) {
		var fields Fields
		want := make(map[string][]string)
		for i := 0; i+1 < len(steps) && i < 400; i += 2 {
			name, value := string('A'+rune(steps[i]%5)), string('0'+rune(i%10))
			switch steps[i+1] % 4 {
			case 0:
				fields.Set(name, value)
				want[name] = []string{value}
			case 1, 2:
				fields.Add(name, value)
				want[name] = append(want[name], value)
			case 3:
				fields.Del(name)
				delete(want, name)
			}
			got, ok := fields.Get(name)
			if ok != (want[name] != nil) || ok && got != want[name][0] {
				t.Fatalf("%s is %q, %v", name, got, ok)
			}
		}
		if got := collect(t, &fields); !maps.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%v, want %v", got, want)
		}
		fields.Clear()
		if fields.Len() != 0 || slices.ContainsFunc(slices.Concat(fields.space[0][:], fields.space[1][:]), func(s string) bool { return s != "" }) {
			t.Error("something is left")
		}
	})
}

// FuzzAppendHTTP1: whatever stands in a field, the head has one line for each and
// ends where it should.
func FuzzAppendHTTP1(f *testing.F) {
	f.Add("X-A", "b")
	f.Add("X-A", "b\r\nX-B: c\r\n\r\nbody")
	f.Add("X A", " \t")
	f.Fuzz(func(t *testing.T, name, value string) {
		h := Head{Status: 101}
		h.Fields.Set(name, value)
		h.Fields.Set("X-Last", "1")
		text := string(h.AppendHTTP1(nil, "Switching Protocols"))
		rest, ok := strings.CutPrefix(text, "HTTP/1.1 101 Switching Protocols\r\n")
		if !ok || strings.Index(text, "\r\n\r\n") != len(text)-4 || strings.Count(rest, "\n") > 3 {
			t.Fatalf("%q", text)
		}
		if strings.ContainsAny(value, "\x00") {
			return // which the reader refuses
		}
		got, err := textproto.NewReader(bufio.NewReader(strings.NewReader(rest))).ReadMIMEHeader()
		if err == nil && got.Get("X-Last") != "1" {
			t.Errorf("%q: %v", text, got)
		}
	})
}

// TestAllocations: as many fields as a reply has take no memory of their own.
func TestAllocations(t *testing.T) {
	f := new(Fields)
	if n := testing.AllocsPerRun(100, func() {
		f.Clear()
		for _, name := range [...]string{"A", "B", "C", "A", "D", "B"} {
			f.Add(name, "x")
			f.Set("E", "y")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
