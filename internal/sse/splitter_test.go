//go:build !race

package sse

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// split feeds stream in pieces of the given sizes, the last one repeated, and
// returns copies of the events and the tail.
func split(t testing.TB, stream []byte, sizes ...int) (events [][]byte, tail []byte) {
	t.Helper()
	var s Splitter
	var dst []llm.Event
	for n := 0; len(stream) > 0; n++ {
		size := min(sizes[min(n, len(sizes)-1)], len(stream))
		// A fresh copy, filled with rubbish afterwards, shows what is kept too long.
		piece := bytes.Clone(stream[:size])
		var err error
		if dst, err = s.Feed(piece, dst[:0]); err != nil {
			t.Fatal(err)
		}
		for _, e := range dst {
			events = append(events, bytes.Clone(e.Raw))
		}
		clear(piece)
		stream = stream[size:]
	}
	return events, bytes.Clone(s.Tail())
}

func TestSplitter(t *testing.T) {
	tests := []struct {
		name, stream string
		events       []string
		tail         string
	}{
		{"LF", "data: 1\n\ndata: 2\n\n", []string{"data: 1\n\n", "data: 2\n\n"}, ""},
		{"CRLF", "data: 1\r\n\r\ndata: 2\r\n\r\n", []string{"data: 1\r\n\r\n", "data: 2\r\n\r\n"}, ""},
		{"CR", "data: 1\r\rdata: 2\r\r", []string{"data: 1\r\r", "data: 2\r\r"}, ""},
		{"mixed", "a\r\nb\rc\n\rd\n\r\ne", []string{"a\r\nb\rc\n\r", "d\n\r\n"}, "e"},
		{"comment", ": hi\n\ndata: 1\n: x\nid: 1\n\n", []string{": hi\n\n", "data: 1\n: x\nid: 1\n\n"}, ""},
		{"blank lines", "\n\r\n\ndata: 1\n\n\n\n", []string{"\n\r\n\n", "data: 1\n\n", "\n\n"}, ""},
		{"byte order mark", bom + "data: 1\n\n" + bom + "data: 2\n\n", []string{bom, "data: 1\n\n", bom + "data: 2\n\n"}, ""},
		{"half a mark", "\xef\xbbdata: 1\n\n", []string{"\xef\xbbdata: 1\n\n"}, ""},
		{"half a mark alone", "\xef\xbb", nil, "\xef\xbb"},
		{"half a mark, then an end", "\xef\n\n", []string{"\xef\n\n"}, ""},
		{"tail", "data: 1\n\ndata: 2\n", []string{"data: 1\n\n"}, "data: 2\n"},
		{"empty", "", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, tail := split(t, []byte(tt.stream), len(tt.stream)+1)
			if len(events) != len(tt.events) || string(tail) != tt.tail {
				t.Fatalf("got %q and %q", events, tail)
			}
			for i := range events {
				if string(events[i]) != tt.events[i] {
					t.Errorf("event %d is %q, want %q", i, events[i], tt.events[i])
				}
			}
		})
	}
}

func TestLateLF(t *testing.T) {
	events, tail := split(t, []byte("data: 1\r\n\r\ndata: 2\r\n\r\n"), 10, 100)
	want := []string{"data: 1\r\n\r", "\ndata: 2\r\n\r\n"}
	if len(events) != 2 || string(events[0]) != want[0] || string(events[1]) != want[1] || len(tail) != 0 {
		t.Errorf("got %q and %q", events, tail)
	}
}

// TestTooLargeBeforeLack: an event that is too large is so whether or not there is room for more of it.
func TestTooLargeBeforeLack(t *testing.T) {
	lack := errors.New("no room")
	for _, c := range []struct {
		piece string
		want  error
	}{
		{strings.Repeat("x", 100), ErrTooLarge},
		{strings.Repeat("x", 10), lack},
		{"x\n\ndata: " + strings.Repeat("y", 100), lack},
		{strings.Repeat("x", 100) + "\n\n", ErrTooLarge},
	} {
		s := Splitter{MaxEvent: 100, Grow: func(b []byte, _ int) ([]byte, error) { return b, lack }}
		if _, err := s.Feed([]byte("data: a"), nil); err != nil {
			t.Fatal(err)
		}
		s.buf = slices.Clip(s.buf)
		if _, err := s.Feed([]byte(c.piece), nil); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.piece, err, c.want)
		}
	}
}
