package dedup

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// TestExplainBarred: people are told why a prompt does not refer to what others said, and by
// which number references name a message.
func TestExplainBarred(t *testing.T) {
	text := lines(1, 50)
	list := []json.RawMessage{say("user", text), say("user", text), say("system", text), say("user", text+"a"), say("user", "end")}
	d := newDedup(t, Default())
	sent := []int{0, 1, 2, 3, 4}
	d.Rewrite(request(llm.Chat, body(llm.Chat, list)), llm.DedupBlocks, func(d Decision) {
		if d.Sent != sent[d.Message] {
			t.Errorf("message %d is sent as number %d", d.Message+1, d.Sent)
		}
		if (d.Why == barred) != (d.Message == 2) {
			t.Errorf("message %d: %s", d.Message+1, d.Why)
		}
	})
}

// TestExplainAlone: a message that stands alone is sent as the first, whatever was looked into
// before it.
func TestExplainAlone(t *testing.T) {
	p := new(plan)
	d := newDedup(t, Default())
	d.plans.New = func() any { return p }
	for range 2 {
		d.Rewrite(request(llm.Chat, body(llm.Chat, []json.RawMessage{say("user", "a"), say("user", "b"), say("user", "c")})), llm.DedupBlocks, nil)
		d.Rewrite(request(llm.Chat, body(llm.Chat, []json.RawMessage{say("user", "a")})), llm.DedupBlocks, func(d Decision) {
			if d.Sent != 1 {
				t.Errorf("it is sent as number %d", d.Sent)
			}
		})
	}
}

// TestExplainUncounted: a message whose lines are not counted is told why, which may be that of one
// that the service joins it with.
func TestExplainUncounted(t *testing.T) {
	text, _ := json.Marshal(lines(1, 50))
	user := func(content string) json.RawMessage {
		return json.RawMessage(`{"role":"user","content":` + content + `}`)
	}
	odd := user(`"` + strings.Repeat("a line", 20) + `\u000a"`)
	own, joined := "a line break is written as", "the service joins it with"
	for name, c := range map[string]struct {
		messages []json.RawMessage
		why      []string // what is said of each
	}{
		"a line break of another form": {[]json.RawMessage{odd, user(string(text))}, []string{own, joined}},
		"short lines":                  {[]json.RawMessage{user(`"` + strings.Repeat(`a\n`, 100) + `"`), user(string(text))}, []string{own, joined}},
		"an unknown form":              {[]json.RawMessage{user(`[{"type":"hologram"}]`), user(string(text)), user(string(text))}, []string{"of a form that is left alone", "the next message says the same", joined}},
		"both":                         {[]json.RawMessage{user(`[{"type":"hologram"}]`), odd, user(string(text))}, []string{"of a form that is left alone", own, joined}},
		"of another role":              {[]json.RawMessage{say("assistant", "a"), user(string(text))}, []string{"it is short", "nothing in it is said further up"}},
	} {
		said := 0
		newDedup(t, always()).Rewrite(request(llm.Messages, body(llm.Messages, append(c.messages, say("assistant", "b"), say("user", "end")))), llm.DedupBlocks, func(d Decision) {
			if said++; d.Message < len(c.why) && !strings.Contains(d.Why, c.why[d.Message]) {
				t.Errorf("%s, message %d: %s", name, d.Message+1, d.Why)
			}
		})
		if said != len(c.messages)+2 {
			t.Errorf("%s: %d messages are told of", name, said)
		}
	}
}
