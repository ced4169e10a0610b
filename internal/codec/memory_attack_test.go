package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/internal/memory"
	"sluice/internal/protobuf/catalog"
)

// bounded makes a Codec whose messages have to do with a budget.
func bounded(t *testing.T, b *memory.Budget) *Codec {
	t.Helper()
	cfg := Default()
	cfg.ResultCacheBytes = 0
	streams := b.Account("codec_streams")
	streams.AtMost(0.25)
	c, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler), Schemas: newCatalog(t, catalog.Default(), ""),
		Account: b.Account("codec"), Streams: streams})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.PutSchema("notes", "text/plain", []byte(notes)); err != nil {
		t.Fatal(err)
	}
	return c
}

func isLacking(told string) bool {
	return strings.HasPrefix(told, "503 gateway_overloaded ") || strings.HasPrefix(told, "413 request_too_large ")
}

// empties are n messages of two bytes inside one, each of which becomes some fifty bytes
// where fields are written that are not set.
func empties(n int) []byte { return bytes.Repeat([]byte{3<<3 | 2, 0}, n) }

// Whatever clients send, what is reserved is within the budget, whoever finds no room is
// told so, and all is given back.
func TestMemoryIsBounded(t *testing.T) {
	const budget = 8 << 20
	framedEmpties := func(n int) []byte {
		return append(binary.AppendUvarint(nil, uint64(2*n)), empties(n)...)
	}
	events := func(n int) string { return "data: " + b64(empties(n)) + "\n\n" }
	items := func(d Direction, item string, n int) string {
		return `{"type":"test.Note","options":{"emit_unpopulated":true},"items":[` + strings.Repeat(item+",", n-1) + item + `]}`
	}
	many := `{"notes":[` + strings.Repeat("{},", 200_000) + `{}]}`
	for name, attack := range map[string]struct {
		target, body string
		header       string
		refused      bool // always
	}{
		"a large result":             {"decode?type=test.Note&emit_unpopulated=true", string(empties(100_000)), asWire, true},
		"a result that fits":         {"decode?type=test.Note&emit_unpopulated=true", string(empties(20_000)), asWire, false},
		"a small body":               {"decode?type=test.Note&emit_unpopulated=true", string(empties(8_000)), asWire, false},
		"text with escapes":          {"decode?type=test.Note", string(note(strings.Repeat("\x01", 2<<20))), asWire, true},
		"out of order":               {"decode?type=test.Note", "\x20\x01" + string(bytes.Repeat([]byte{0x20, 1}, 400_000)), asWire, true},
		"encoded":                    {"encode?type=test.Note", many, asJSON, false},
		"encoded in an envelope":     {"encode", `{"type":"test.Note","data":` + many + `}`, asJSON, false},
		"a stream of large results":  {"decode/stream?type=test.Note&emit_unpopulated=true", string(framedEmpties(100_000)), asWire, true},
		"a stream of large messages": {"decode/stream?type=test.Note", string(framedEmpties(2_000_000)), asWire, true},
		"a stream of small messages": {"decode/stream?type=test.Note", string(bytes.Repeat(framed(note("x")), 10_000)), asWire, false},
		"large events":               {"decode/stream?type=test.Note", events(2_000_000), asEvent, true},
		"events in parts":            {"decode/stream?type=test.Note", strings.Repeat("data: AAAA\n", 400_000) + "\n", asEvent, true},
		"blank events":               {"decode/stream?type=test.Note", strings.Repeat("\n", 100_000), asEvent, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b memory.Budget
			b.Resize(budget)
			c := bounded(t, &b)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					out := &client{sent: func() error {
						if used := b.Used(); used > budget {
							t.Errorf("%d bytes are reserved: %v", used, &b)
						}
						return nil
					}}
					err := c.Stage(nil).Serve(t.Context(), post(attack.target, attack.body, attack.header), out)
					if (err != nil || attack.refused) && (err == nil || !isLacking(told(err))) {
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
			if b.Used() != 0 {
				t.Errorf("not given back: %v", &b)
			}
			if attack.refused {
				return
			}
			if got := send(c, post(attack.target, attack.body, attack.header)); isLacking(got) {
				t.Errorf("alone: %.100s", got)
			}
		})
	}
	t.Run("a batch", func(t *testing.T) {
		var b memory.Budget
		b.Resize(budget)
		c := bounded(t, &b)
		item := fmt.Sprintf(`{"data":%q}`, b64(empties(4000)))
		got := send(c, post("decode", items(Decode, item, 100), asJSON))
		if !strings.Contains(got, `"data":{"notes"`) || !strings.Contains(got, "gateway_overloaded") && !strings.Contains(got, "request_too_large") {
			t.Errorf("%.200s", got)
		}
		if b.Used() != 0 {
			t.Errorf("not given back: %v", &b)
		}
	})
}

// A stream reserves what came of a message, not what was announced, and is without any of
// it while it waits for the next.
func TestStreamReservesWhatCame(t *testing.T) {
	var b memory.Budget
	b.Resize(64 << 20)
	c := bounded(t, &b)
	whole := framed(note(strings.Repeat("x", 7<<20)))
	announced := whole[:200_000]
	s := &stream{c: c, out: &client{}, input: grant{account: c.streams}, output: grant{account: c.held}}
	s.room.grant = &s.output
	if err := s.begin(post("decode/stream?type=test.Note", "x", asWire)); err != nil {
		t.Fatal(err)
	}
	for piece := range slices.Chunk(announced, readBytes) {
		if err := s.feed(t.Context(), piece); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.streams.Held(); n < int64(len(announced)) || n > int64(3*len(announced)) {
		t.Errorf("%d bytes are reserved for %d", n, len(announced))
	}
	for rest := range slices.Chunk(whole[len(announced):], readBytes) {
		if err := s.feed(t.Context(), rest); err != nil {
			t.Fatal(err)
		}
	}
	if s.count != 1 || c.streams.Held() > keepBuffer || c.held.Held() > 4*sendBytes {
		t.Errorf("%d messages; then %v", s.count, &b)
	}
	s.input.end()
	s.output.end()
	if b.Used() != 0 {
		t.Errorf("not given back: %v", &b)
	}
}
