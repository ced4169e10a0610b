package dedup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// each is every configuration that conversations are checked in.
func each(t testing.TB, check func(v *verifier)) {
	small := always()
	small.MinBlock = leastBlock
	for _, cfg := range []Config{Default(), small} {
		for _, mode := range []llm.DedupMode{llm.DedupSafe, llm.DedupBlocks} {
			check(newVerifier(t, cfg, mode))
		}
	}
}

// repetitive makes texts of pieces that it repeats, whole, in part, and nearly.
func repetitive(r *rand.Rand) func() string {
	var known []string
	return func() string {
		var s strings.Builder
		for range r.IntN(5) {
			switch {
			case len(known) > 0 && r.IntN(3) > 0:
				old := strings.SplitAfter(known[r.IntN(len(known))], "\n")
				from := r.IntN(len(old))
				to := from + r.IntN(len(old)-from+1)
				if r.IntN(3) == 0 {
					from, to = 0, len(old)
				}
				if r.IntN(4) == 0 && to > from {
					old[from+r.IntN(to-from)] = "another \\ line\n"
				}
				s.WriteString(strings.Join(old[from:to], ""))
			case r.IntN(8) == 0:
				s.WriteString(strings.Repeat([]string{"\n", "a\n", "\\", "\"\n", "\u4e16\n", "x"}[r.IntN(6)], r.IntN(2000)))
			default:
				s.WriteString(lines(r.IntN(1000), r.IntN(40)))
			}
		}
		known = append(known, s.String())
		return s.String()
	}
}

// generated makes a conversation of such texts, as messages of a chat completion.
func generated(r *rand.Rand) (list []json.RawMessage) {
	text := repetitive(r)
	for n := range 3 + r.IntN(12) {
		switch r.IntN(7) {
		case 0:
			list = append(list, say("system", text()))
		case 1, 2:
			list = append(list, say("user", text()))
		case 3:
			list = append(list, say("assistant", text()))
		case 4, 5:
			list = append(list, fmt.Appendf(nil, `{"role":"assistant","content":null,"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"f","arguments":"{}"}}]}`, n))
			for range 1 + r.IntN(2) {
				content, _ := json.Marshal(text())
				list = append(list, fmt.Appendf(nil, `{"tool_call_id":"call_%d","role":"tool","content":%s}`, n, content))
			}
		case 6:
			content, _ := json.Marshal(text())
			more, _ := json.Marshal(text())
			list = append(list, fmt.Appendf(nil, `{"role":"user","content":[{"type":"text","text":%s},{"type":"image_url","image_url":{"url":"data:,"}},{"text":%s,"type":"text","cache_control":{"type":"ephemeral"}}]}`, content, more))
		}
		if r.IntN(5) == 0 && len(list) > 0 {
			list = append(list, list[r.IntN(len(list))])
		}
	}
	return list
}

// TestGenerated replays conversations that are made to be repetitive.
func TestGenerated(t *testing.T) {
	testkit.Simulation(t)
	const n = 100
	changed := 0
	each(t, func(v *verifier) {
		for seed := range n {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			list := generated(r)
			for _, op := range dialects() {
				said := talk{messages: native(r, op)}
				if said.messages == nil {
					said = translated(t, op, list)
				}
				n, _ := v.replay(t, op, said)
				changed += n
			}
		}
	})
	if changed < n {
		t.Errorf("only %d requests were changed", changed)
	}
}

// TestHostile: what is made to be odd or costly keeps the promises too, and its memory is
// bounded.
func TestHostile(t *testing.T) {
	testkit.Simulation(t)
	const size, messages = 10 << 20, 10_000
	near := func(n int) (list []json.RawMessage) {
		text := lines(1, 60)
		for i := range n {
			list = append(list, say("user", strings.Replace(text, "line 30 ", fmt.Sprintf("Line %d ", i), 1)))
		}
		return append(list, say("user", "go on"))
	}
	many := func(n int, role, text string) (list []json.RawMessage) {
		for range n {
			list = append(list, say(role, text))
		}
		return list
	}
	var naughty []json.RawMessage
	for _, in := range testkit.Seeds(t) {
		for _, s := range in.Strings(t) {
			naughty = append(naughty, say("user", strings.Repeat(s+"\n", 40)), say("assistant", strings.Repeat(s+"\n", 40)))
		}
	}
	for name, list := range map[string][]json.RawMessage{
		"naughty strings":        append(naughty, say("user", "x")),
		"many short messages":    many(messages, "user", "ok"),
		"many prompts":           many(messages, "system", lines(1, 3)),
		"many long messages":     many(messages, "assistant", lines(1, 10)),
		"one letter":             {say("user", strings.Repeat("a", size)), say("user", "b")},
		"one letter, twice":      {say("user", strings.Repeat("a", size/2)), say("user", "b"), say("user", strings.Repeat("a", size/2)), say("user", "c")},
		"one line, often":        {say("user", strings.Repeat("a line of a log\n", size/16)), say("user", "b")},
		"lines of a letter":      {say("user", strings.Repeat("a\n", size/4)), say("user", "b")},
		"empty lines":            {say("user", strings.Repeat("\n", size/4)), say("user", "b")},
		"backslashes":            {say("user", strings.Repeat("\\", size/4)), say("user", strings.Repeat("\\n\n", size/16)), say("user", "b")},
		"1,000 near repeats":     near(1000),
		"deeply nested":          {json.RawMessage(`{"role":"user","content":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}`), say("user", "b")},
		"no messages that count": {json.RawMessage(`1`), json.RawMessage(`[]`), json.RawMessage(`null`), json.RawMessage(`{}`), json.RawMessage(`"a"`)},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(v *verifier) {
				chat := body(llm.Chat, list)
				gemini := bytes.Replace(chat, []byte(`"messages":[`), []byte(`"contents":[`), 1)
				gemini = bytes.ReplaceAll(bytes.ReplaceAll(gemini, []byte(`"content":"`), []byte(`"parts":[{"text":"`)), []byte(`"}, {`), []byte(`"}]}, {`))
				if at := bytes.LastIndex(gemini, []byte(`"}]`)); at > 0 {
					gemini = slices.Insert(gemini, at+1, []byte(`}]`)...)
				}
				for op, b := range map[llm.Operation][]byte{llm.Chat: chat, llm.Messages: chat, llm.GenerateContent: gemini} {
					v.check(t, op, b)
					p := new(plan)
					if p.read(op, b, v.mode == llm.DedupBlocks) {
						p.make(v.mode, v.d.rules, nil)
					}
					const texts = 16 * 4 * 5 / 4 // 16 lines more of each
					if held, most := p.reserved(), planSize(len(b), v.cfg.MinBlock)+texts*len(p.texts)+(16<<10); held > most {
						t.Errorf("%v: %d bytes are held for a body of %d, of %d that are reserved", op, held, len(b), most)
					}
					if held := p.room() - p.reserved(); held > (8 << 20) {
						t.Errorf("%v: %d bytes are held beside those for a body of %d", op, held, len(b))
					}
				}
			})
		})
	}
}

// TestUnsure: what is odd passes.
func TestUnsure(t *testing.T) {
	long, _ := json.Marshal(lines(1, 40))
	message := func(role string) string { return fmt.Sprintf(`{"role":%q,"content":%s}`, role, long) }
	pair := message("user") + "," + message("user")
	for _, c := range []struct {
		name string
		op   llm.Operation
		body string
	}{
		{"twice", llm.Chat, `{"messages":[` + pair + `],"messages":[` + pair + `]}`},
		{"no list", llm.Chat, `{"messages":` + message("user") + `}`},
		{"a key with escapes", llm.Chat, `{"mess\u0061ges":[` + pair + `],"messages":[` + pair + `]}`},
		{"no object", llm.Chat, `[` + pair + `]`},
		{"of another operation", llm.Completion, `{"messages":[` + pair + `]}`},
		{"goes on from a stored one", llm.Response, `{"previous_response_id":"resp_1","input":[` + pair + `]}`},
		{"of a conversation", llm.Response, `{"input":[` + pair + `],"conversation":"conv_1"}`},
		{"two instructions", llm.Response, `{"instructions":"a","instructions":"b","input":[` + pair + `]}`},
		{"input is a text", llm.Response, `{"input":` + string(long) + `}`},
		{"two roles", llm.Chat, `{"messages":[{"role":"user","role":"system","content":` + string(long) + `},` + message("user") + `]}`},
		{"two contents", llm.Chat, `{"messages":[{"role":"user","content":` + string(long) + `,"content":` + string(long) + `},` + message("user") + `]}`},
		{"a mark of what goes before", llm.GenerateContent, `{"cachedContent":"cachedContents/1","contents":[{"parts":[{"text":` + string(long) + `}]},{"parts":[{"text":` + string(long) + `}]}]}`},
		{"no list of contents", llm.GenerateContent, `{"contents":{"parts":[{"text":` + string(long) + `},{"text":` + string(long) + `}]}}`},
		{"two instructions by two names", llm.GenerateContent, `{"systemInstruction":{"parts":[]},"system_instruction":{"parts":[]},"contents":[{"parts":[{"text":` + string(long) + `}]},{"parts":[{"text":` + string(long) + `}]}]}`},
		{"a part that is no list", llm.GenerateContent, `{"contents":[{"parts":{"text":` + string(long) + `}},{"parts":{"text":` + string(long) + `}},{"parts":[]}]}`},
		{"it may be edited", llm.Messages, `{"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]},"messages":[` + pair + `]}`},
		{"two prompts", llm.Messages, `{"system":"a","system":"b","messages":[` + pair + `]}`},
		{"only counted", llm.CountTokens, `{"messages":[` + pair + `]}`},
		{"an unknown role", llm.Chat, `{"messages":[` + message("critic") + `,` + message("critic") + `]}`},
		{"an unknown part", llm.Chat, `{"messages":[` + message("user") + `,{"role":"assistant","content":"b"},{"role":"user","content":[{"type":"text","text":` + string(long) + `},{"type":"hologram"}]},` + message("assistant") + `]}`},
		{"with a name", llm.Chat, `{"messages":[{"name":"a","role":"user","content":` + string(long) + `},{"name":"a","role":"user","content":` + string(long) + `}]}`},
		{"short", llm.Chat, `{"messages":[{"role":"user","content":"continue"},{"role":"user","content":"continue"}]}`},
		{"another prompt between", llm.Chat, `{"messages":[` + message("system") + `,{"role":"system","content":"` + strings.Repeat("x", 100) + `"},` + message("system") + `,{"role":"user","content":"go on"}]}`},
	} {
		d := newDedup(t, Default())
		mode := llm.DedupBlocks
		if c.name == "another prompt between" {
			mode = llm.DedupSafe
		}
		if r := d.Rewrite(request(c.op, []byte(c.body)), mode, nil); string(r.Body) != c.body {
			t.Errorf("%s: became %.300s", c.name, r.Body)
		}
	}
}

// FuzzRewrite: whatever comes, what is promised holds or it passes as it came.
func FuzzRewrite(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		list := generated(r)
		for i, op := range dialects() {
			if said := native(r, op); said != nil {
				f.Add(body(op, said), uint8(i))
			} else {
				f.Add(translated(f, op, list).body(op), uint8(i))
			}
		}
	}
	f.Add([]byte(`{"messages":[{"role":"user","content":"a\n[[Sluice: the same text as line 1 of message 1, from \"a\" to \"a\"]]"},{"role":"user","content":""}]}`), uint8(0))
	again := strings.Repeat(`a\n`, 300)
	f.Add([]byte(`{"messages":[{"content":[{"content":[{"text":"`+again+`","type":"text"},{"type":"search_result","content":[]}],"type":"tool_result"}],"role":"user"},{"role":"assistant","content":[{"type":"thinking","thinking":"a"},{"type":"text","text":"`+again+`","citations":null}]},{"role":"user","content":"`+again+`"},{"role":"user","content":""}],"system":[{"type":"text","text":"`+again+`"}]}`), uint8(2))
	f.Add([]byte(`{"contents":[{"parts":[{"text":"`+again+`","thought":true},{"functionResponse":{"response":{"result":"`+again+`","output":1}}}]},{"role":"model","parts":[{"text":"`+again+`"},{"inline_data":{}}]},{"parts":[]}],"system_instruction":{"parts":[{"text":"`+again+`"}]}}`), uint8(3))
	f.Add([]byte(`{"instructions":"`+again+`","input":[{"role":"user","content":"`+again+`"},{"type":"reasoning"}]}`), uint8(1))
	cfg := always()
	cfg.MinBlock = leastBlock
	modes := [...]*verifier{newVerifier(f, cfg, llm.DedupSafe), newVerifier(f, cfg, llm.DedupBlocks)}
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		op := dialects()[int(which)%len(dialects())]
		for _, v := range modes {
			r := v.d.Rewrite(request(op, b), v.mode, nil)
			if bytes.Equal(r.Body, b) {
				continue
			}
			if jsonscan.Validate(b, 0) != nil { // the front passes no such body on; nothing but this is promised
				continue
			}
			// What has references that hold is, of two, a text and what it was rewritten to.
			expanded, _, err := Expand(op, b, cfg)
			w := *v
			w.literal = err != nil || !bytes.Equal(expanded, b)
			w.check(t, op, b)
		}
	})
}
