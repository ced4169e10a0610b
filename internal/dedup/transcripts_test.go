package dedup

import (
	"bytes"
	"encoding/json"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// TestTranscripts replays conversations message by message, in every mode and form.
func TestTranscripts(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		if in != (testkit.Inputs{}) {
			testkit.Simulation(t)
		}
		conversations := in.Transcripts(t)
		small := always()
		small.MinBlock = leastBlock
		for _, c := range []struct {
			name string
			cfg  Config
			mode llm.DedupMode
			op   llm.Operation
		}{
			{"safe", Default(), llm.DedupSafe, llm.Chat},
			{"blocks", Default(), llm.DedupBlocks, llm.Chat},
			{"blocks without a prompt cache", small, llm.DedupBlocks, llm.Chat},
			{"blocks of responses", small, llm.DedupBlocks, llm.Response},
		} {
			t.Run(c.name, func(t *testing.T) {
				v := newVerifier(t, c.cfg, c.mode)
				changed := 0
				for i, one := range conversations {
					messages := one.Messages
					if c.op == llm.Response {
						if len(conversations) > 10 && i%2 == 1 { // the other half would take as long again
							continue
						}
						messages = items(messages)
					}
					changed += v.replay(t, c.op, messages)
				}
				// None of the recorded ones has a message twice that may be taken out.
				if changed == 0 && (c.mode == llm.DedupBlocks || in == testkit.Inputs{}) {
					t.Error("nothing was changed")
				}
				t.Logf("%d requests were changed", changed)
			})
		}
	})
}

// replay checks every beginning of a conversation, and that each begins as the one before. It
// gives how many were changed. What begins as it did is looked at once.
func (v *verifier) replay(t testing.TB, op llm.Operation, messages []json.RawMessage) (changed int) {
	t.Helper()
	var before []byte
	all, end := body(op, messages), len(body(op, nil))-len(rest)
	saved := 0
	for n, m := range messages {
		if end += len(m); n > 0 {
			end += len(", ")
		}
		b := append(all[:end:end], rest...)
		r, _ := v.rewrite(op, b)
		if r.Saved.Messages > 0 {
			changed++
		}
		if r.Saved.Messages > saved || n == len(messages)-1 {
			v.check(t, op, b)
		}
		saved = r.Saved.Messages
		// Up to where the last message of the one before begins.
		if !bytes.HasPrefix(r.Body, before) {
			t.Fatalf("with %d messages it begins otherwise than with one less: %s", n+1, difference(before, r.Body))
		}
		if !bytes.HasSuffix(r.Body, b[end-len(m):]) {
			t.Fatalf("the last of %d messages is another one", n+1)
		}
		before = append(before[:0], r.Body[:len(r.Body)-len(m)-len(rest)]...)
	}
	return changed
}
