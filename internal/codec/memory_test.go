package codec

import (
	"strings"
	"testing"

	"sluice/internal/memory"
)

// Every buffer that a request needs may be refused: then it fails as the gateway's
// lack, and the next one is answered.
func TestMemoryRefused(t *testing.T) {
	c := newCodec(t, nil)
	var buffers memory.Buffers
	c.buffers = &buffers
	large := strings.Repeat("x", 100_000)
	for what, try := range map[string]struct {
		target, body, header string
		max                  int
	}{
		"no body":              {"decode?type=test.Note", string(note("a")), asWire, -1},
		"no room for the body": {"decode?type=test.Note", string(note(large)), asWire, 10_000},
		"no stream":            {"decode/stream?type=test.Note", "\x00", asWire, -1},
	} {
		t.Run(what, func(t *testing.T) {
			buffers.Max = try.max
			if got := send(c, post(try.target, try.body, try.header)); !strings.HasPrefix(got, "503 gateway_overloaded ") {
				t.Errorf("%.200s", got)
			}
			buffers.Max = 0
			if got := send(c, post(try.target, try.body, try.header)); strings.HasPrefix(got, "503") || what != "no stream" && !strings.HasPrefix(got, "application/") {
				t.Errorf("then %.200s", got)
			}
		})
	}
}
