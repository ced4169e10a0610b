//go:build !race

package merge

import (
	"bytes"
	"testing"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

func TestAllocations(t *testing.T) {
	for _, op := range []llm.Operation{llm.Chat, llm.Messages, llm.Response, llm.GenerateContent} {
		list, api := many(op, 100), known.TextsOf(op)
		// In room for what came there is room for all that it becomes.
		buf := make([]byte, 0, len(bytes.Join(list, nil)))
		if n := testing.AllocsPerRun(100, func() { buf, _ = Events(buf[:0], api, list) }); n > 0 {
			t.Errorf("%v: %v allocations for 100 events, want 0", op, n)
		}
	}
}
