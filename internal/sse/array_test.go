//go:build !race

package sse

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// TestArray: elements are the payloads as they are, and what comes at once does not matter.
func TestArray(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"", "[]"},
		{"data: {\"a\":1}\n\n", "[{\"a\":1}\n]"},
		{"data: {\"a\":1}\r\n\r\n|data:{ }\r\r|data: {\"b\": [2]}\n\n", "[{\"a\":1}\n,\r\n{ }\n,\r\n{\"b\": [2]}\n]"},
		{": keep-alive\n\n|: keep-alive\n\n|data: {}\n\n|: x\n\n|data: {}\n\n", "[\n{}\n\n,\r\n{}\n]"},
		{": x\n\ndata: {}\n\n: x\n\ndata: {}\n\n", "[{}\n,\r\n{}\n]"},
		{"event: x\nid: 1\ndata: {\ndata: \"a\":1,\n: c\ndata\ndata: \"b\":2}\nretry: 3\n\n", "[{\n\"a\":1,\n\n\"b\":2}\n]"},
		{"data: {}\n\ndata: [DONE]\n\n", "[{}\n]"},
		{"data: [DONE]\n\n", "[]"},
		{"data: 1\n\ndata\ndata: {}\n\ndata: \t\n\n|data: [1]\n\ndata:null\n\n", "[1\n,\r\n{}\n,\r\n[1]\n,\r\nnull\n]"},
		{"\xef\xbb\xbfdata: {}\n\n", "[{}\n]"},
		{"\xef\xbb\xbf|data: {}\n\n", "[{}\n]"},
		{"data: {}\n\n|data: {\"a\":1}", "[{}\n,\r\n{\"a\":1}]"},
		{"data: {}\r\r|\ndata: {}\n\n", "[{}\n,\r\n{}\n]"},
	} {
		var a Array
		var got []byte
		for piece := range strings.SplitSeq(c.name, "|") {
			framed := a.Frame([]byte(piece))
			if len(framed) > len(piece) || len(framed) == 0 && piece != "" {
				t.Errorf("%q: %q is made of %q", c.name, framed, piece)
			}
			got = append(got, framed...)
		}
		if got = append(got, a.End()...); string(got) != c.want || !json.Valid(got) {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestArrayOfRecordings: what services have sent comes out payload by payload.
func TestArrayOfRecordings(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		for _, s := range in.Streams(t) {
			checkArray(t, s.Body)
		}
	})
}

// FuzzArray: whatever comes, however it is parted among writes, the array has the objects that
// readers of the events find.
func FuzzArray(f *testing.F) {
	for _, s := range []string{"", "data: {}\n\n", "data: {\ndata: }\r\n\r\n: c\n\ndata: [DONE]\n\n", "\xef\xbb\xbf\n\ndata: {}\r\rdata:{\"a\":1}", "data\ndata: {}\n\n", "data: {}\n\ndata: {oops\n\ndata: {}\n\n", "data: [1]\n\ndata: 2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) { checkArray(t, stream) })
}

func checkArray(t *testing.T, stream []byte) {
	t.Helper()
	var s Splitter
	events, err := s.Feed(stream, nil)
	if err != nil {
		t.Skip()
	}
	if tail := s.Tail(); len(tail) > 0 {
		events = append(events, llm.Event{Raw: tail})
	}
	var want [][]byte
	for i, e := range events {
		if !Fits(e.Raw) {
			if data, ok := Data(e.Raw, nil); !ok || json.Valid(data) && utf8.Valid(data) {
				t.Fatalf("%q does not fit", e.Raw)
			}
			events = events[:i] // nothing after it is framed
			break
		}
		data, _ := Data(e.Raw, nil)
		if data = bytes.TrimSpace(data); len(data) > 0 && string(data) != "[DONE]" {
			want = append(want, data)
		}
	}
	for _, atOnce := range []bool{false, true} {
		var a Array
		var all, got []byte
		for _, e := range events {
			all = append(all, e.Raw...)
			if !atOnce {
				got = append(got, a.Frame(bytes.Clone(e.Raw))...)
			}
		}
		if atOnce {
			got = a.Frame(all)
		}
		got = append(got, a.End()...)
		var list []json.RawMessage
		if err := json.Unmarshal(got, &list); err != nil || len(list) != len(want) {
			t.Fatalf("%q: %v, %d elements of %d", got, err, len(list), len(want))
		}
		for i := range list {
			if !bytes.Equal(bytes.TrimSpace(list[i]), want[i]) {
				t.Errorf("%q, want %q", list[i], want[i])
			}
		}
	}
}

// TestFits: what is no JSON is no element, wherever in an event it stands.
func TestFits(t *testing.T) {
	for raw, want := range map[string]bool{
		"data: {}\n\n": true, "data: [DONE]\n\n": true, ": c\n\n": true, "data\n\n": true, "data: {\ndata: }\n\n": true, "event: x\ndata: [1]\r\n\r\n": true,
		"data: {oops\n\n": false, "data: oops\n\n": false, "data: 1\ndata: {}\n\n": false, "data: [DONE]\ndata: {}\n\n": false, "\xef\xbb\xbfdata: {\n\n": false,
		"data: {}": true, "data: {\"a\":": false,
	} {
		if Fits([]byte(raw)) != want {
			t.Errorf("%q: %v", raw, !want)
		}
	}
}

func TestAllocationsOfArray(t *testing.T) {
	const event = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"}]}}]}\r\n\r\n"
	b := make([]byte, 0, 10*len(event))
	if n := testing.AllocsPerRun(100, func() {
		var a Array
		for range 10 {
			b = append(b, event...)
		}
		if !Fits(b[:len(event)]) {
			t.Fatal("it does not fit")
		}
		b = a.Frame(b)[:0]
	}); n > 0 {
		t.Errorf("%v allocations for ten events", n)
	}
}

func BenchmarkArray(b *testing.B) {
	const event = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"}]}}]}\r\n\r\n"
	stream := []byte(strings.Repeat(event, 10))
	buf := make([]byte, len(stream))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		var a Array
		a.Frame(buf[:copy(buf, stream)])
	}
}

// BenchmarkFits is what an event of an array takes besides.
func BenchmarkFits(b *testing.B) {
	event := []byte("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"}]}}]}\r\n\r\n")
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		Fits(event)
	}
}
