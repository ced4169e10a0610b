//go:build !race

package sse

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

type message = testkit.Message

// messages reads events as the standard has it, by means of Data and Name.
func messages(events [][]byte) (list []message) {
	id := ""
	for _, raw := range events {
		for rest := raw; len(rest) > 0; {
			var line []byte
			line, rest = cutLine(rest)
			if name, value := cutField(line); string(name) == "id" && !bytes.Contains(value, []byte{0}) {
				id = string(value)
			}
		}
		data, ok := Data(raw, nil)
		if !ok {
			continue
		}
		m := message{Event: "message", Data: string(data), LastEventID: id}
		if name := Name(raw); len(name) > 0 {
			m.Event = string(name)
		}
		list = append(list, m)
	}
	return list
}

// splits feeds stream whole, cut at every point, in single bytes and at random,
// and checks each time that nothing is lost and that the messages stay.
func splits(t *testing.T, stream []byte, everyPoint bool) []message {
	t.Helper()
	whole, tail := split(t, stream, len(stream)+1)
	want := messages(whole)
	check := func(sizes ...int) {
		events, end := split(t, stream, sizes...)
		if !bytes.Equal(append(bytes.Join(events, nil), end...), stream) {
			t.Fatalf("pieces of %v: bytes were changed", sizes)
		}
		if slices.EqualFunc(events, whole, bytes.Equal) && bytes.Equal(end, tail) {
			return // and so are the messages
		}
		got := messages(events)
		if len(got) != len(want) || strings.TrimLeft(string(end), "\n") != strings.TrimLeft(string(tail), "\n") {
			t.Fatalf("pieces of %v: %d messages and tail %q, want %d and %q", sizes, len(got), end, len(want), tail)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("pieces of %v: message %d is %q, want %q", sizes, i, got[i], want[i])
			}
		}
	}
	check(len(stream) + 1)
	check(1)
	check(3, 1, 7)
	if everyPoint {
		for n := 1; n < len(stream); n++ {
			check(n, len(stream))
		}
	}
	random := rand.New(rand.NewPCG(1, uint64(len(stream))))
	for range 3 {
		sizes := make([]int, 200)
		for i := range sizes {
			sizes[i] = 1 + random.IntN(300)
		}
		check(sizes...)
	}
	return want
}

func TestVectors(t *testing.T) { testkit.Each(t, testVectors) }

func testVectors(t *testing.T, in testkit.Inputs) {
	list := in.Vectors(t)
	if len(list) < 13 {
		t.Fatalf("found only %d vectors", len(list))
	}
	for _, v := range list {
		t.Run(v.Name, func(t *testing.T) {
			got := splits(t, v.Input, true)
			if len(got) != len(v.Expect) {
				t.Fatalf("got %q, want %q", got, v.Expect)
			}
			for i := range got {
				if got[i] != v.Expect[i] {
					t.Errorf("got %q, want %q", got[i], v.Expect[i])
				}
			}
		})
	}
}

func TestRecordedStreams(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		for _, s := range in.Streams(t) {
			t.Run(s.Name, func(t *testing.T) { splits(t, s.Body, len(s.Body) < 2000) })
		}
	})
}

func TestTooLarge(t *testing.T) {
	for _, size := range []int{1, 5, 100} {
		s := Splitter{MaxEvent: 10}
		stream := []byte("data: 12\n\ndata: 123\n\n")
		var events []llm.Event
		var err error
		for len(stream) > 0 && err == nil {
			n := min(size, len(stream))
			var more []llm.Event
			more, err = s.Feed(stream[:n], nil)
			events = append(events, more...)
			stream = stream[n:]
		}
		if len(events) != 1 || !errors.Is(err, ErrTooLarge) {
			t.Errorf("pieces of %d: %d events, %v", size, len(events), err)
		}
	}
}

func FuzzSplitter(f *testing.F) {
	for _, s := range []string{"data: 1\n\n", bom + "data:1\r\rdata\rdata:x\r\n\r\n: c\n\n\n\n", "event: a\nid: 1\n\n", "\xef\xbb\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) < 500 {
			splits(t, stream, true)
		}
	})
}

func TestEvents(t *testing.T) {
	tests := []struct {
		raw, data, name string
		ok, comment     bool
	}{
		{"data: x\n\n", "x", "", true, false},
		{"\nevent: a\rdata:x\r\ndata\ndata:  y\n\n", "x\n\n y", "a", true, false},
		{": hi\n\n", "", "", false, true},
		{"\n\n", "", "", false, true},
		{bom, "", "", false, true},
		{"id: 1\n\n", "", "", false, false},
		{"retry: 1\n\n", "", "", false, false},
		{"event: ping\n\n", "", "ping", false, false},
		{"data", "", "", true, false},
	}
	for _, tt := range tests {
		data, ok := Data([]byte(tt.raw), make([]byte, 3))
		if string(data) != tt.data || ok != tt.ok || string(Name([]byte(tt.raw))) != tt.name || IsComment([]byte(tt.raw)) != tt.comment {
			t.Errorf("%q: data %q %v, name %q, comment %v", tt.raw, data, ok, Name([]byte(tt.raw)), IsComment([]byte(tt.raw)))
		}
	}
}

func TestAppend(t *testing.T) {
	for got, want := range map[string]string{
		string(AppendEvent([]byte("x"), "", []byte("d"))):           "xdata: d\n\n",
		string(AppendEvent(nil, "e\nid: 1", []byte("a\r\nb\n\rc"))): "event: e\ndata: a\ndata: b\ndata: \ndata: c\n\n",
		string(AppendEvent(nil, "e", nil)):                          "event: e\ndata: \n\n",
		string(AppendComment(nil, "a\ndata: b")):                    ": a\n: data: b\n\n",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func wholeEvents() []byte {
	line := `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}`
	return []byte(strings.Repeat(line+"\n\n", 20))
}

func TestAllocations(t *testing.T) {
	var s Splitter
	piece := wholeEvents()
	dst := make([]llm.Event, 0, 20)
	n := testing.AllocsPerRun(100, func() {
		var err error
		if dst, err = s.Feed(piece, dst[:0]); err != nil || len(dst) != 20 {
			t.Fatal(len(dst), err)
		}
		for _, e := range dst {
			if _, ok := Data(e.Raw, nil); !ok || IsComment(e.Raw) {
				t.Fatal("no data")
			}
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for whole events, want 0", n)
	}
}

func BenchmarkFeed(b *testing.B) {
	var s Splitter
	piece := wholeEvents()
	var dst []llm.Event
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = s.Feed(piece, dst[:0])
	}
}
