package dedup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// TestTranscripts replays conversations message by message, in every mode and form: what is
// promised holds for each of their beginnings, and where services keep prompts no conversation
// costs much more than it did, and no family of them more at all. The race detector would find
// nothing in it and is spared the recorded ones.
func TestTranscripts(t *testing.T) {
	testkit.Each(t, func(t *testing.T, in testkit.Inputs) {
		if in != (testkit.Inputs{}) {
			testkit.Simulation(t)
		}
		conversations := in.Transcripts(t)
		small := always()
		small.MinBlock = leastBlock
		for _, op := range dialects() {
			talks := make([]talk, len(conversations))
			for i := range conversations {
				talks[i] = translated(t, op, conversations[i].Messages)
			}
			for _, c := range []struct {
				name string
				cfg  Config
				mode llm.DedupMode
			}{
				{"safe", Default(), llm.DedupSafe},
				{"blocks", Default(), llm.DedupBlocks},
				{"blocks without a prompt cache", small, llm.DedupBlocks},
			} {
				t.Run(fmt.Sprint(op, " ", c.name), func(t *testing.T) {
					v := newVerifier(t, c.cfg, c.mode)
					changed, bills := 0, make(map[string]bill)
					dearer, worst := 0, 0.0
					for i, one := range conversations {
						n, b := v.replay(t, op, talks[i])
						changed += n
						sum := bills[one.Family]
						bills[one.Family] = bill{sum.plain + b.plain, sum.sent + b.sent}
						if b.sent > b.plain {
							dearer++
							worst = max(worst, b.sent/b.plain-1)
						}
					}
					// None of the recorded ones has a message twice that may be taken out, and what is
					// translated to Messages or to Gemini's has none of a role beside another.
					if once := c.mode == llm.DedupSafe && (in != testkit.Inputs{} || op != llm.Chat && op != llm.Response); changed == 0 && !once {
						t.Error("nothing was changed")
					}
					t.Logf("%d requests were changed; %d conversations cost more, %.2f %% at most", changed, dearer, 100*worst)
					for family, b := range bills {
						t.Logf("%s costs %+.2f %%", family, 100*(b.sent/b.plain-1))
						if c.cfg.PromptCache && b.sent > b.plain {
							t.Errorf("%s costs %.0f, and %.0f as it came", family, b.sent, b.plain)
						}
					}
					if c.cfg.PromptCache && worst > 0.01 {
						t.Errorf("a conversation costs %.2f %% more", 100*worst)
					}
				})
			}
		}
	})
}

// bill is what the requests of a conversation cost a user whose service keeps prompts, as they
// came and as they were sent: a byte that the service has read before costs 0.1, another 1.25.
type bill struct{ plain, sent float64 }

func (b *bill) add(known bill, plain, sent float64) {
	b.plain += (CacheRead*known.plain + CacheWrite*(plain-known.plain)) / 100
	b.sent += (CacheRead*known.sent + CacheWrite*(sent-known.sent)) / 100
}

// replay checks every beginning of a conversation, and gives how many were changed, and the
// bill of those that a model answered.
//
// A beginning differs from the one before in two places, or it fails: there is one message
// more, and the one before that is not the last any more. Where that one stays as it was, what
// was found to hold holds again; where it does not, all is looked at anew. That nothing changes
// when it is rewritten again is looked at each time.
func (v *verifier) replay(t testing.TB, op llm.Operation, said talk) (changed int, paid bill) {
	t.Helper()
	messages := said.messages
	all, end := said.body(op), len(talk{said.prompt, nil}.body(op))-len(rest)
	odd := bytes.Contains(all, []byte(v.d.rules.wording.literals[0])) // the last message is never restored: what holds of it may not hold later
	var b, before []byte                                              // before is what was sent of the beginning before; its last message begins at last
	last := 0
	var known bill   // what the service has read of what was asked last, in bytes, if its last message is another one now
	var asked []byte // that, as it was sent
	for n, m := range messages {
		if end += len(m); n > 0 {
			end += len(", ")
		}
		b = append(append(b[:0], all[:end]...), rest...)
		w, _ := v.d.rewrite(request(op, b), v.mode, nil)
		sent := b
		if w != nil {
			sent = w.req.Body
			changed++
			if int64(len(b)-len(sent)) != w.saved.Bytes {
				t.Fatalf("%d messages: said to save %d bytes, and %d became %d", n+1, w.saved.Bytes, len(b), len(sent))
			}
		}
		if !bytes.HasPrefix(sent, before[:last]) {
			t.Fatalf("with %d messages it begins otherwise than with one less: %s", n+1, difference(before[:last], sent))
		}
		if !bytes.HasSuffix(sent, b[end-len(m):]) {
			t.Fatalf("the last of %d messages is another one", n+1)
		}
		if !bytes.HasPrefix(sent[last:], before[last:]) || odd || n == len(messages)-1 {
			one := *v
			one.known = max(n-1, 0)
			one.check(t, op, b)
		} else if w != nil {
			if again, _ := v.d.rewrite(request(op, sent), v.mode, nil); again != nil {
				t.Fatalf("%d messages are changed again: %s", n+1, difference(sent, again.req.Body))
			}
		}
		before = append(before[:0], sent[:len(sent)-len(rest)]...)
		last = len(before) - len(m)
		if w != nil {
			w.release()
		}
		if n+1 < len(messages) && isModel(messages[n+1]) && (op != llm.Response || !isModel(m)) { // the model answers
			if bytes.HasPrefix(before, asked) {
				known.sent = float64(len(asked))
			}
			paid.add(known, float64(end), float64(len(before)))
			known.plain, known.sent = float64(end), float64(last) // its last message may yet become another one
			asked = append(asked[:0], before...)
		}
	}
	return changed, paid
}

// isModel reports whether the model said a message or an item.
func isModel(m json.RawMessage) bool {
	var is struct{ Role, Type string }
	return json.Unmarshal(m, &is) == nil && (is.Role == "assistant" || is.Role == "model" || is.Type == "function_call")
}
