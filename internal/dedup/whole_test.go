package dedup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// What the service may leave out, or goes on from, is not referred to, by any member of any dialect
// that says so.
func TestOthersContext(t *testing.T) {
	long := strings.Repeat("You are a program. ", 10)
	for _, op := range dialects() {
		list := make([]json.RawMessage, 0, 3)
		for _, said := range []string{long, long, "Go on."} {
			list = append(list, translated(t, op, []json.RawMessage{say("user", said)}).messages...)
		}
		try := func(member string, changed bool) {
			t.Helper()
			b := append([]byte("{"+member+","), body(op, list)[1:]...)
			if got := newVerifier(t, always(), llm.DedupSafe).check(t, op, b); bytes.Equal(got, b) == changed {
				t.Errorf("%v, %s: %s", op, member, got)
			}
		}
		shape := known.ShapeOf(op)
		for _, w := range []dialect.Word{dialect.EarlierMember, dialect.OmittingMember} {
			for name := range shape.Names(dialect.InRequest, w) {
				for _, odd := range []string{`"a"`, `{"id":"a"}`, `[{"type":"a"}]`, `true`, `1`, `"auto"`, `{"type":"create","type":"continue"}`, `{"type":"continue","id":"create"}`, `{"t\u0079pe":"continue","type":"create"}`} {
					try(fmt.Sprintf("%q:%s", name, odd), false)
				}
				for _, none := range []string{`null`, `[]`, `{ }`} {
					try(fmt.Sprintf("%q:%s", name, none), true)
				}
				try(fmt.Sprintf(`%q:"a","metadata":{%q:null}`, name, name), false)
				try(fmt.Sprintf(`"metadata":{%q:"a"}`, name), true)
			}
		}
	}
}

// What a request of each dialect has beside its messages, as its service words it, and whether they
// are all that a model reads.
func TestWholeConversations(t *testing.T) {
	text := lines(1, 60)
	for _, c := range []struct {
		op      llm.Operation
		member  string
		changed bool
	}{
		{llm.Chat, `"transforms":["middle-out"]`, false}, {llm.Chat, `"plugins":[{"id":"context-compression"}]`, false}, {llm.Chat, `"store":true`, true},
		{llm.Response, `"truncation":"auto"`, false}, {llm.Response, `"truncation":"disabled"`, true}, {llm.Response, `"context_management":[{"type":"compaction"}]`, false},
		{llm.Response, `"previous_response_id":"resp_1"`, false}, {llm.Response, `"conversation":{"id":"conv_1"}`, false}, {llm.Response, `"prompt":{"id":"pmpt_1"}`, false}, {llm.Response, `"store":true`, true},
		{llm.Messages, `"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}`, false}, {llm.Messages, `"compaction":{"type":"enabled"}`, false}, {llm.Messages, `"compaction":null`, true},
		{llm.Messages, `"thread":{"type":"continue","previous_message_id":"msg_1"}`, false}, {llm.Messages, `"thread":{"type":"create"}`, true}, {llm.Messages, `"thread":null`, true},
		{llm.GenerateContent, `"cachedContent":"cachedContents/1"`, false}, {llm.GenerateContent, `"cached_content":"cachedContents/1"`, false}, {llm.GenerateContent, `"safetySettings":[{}]`, true},
	} {
		var list []json.RawMessage
		for i, said := range []string{text, "a", text + "b", "c", "end"} {
			list = append(list, translated(t, c.op, []json.RawMessage{say([]string{"user", "assistant"}[i%2], said)}).messages...)
		}
		b := talk{c.member + ",", list}.body(c.op)
		if got := newVerifier(t, always(), llm.DedupBlocks).check(t, c.op, b); bytes.Equal(got, b) == c.changed {
			t.Errorf("%v, %s: %s", c.op, c.member, got)
		}
	}
}

// What stands before a compaction the service leaves out, whatever else stands beside that: nothing is
// referred to, or taken out for what is said there.
func TestCompaction(t *testing.T) {
	text := lines(1, 60)
	m, r, g := llm.Messages, llm.Response, llm.GenerateContent
	many := strings.Repeat(`{"role":"user","content":"a"},`, maxMessages)
	for _, c := range []struct {
		op      llm.Operation
		element string
		left    bool
	}{
		{m, `{"role":"assistant","content":[{"type":"compaction","content":"a"}]}`, true}, {m, `{"role":"assistant","content":[{"content":null,"encrypted_content":"a","type":"compaction"},{"type":"text","text":"a"}]}`, true},
		{m, `{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"hologram"},{"type":"compaction","content":"a"}]}`, true}, {m, `{"content":[1,{"type":"compaction"}],"role":"root"}`, true},
		{m, `{"role":"user","content":"a","content":[{"type":"compaction"}]}`, true}, {m, `{"role":"user","content":[{"type":"text","type":"compaction"}]}`, true}, {m, `{"role":"user","content":[{"type":"comp\u0061ction"}]}`, true},
		{m, `{"role":"user","c\u006fntent":[{"type":"compaction"}]}`, true}, {m, many + `{"role":"user","content":[{"type":"compaction"}]}`, true},
		{m, `{"role":"user","content":[{"type":"text","text":"compaction"}]}`, false}, {m, `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"compaction","input":{"type":"compaction"}}]}`, false},
		{m, `{"role":"user","content":[{"type":"hologram","content":[{"type":"compaction"}]}]}`, false},
		{r, `{"type":"compaction","encrypted_content":"a"}`, true}, {r, `{"encrypted_content":"a","id":"a","type":"compaction"}`, true}, {r, `{"type":"compaction_summary"}`, true}, {r, `{"type":"context_compaction"}`, true}, {r, `{"type":"compaction_trigger"}`, true},
		{r, many + `{"type":"compaction"}`, true}, {r, `{"type":"reasoning","content":[{"type":"compaction"}]}`, false}, {r, `{"type":"function_call","name":"f","arguments":"{}","call_id":"compaction"}`, false},
		{llm.Chat, `{"role":"user","content":[{"type":"hologram"}]}`, false}, {g, `{"role":"user","parts":[{"hologram":1}]}`, false},
	} {
		for _, mode := range []llm.DedupMode{llm.DedupSafe, llm.DedupBlocks} {
			var list []json.RawMessage
			for i, said := range []string{text, text, "a", text + "b", "c", "d"} {
				list = append(list, translated(t, c.op, []json.RawMessage{say([]string{"user", "user", "assistant"}[i%3], said)}).messages...)
			}
			for _, at := range []int{0, 2, 4} {
				all := append(append(append([]json.RawMessage{}, list[:at]...), json.RawMessage(c.element)), list[at:]...)
				b := body(c.op, all)
				if got := newVerifier(t, always(), mode).check(t, c.op, b); bytes.Equal(got, b) != c.left {
					t.Errorf("%v, %v, %s: %.500s", c.op, mode, c.element[max(len(c.element)-200, 0):], got)
				}
			}
		}
	}
}
