package sse

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

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
		{"data: 1\ndata: {}\n\ndata\ndata: {}\n\n", "[{}\n]"},
		{"\xef\xbb\xbfdata: {}\n\n", "[{}\n]"},
		{"\xef\xbb\xbf|data: {}\n\n", "[{}\n]"},
		{"data: {}\n\n|data: {\"a\":1}", "[{}\n,\r\n{\"a\":1}]"},
		{"data: {}\n\n|data: {\"a\":", "[{}\n\n]"},
		{"data: {\"a\":", "[]"},
		{"data: {}\n\ndata: {\"a\":1}\ndata: }", "[{}\n]"},
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
	for _, s := range []string{"", "data: {}\n\n", "data: {\ndata: }\r\n\r\n: c\n\ndata: [DONE]\n\n", "\xef\xbb\xbf\n\ndata: {}\r\rdata:{\"a\":1}", "data\ndata: {}\n\n"} {
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
	valid := true
	for i, e := range events {
		data, ok := Data(e.Raw, nil)
		if data = bytes.TrimLeft(data, " \t\n"); !ok || len(data) == 0 || data[0] != '{' {
			continue
		}
		whole := json.Valid(data)
		if i == len(events)-1 && len(s.Tail()) > 0 && !whole {
			continue
		}
		valid = valid && whole
		want = append(want, data)
	}
	for _, atOnce := range []bool{false, true} {
		var a Array
		var got []byte
		if atOnce {
			got = a.Frame(bytes.Clone(stream))
		} else {
			for _, e := range events {
				got = append(got, a.Frame(bytes.Clone(e.Raw))...)
			}
		}
		got = append(got, a.End()...)
		if !valid {
			if n := bytes.Count(got, []byte("\n,\r\n")); n < len(want)-1 {
				t.Errorf("%d elements of %d: %q", n+1, len(want), got)
			}
			continue
		}
		var list []json.RawMessage
		if err := json.Unmarshal(got, &list); err != nil || len(list) != len(want) {
			t.Fatalf("%q: %v, %d elements of %d", got, err, len(list), len(want))
		}
		for i := range list {
			if !bytes.Equal(bytes.TrimSpace(list[i]), bytes.TrimSpace(want[i])) {
				t.Errorf("%q, want %q", list[i], want[i])
			}
		}
	}
}

func TestAllocationsOfArray(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	const event = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"}]}}]}\r\n\r\n"
	b := make([]byte, 0, 10*len(event))
	if n := testing.AllocsPerRun(100, func() {
		var a Array
		for range 10 {
			b = append(b, event...)
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
