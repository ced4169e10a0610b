package dedup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// says makes a message of a dialect whose content is parts, as they are.
func says(op llm.Operation, role string, parts ...string) json.RawMessage {
	content := "content"
	if op == llm.GenerateContent {
		content = "parts"
	}
	return fmt.Appendf(nil, `{"role":%q,%q:[%s]}`, role, content, strings.Join(parts, ","))
}

// textPart is a part of a content that is a text, with members behind it.
func textPart(op llm.Operation, text, more string) string {
	if op == llm.GenerateContent {
		return fmt.Sprintf(`{"text":%s%s}`, quote(text), more)
	}
	return fmt.Sprintf(`{"type":"text","text":%s%s}`, quote(text), more)
}

// model is the model's role.
func model(op llm.Operation) string {
	if op == llm.GenerateContent {
		return "model"
	}
	return "assistant"
}

const mark = `,"cache_control":{"type":"ephemeral"}`

// TestPromptBeside: the prompt beside the messages is referred to by its name, wherever it stands
// and in whatever form, by the lines of all its texts, and is itself left alone.
func TestPromptBeside(t *testing.T) {
	text := lines(1, 50)
	all := string(quote(text))
	for _, c := range []struct {
		op           llm.Operation
		prompt, name string
	}{
		{llm.Messages, `"system":` + all, "lines 1-50 of the system prompt"},
		{llm.Messages, `"system":[{"type":"text","text":"a\nb"` + mark + `},{"type":"text","text":` + all + mark + `}]`, "lines 3-52 of the system prompt"},
		{llm.Messages, `"system":[{"type":"hologram"},{"type":"text","text":` + all + `}]`, ""},
		{llm.GenerateContent, `"systemInstruction":{"parts":[{"text":` + all + `}]}`, "lines 1-50 of the system instruction"},
		{llm.GenerateContent, `"system_instruction":{"role":"user","parts":[{"text":"a"},{"text":` + all + `}]}`, "lines 2-51 of the system instruction"},
		{llm.GenerateContent, `"systemInstruction":{"parts":[{"text":` + all + `}],"parts":[]}`, ""},
		{llm.Response, `"instructions":` + all, "lines 1-50 of the instructions"},
		{llm.Chat, `"system":` + all, ""},
	} {
		op := c.op
		if op == llm.Chat || op == llm.Response {
			op = llm.Messages // the form of parts
		}
		v := newVerifier(t, always(), llm.DedupBlocks)
		list := []json.RawMessage{says(op, "user", textPart(op, "a", "")), says(op, model(op), textPart(op, text+"b", "")), says(op, "user", textPart(op, "end", ""))}
		before := talk{c.prompt + `,`, list}.body(c.op)
		behind := append(bytes.TrimSuffix(body(c.op, list), []byte("}")), `,`+c.prompt+`}`...)
		for _, b := range [][]byte{before, behind} {
			got := v.check(t, c.op, b)
			if !bytes.Contains(got, []byte(c.prompt)) || c.name == "" != bytes.Equal(got, b) || !bytes.Contains(got, []byte(c.name)) {
				t.Errorf("%v: %s", c.op, got)
			}
		}
	}
}

// TestPromptsLendNothing: a prompt among messages refers to the prompt beside them and to
// prompts, never to what others said.
func TestPromptsLendNothing(t *testing.T) {
	text := lines(1, 50)
	for _, op := range []llm.Operation{llm.Messages, llm.GenerateContent} {
		list := []json.RawMessage{says(op, "user", textPart(op, text, "")), says(op, model(op), textPart(op, "b", "")), says(op, "system", textPart(op, text+"c", "")), says(op, "user", textPart(op, "d", "")), says(op, "system", textPart(op, text+"e", "")), says(op, "user", textPart(op, "end", ""))}
		out := messagesOf(t, op, newVerifier(t, always(), llm.DedupBlocks).check(t, op, body(op, list)))
		if !bytes.Equal(out[2], list[2]) || !bytes.Contains(out[4], []byte("of message 3,")) {
			t.Errorf("%v: %s", op, out)
		}
	}
}

// TestSafeForms: a message goes that the next one says again, and a prompt that is in force; never
// a result of a tool, nor a mark that does not stay.
func TestSafeForms(t *testing.T) {
	long := strings.Repeat("word ", 30)
	m, g := llm.Messages, llm.GenerateContent
	user := func(op llm.Operation, more string) json.RawMessage { return says(op, "user", textPart(op, long, more)) }
	result := json.RawMessage(`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":` + string(quote(long)) + `}]}`)
	response := json.RawMessage(`{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":` + string(quote(long)) + `}}}]}`)
	for name, c := range map[string]struct {
		op       llm.Operation
		messages []json.RawMessage
		removed  int
	}{
		"repeated":                    {m, []json.RawMessage{user(m, ""), user(m, "")}, 1},
		"a text and a block":          {m, []json.RawMessage{say("user", long), user(m, "")}, 1},
		"of another role":             {m, []json.RawMessage{user(m, ""), says(m, "assistant", textPart(m, long, ""))}, 0},
		"the next one is marked":      {m, []json.RawMessage{user(m, ""), user(m, mark)}, 1},
		"both are marked":             {m, []json.RawMessage{user(m, mark), user(m, mark)}, 1},
		"a mark for an hour would go": {m, []json.RawMessage{user(m, `,"cache_control":{"type":"ephemeral","ttl":"1h"}`), user(m, mark)}, 0},
		"the mark would go":           {m, []json.RawMessage{user(m, mark), user(m, "")}, 0},
		"no mark":                     {m, []json.RawMessage{user(m, `,"cache_control":null`), user(m, "")}, 1},
		"citations":                   {m, []json.RawMessage{user(m, `,"citations":[{}]`), user(m, `,"citations":[{}]`)}, 0},
		"results of tools":            {m, []json.RawMessage{result, result}, 0},
		"two blocks":                  {m, []json.RawMessage{says(m, "user", textPart(m, long, ""), textPart(m, "a", "")), says(m, "user", textPart(m, long, ""), textPart(m, "a", ""))}, 0},
		"a prompt in force":           {m, []json.RawMessage{says(m, "system", textPart(m, long, "")), say("user", "a"), says(m, "system", textPart(m, long, ""))}, 1},
		"a marked one in force":       {m, []json.RawMessage{says(m, "system", textPart(m, long, "")), say("user", "a"), says(m, "system", textPart(m, long, mark))}, 0},
		"Gemini, repeated":            {g, []json.RawMessage{user(g, ""), json.RawMessage(`{"parts":[{"text":` + string(quote(long)) + `}]}`)}, 1},
		"Gemini, a thought":           {g, []json.RawMessage{user(g, `,"thought":true`), user(g, `,"thought":true`)}, 0},
		"Gemini, signed":              {g, []json.RawMessage{user(g, `,"thoughtSignature":"a"`), user(g, `,"thoughtSignature":"a"`)}, 0},
		"Gemini, with another field":  {g, []json.RawMessage{user(g, `,"partMetadata":{}`), user(g, `,"partMetadata":{}`)}, 0},
		"Gemini, results":             {g, []json.RawMessage{response, response}, 0},
		"Gemini, unknown between":     {g, []json.RawMessage{says(g, "system", textPart(g, long, "")), says(g, "root", textPart(g, long, "")), says(g, "system", textPart(g, long, ""))}, 0},
	} {
		list := append(c.messages, says(c.op, "user", textPart(c.op, "end", "")))
		got := messagesOf(t, c.op, newVerifier(t, Default(), llm.DedupSafe).check(t, c.op, body(c.op, list)))
		if removed := len(list) - len(got); removed != c.removed {
			t.Errorf("%s: %d were taken out", name, removed)
		}
	}
}

// TestBound: what citations tell of, or is beside what was signed, is kept as it is, and may be
// referred to.
func TestBound(t *testing.T) {
	text := lines(1, 50)
	m, g := llm.Messages, llm.GenerateContent
	for _, c := range []struct {
		op    llm.Operation
		said  string
		bound bool
	}{
		{m, textPart(m, text, ""), false}, {m, textPart(m, text, `,"citations":[]`), false}, {m, textPart(m, text, `,"citations":null`), false}, {m, textPart(m, text, mark), false},
		{m, textPart(m, text, `,"citations":[{"type":"char_location"}]`), true},
		{m, `{"type":"thinking","thinking":"a","signature":"b"},` + textPart(m, text, ""), true}, {m, textPart(m, text, "") + `,{"type":"redacted_thinking","data":"a"}`, true},
		{g, textPart(g, text, ""), false}, {g, textPart(g, text, `,"thoughtSignature":"a"`), true}, {g, textPart(g, text, `,"thought_signature":"a"`), true}, {g, textPart(g, text, `,"thought":false`), false},
		{g, textPart(g, text, "") + `,{"functionCall":{"name":"f","args":{}},"thoughtSignature":"a"}`, true}, {g, textPart(g, text, "") + `,{"functionCall":{"name":"f","args":{}}}`, false},
		{g, textPart(g, "a", `,"thought":true`) + "," + textPart(g, text, ""), true},
	} {
		first := says(c.op, model(c.op), c.said)
		list := []json.RawMessage{says(c.op, "user", textPart(c.op, text, "")), first, says(c.op, "user", textPart(c.op, "a", "")), says(c.op, model(c.op), textPart(c.op, text, "")), says(c.op, "user", textPart(c.op, "end", ""))}
		v := newVerifier(t, always(), llm.DedupBlocks)
		if out := messagesOf(t, c.op, v.check(t, c.op, body(c.op, list))); bytes.Equal(out[1], first) != c.bound {
			t.Errorf("%v, %s: %s", c.op, c.said, out[1])
		}
		// It stands nowhere else then.
		out := messagesOf(t, c.op, v.check(t, c.op, body(c.op, list[1:])))
		if !bytes.Equal(out[0], first) || !bytes.Contains(out[2], []byte("of message 1,")) {
			t.Errorf("%v, %s: it is not referred to: %s", c.op, c.said, out[2])
		}
	}
}

// TestNoTexts: what a service may leave out, or is no text of anybody, is neither changed nor
// referred to; the text beside it is looked into, unless the whole is of a kind that is not known.
func TestNoTexts(t *testing.T) {
	text := lines(1, 50)
	all := string(quote(text))
	m, g := llm.Messages, llm.GenerateContent
	for _, c := range []struct {
		op    llm.Operation
		part  string
		known bool
	}{
		{m, `{"type":"thinking","thinking":` + all + `}`, true}, {m, `{"type":"tool_use","id":"a","name":"f","input":{"text":` + all + `}}`, true},
		{m, `{"type":"document","source":{"type":"text","data":` + all + `}}`, true}, {m, `{"type":"search_result","content":[{"type":"text","text":` + all + `}]}`, true},
		{m, `{"content":[{"type":"text","text":` + all + `}],"type":"search_result"}`, true}, {m, `{"content":[{"type":"x","text":` + all + `}],"type":"web_search_tool_result"}`, true},
		{m, `{"content":` + all + `,"type":"mcp_tool_result"}`, true}, {m, `{"type":"server_tool_use","name":"f","input":{"a":` + all + `}}`, true},
		{m, `{"type":"hologram","text":` + all + `}`, false}, {m, `{"text":` + all + `}`, false}, {m, `{"type":"image","text":` + all + `}`, false},
		{m, `{"type":"tool_result","content":[{"type":"tool_result","content":` + all + `}]}`, false}, {m, `{"content":{"text":` + all + `},"type":"tool_result"}`, false},
		{m, `{"type":"tool_result","content":[{"type":"document","content":` + all + `}]}`, true}, {m, all, false},
		{g, `{"text":` + all + `,"thought":true}`, true}, {g, `{"thought":true,"text":` + all + `}`, true}, {g, `{"functionCall":{"name":"f","args":{"output":` + all + `}}}`, true},
		{g, `{"functionResponse":{"name":"f","response":{"text":` + all + `}}}`, true}, {g, `{"functionResponse":{"name":"f","response":{"output":{"output":` + all + `}}}}`, true},
		{g, `{"functionResponse":{"response":{"output":` + all + `,"result":` + all + `}}}`, false}, {g, `{"functionResponse":{"response":{},"response":{"output":` + all + `}}}`, false},
		{g, `{"text":` + all + `,"inlineData":{}}`, false}, {g, `{"hologram":` + all + `}`, false}, {g, `{"fileData":{"displayName":` + all + `}}`, true}, {g, `{"executableCode":{"code":` + all + `}}`, true},
	} {
		list := []json.RawMessage{
			says(c.op, "user", c.part, textPart(c.op, lines(2, 50), "")), says(c.op, model(c.op), textPart(c.op, text, "")), says(c.op, "user", textPart(c.op, "a", "")),
			says(c.op, model(c.op), textPart(c.op, lines(2, 50)+"b", "")), says(c.op, "user", textPart(c.op, "end", "")),
		}
		out := messagesOf(t, c.op, newVerifier(t, always(), llm.DedupBlocks).check(t, c.op, body(c.op, list)))
		if !bytes.Equal(out[0], list[0]) || !bytes.Equal(out[1], list[1]) || bytes.Contains(out[3], []byte("[[Sluice")) != c.known {
			t.Errorf("%v, %s: %s", c.op, c.part, out)
		}
	}
}

// TestResultsForms: what tools said is rewritten in each form that it may have, and nothing else of
// it.
func TestResultsForms(t *testing.T) {
	text := lines(1, 50)
	all := string(quote(text))
	m, g := llm.Messages, llm.GenerateContent
	for _, c := range []struct {
		op   llm.Operation
		part string
	}{
		{m, `{"type":"tool_result","tool_use_id":"a","content":` + all + `,"is_error":true` + mark + `}`}, {m, `{"content":` + all + `,"tool_use_id":"a","type":"tool_result"}`},
		{m, `{"tool_use_id":"a","content":[{"type":"image","source":{}},{"type":"text","text":` + all + mark + `},{"type":"text","text":"b"}],"type":"tool_result"}`},
		{g, `{"functionResponse":{"id":"1","name":"f","response":{"output":` + all + `}}}`}, {g, `{"function_response":{"name":"f","response":{"error":` + all + `,"code":1},"parts":[{"inlineData":{}}]}}`},
		{g, `{"functionResponse":{"response":{"result":` + all + `},"name":"f"}}`},
	} {
		list := []json.RawMessage{says(c.op, "user", textPart(c.op, text, "")), says(c.op, model(c.op), textPart(c.op, "a", "")), says(c.op, "user", c.part, c.part), says(c.op, model(c.op), textPart(c.op, "b", "")), says(c.op, "user", c.part), says(c.op, "user", textPart(c.op, "end", ""))}
		out := messagesOf(t, c.op, newVerifier(t, always(), llm.DedupBlocks).check(t, c.op, body(c.op, list)))
		if n := bytes.Count(out[2], []byte("[[Sluice")); n != 2 {
			t.Errorf("%v: %d references: %s", c.op, n, out[2])
		}
		for i, m := range out[4:5] {
			if before, after, _ := strings.Cut(string(list[4]), all); len(m) > 500 || !strings.HasPrefix(string(m), before) || !strings.HasSuffix(string(m), after) || !bytes.Contains(m, []byte(" of message 1, ")) {
				t.Errorf("%v, result %d: %s", c.op, i, m)
			}
		}
	}
}

// TestJoined: messages of one role that a service makes one have one number, and their lines go on.
// Where nobody knows how many they are, those behind them are neither changed nor referred to.
func TestJoined(t *testing.T) {
	text := lines(1, 50)
	op := llm.Messages
	user := func(said string) json.RawMessage { return say("user", said) }
	for _, c := range []struct {
		between     string // the first message, which is one with the next, and that
		other, refs string
	}{
		{`{"role":"user","content":"a\nb"}`, "user", "lines 3-52 of message 1,"}, {`{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{}}]}`, "user", "lines 2-51 of message 1,"},
		{`{"role":"assistant","content":"a"}`, "user", "lines 1-50 of message 2,"}, {`{"role":"user","content":[{"type":"hologram"}]}`, "user", ""}, {`{"role":"user","content":"a\u000ab"}`, "user", ""},
		{`{"role":"assistant","content":[{"type":"hologram"}]}`, "user", "lines 1-50 of message 2,"}, {`{"role":"root","content":"a"}`, "user", "lines 1-50 of message 2,"},
	} {
		list := []json.RawMessage{json.RawMessage(c.between), user(text), say("assistant", "b"), user(text + "c"), user("end")}
		out := messagesOf(t, op, newVerifier(t, always(), llm.DedupBlocks).check(t, op, body(op, list)))
		if c.refs == "" != bytes.Equal(out[3], list[3]) || !bytes.Contains(out[3], []byte(c.refs)) {
			t.Errorf("%s: %s", c.between, out[3])
		}
	}
	for op, want := range map[llm.Operation]string{llm.Messages: "lines 2-51 of this message,", llm.Chat: "lines 1-50 of message 2,"} {
		list := []json.RawMessage{user("a"), user(text), user(text + "b"), user("end")}
		if out := messagesOf(t, op, newVerifier(t, always(), llm.DedupBlocks).check(t, op, body(op, list))); !bytes.Contains(out[2], []byte(want)) {
			t.Errorf("%v: %s", op, out[2])
		}
	}
}

// TestMovingMarks: clients mark the last messages of each request. What was sent once is sent
// again as it was, but for the marks, and the bill does not rise.
func TestMovingMarks(t *testing.T) {
	file := lines(1, 60)
	var texts []string
	for i := range 24 {
		texts = append(texts, fmt.Sprintf("Step %d.\n%s", i, lines(100+i, 3)))
		switch i % 6 {
		case 2:
			texts[i] += file
		case 4:
			texts[i] = file + lines(i, 20) + file
		}
	}
	v := newVerifier(t, Default(), llm.DedupBlocks)
	op := llm.Messages
	var before, plainBefore []byte
	var sum bill
	changed := 0
	for n := 1; n <= len(texts); n += 2 {
		var list []json.RawMessage
		for i, text := range texts[:n] {
			marked := ""
			if i >= n-3 && i%2 == 0 { // the last two of the user's
				marked = mark
			}
			list = append(list, says(op, []string{"user", "assistant"}[i%2], textPart(op, text, marked)))
		}
		b := talk{`"system":[` + textPart(op, lines(2, 20), mark) + `],`, list}.body(op)
		sent := v.check(t, op, b)
		if !bytes.Equal(sent, b) {
			changed++
		}
		plain := bytes.TrimSuffix(bytes.ReplaceAll(b, []byte(mark), nil), []byte(rest))
		sent = bytes.TrimSuffix(bytes.ReplaceAll(sent, []byte(mark), nil), []byte(rest))
		known := bill{plain: float64(len(plainBefore))}
		last := bytes.LastIndex(before, []byte(`{"role"`)) // it may have become another one, once
		switch {
		case bytes.HasPrefix(sent, before):
			known.sent = float64(len(before))
		case bytes.HasPrefix(sent, before[:max(last, 0)]):
			known.sent = float64(last)
		default:
			t.Fatalf("with %d messages it begins otherwise: %s", n, difference(before, sent))
		}
		sum.add(known, float64(len(plain)), float64(len(sent)))
		before, plainBefore = bytes.Clone(sent), bytes.Clone(plain)
	}
	if changed < 5 || sum.sent > sum.plain {
		t.Errorf("%d requests were changed; %.0f became %.0f", changed, sum.plain, sum.sent)
	}
}

// TestPictures: where services keep prompts, a message that an earlier request ended with and that
// has more than texts is left as it is: to have it written anew costs what nobody knows.
func TestPictures(t *testing.T) {
	text := lines(1, 200)
	m, g := llm.Messages, llm.GenerateContent
	for _, c := range []struct {
		op            llm.Operation
		picture, role string
		kept          bool
	}{
		{m, `{"type":"image","source":{}}`, "user", true}, {m, `{"type":"tool_use","id":"a","name":"f","input":{}}`, "user", false}, {m, `{"type":"image","source":{}}`, "assistant", false},
		{m, `{"type":"tool_result","tool_use_id":"a","content":[{"type":"image","source":{}}]}`, "user", true},
		{g, `{"inlineData":{}}`, "user", true}, {g, `{"functionResponse":{"response":{},"parts":[{}]}}`, "user", true}, {g, `{"functionResponse":{"response":{}}}`, "user", false},
	} {
		said := says(c.op, c.role, textPart(c.op, text, ""), c.picture)
		list := []json.RawMessage{says(c.op, "user", textPart(c.op, text, "")), says(c.op, model(c.op), textPart(c.op, "a", "")), said, says(c.op, model(c.op), textPart(c.op, "b", "")), says(c.op, "user", textPart(c.op, "end", ""))}
		if c.role == "assistant" {
			list = []json.RawMessage{list[0], said, list[4]}
		}
		got := newVerifier(t, Default(), llm.DedupBlocks).check(t, c.op, body(c.op, list))
		if bytes.Contains(got, said) != c.kept {
			t.Errorf("%v, %s: %s", c.op, c.picture, got)
		}
	}
}
