package front

import (
	"testing"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

// What waits for a slow client is merged as the dialect has it that it was asked in; what was
// passed on, as most services speak.
func TestMergeGoesByDialect(t *testing.T) {
	const message = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"
	for op, want := range map[llm.Operation][2]int{llm.Messages: {1, 2}, llm.Chat: {2, 1}, llm.Passthrough: {2, 1}} {
		for i, event := range []string{message, chunk("a")} {
			s := &Server{memory: new(memory.Governor)}
			s.buffers = new(memory.Buffers)
			x := s.newExchange()
			x.st = &state{stream: DefaultStream()}
			x.in.req.Op = op
			for range 2 {
				if err := x.out.append([]byte(event)); err != nil {
					t.Fatal(err)
				}
			}
			x.out.merge()
			if left := 2 - int(s.stats.merged.Load()); left != want[i] || len(x.out.stream.ends) != 0 {
				t.Errorf("%v: two events became %d: %s", op, left, x.out.stream.pending.B)
			}
		}
	}
}
