package dedup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// dialects are the operations whose requests are looked into.
func dialects() []llm.Operation {
	return []llm.Operation{llm.Chat, llm.Response, llm.Messages, llm.GenerateContent}
}

// talk is a conversation in a dialect: its messages, and members of the body before them.
type talk struct {
	prompt   string
	messages []json.RawMessage
}

func (c talk) body(op llm.Operation) []byte {
	return bytes.Replace(body(op, c.messages), []byte(`{"model":"m",`), []byte(`{"model":"m",`+c.prompt), 1)
}

// translated gives messages of a chat completion in another dialect, all of them as translation
// writes them.
func translated(t testing.TB, op llm.Operation, messages []json.RawMessage) talk {
	t.Helper()
	switch op {
	case llm.Chat:
		return talk{messages: messages}
	case llm.Response:
		return talk{messages: items(messages)}
	}
	c := dialect.Conversation{Model: "m"}
	if err := known.Of(llm.Chat).ReadRequest(&c, body(llm.Chat, messages)); err != nil {
		t.Fatal(err)
	}
	asked, err := known.Of(op).WriteRequest(nil, &c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		System             json.RawMessage
		SystemInstruction  json.RawMessage
		Messages, Contents []json.RawMessage
	}
	if err := json.Unmarshal(asked.Body, &said); err != nil {
		t.Fatal(err)
	}
	var c2 talk
	switch c2.messages = said.Messages; {
	case op == llm.GenerateContent:
		if c2.messages = said.Contents; said.SystemInstruction != nil {
			c2.prompt = `"systemInstruction":` + string(said.SystemInstruction) + `,`
		}
	case said.System != nil:
		c2.prompt = `"system":` + string(said.System) + `,`
	}
	if len(c2.messages) == 0 {
		t.Fatalf("nothing was written: %s", asked.Body)
	}
	return c2
}

// native makes a conversation of repetitive texts in what only Messages, or Gemini's API, have; nil
// for other dialects.
func native(r *rand.Rand, op llm.Operation) (list []json.RawMessage) {
	if op != llm.Messages && op != llm.GenerateContent {
		return nil
	}
	repeat := repetitive(r)
	text := func() string { return string(quote(repeat())) }
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	block := func() string { // of Messages
		return `{"type":"text","text":` + text() + pick("", "", `,"cache_control":{"type":"ephemeral"}`, `,"citations":[]`, `,"citations":[{"type":"char_location","cited_text":"a"}]`) + `}`
	}
	part := func() string { // of Gemini's
		return `{` + pick("", `"x":1,`) + `"text":` + text() + pick("", "", "", `,"thought":true`, `,"thoughtSignature":"c2ln"`) + `}`
	}
	for n := range 3 + r.IntN(10) {
		call := fmt.Sprintf("toolu_%d", n)
		switch op {
		case llm.Messages:
			switch r.IntN(6) {
			case 0:
				list = append(list, say("user", repeat()), say("assistant", repeat()))
			case 1:
				list = append(list, json.RawMessage(`{"role":"user","content":[`+block()+`,{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},`+block()+`]}`))
			case 2:
				list = append(list, json.RawMessage(`{"role":"assistant","content":[{"type":"thinking","thinking":`+text()+`,"signature":"c2ln"},`+block()+`]}`))
			case 3, 4:
				results := []string{`{"type":"tool_result","tool_use_id":"` + call + `","content":` + text() + `}`}
				for range r.IntN(3) {
					results = append(results, `{"content":[`+block()+`],"is_error":false,"tool_use_id":"`+call+`","type":"tool_result"}`)
				}
				list = append(list, json.RawMessage(`{"role":"assistant","content":[`+pick("", block()+`,`)+`{"type":"tool_use","id":"`+call+`","name":"f","input":{"text":`+text()+`}}]}`),
					json.RawMessage(`{"role":"user","content":[`+strings.Join(results, ",")+pick("", `,`+block())+`]}`))
			case 5:
				list = append(list, json.RawMessage(`{"role":"`+pick("user", "system", "assistant")+`","content":[`+block()+`]}`))
			}
		default:
			switch r.IntN(5) {
			case 0:
				list = append(list, json.RawMessage(`{"parts":[`+part()+`]}`), json.RawMessage(`{"role":"model","parts":[`+part()+`]}`))
			case 1:
				list = append(list, json.RawMessage(`{"role":"user","parts":[`+part()+`,{"inlineData":{"mimeType":"image/png","data":"AAAA"}},`+part()+`]}`))
			case 2, 3:
				result := `{"functionResponse":{"name":"f","response":{"` + pick("output", "result", "error", "text") + `":` + text() + `,"code":0}}}`
				list = append(list, json.RawMessage(`{"role":"model","parts":[`+pick("", part()+`,`)+`{"functionCall":{"name":"f","args":{"text":`+text()+`}},"thoughtSignature":"c2ln"}]}`),
					json.RawMessage(`{"role":"`+pick("user", "function")+`","parts":[`+result+pick("", `,`+result)+`]}`))
			case 4:
				list = append(list, json.RawMessage(`{"role":"model","parts":[`+part()+`,`+part()+`]}`))
			}
		}
		if r.IntN(4) == 0 {
			list = append(list, list[r.IntN(len(list))])
		}
	}
	return list
}

func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

// recordedRequests are requests as programs sent them, by what they ask for.
func recordedRequests(t *testing.T) map[llm.Operation][][]byte {
	all := make(map[llm.Operation][][]byte)
	add := func(op llm.Operation, body []byte) {
		if op != llm.Passthrough && jsonscan.Validate(body, 0) == nil {
			all[op] = append(all[op], body)
		}
	}
	for _, in := range testkit.Seeds(t) {
		for _, s := range in.Streams(t) {
			add(map[string]llm.Operation{"openai-chat": llm.Chat, "openai-responses": llm.Response, "anthropic-messages": llm.Messages, "gemini": llm.GenerateContent}[s.API], s.Request)
		}
		for _, p := range in.Pairs(t) {
			for end, op := range map[string]llm.Operation{"/chat/completions": llm.Chat, "/responses": llm.Response, "/messages": llm.Messages, ":generateContent": llm.GenerateContent} {
				if url, _, _ := strings.Cut(p.URL, "?"); strings.HasSuffix(url, end) {
					add(op, []byte(p.Request))
				}
			}
		}
	}
	return all
}

// TestRecordedRequests: what programs send in each dialect's own words is looked into but for a
// little, and what is promised holds of each beginning of it, once and said twice over.
func TestRecordedRequests(t *testing.T) {
	testkit.Simulation(t)
	for op, bodies := range recordedRequests(t) {
		sure, left, messages, changed := 0, 0, 0, 0
		for _, b := range bodies {
			c := new(conversation)
			if !c.read(op, b, true) {
				continue
			}
			sure++
			for i := range c.messages {
				if messages++; c.messages[i].voice == 0 && !c.shape.Items {
					left++
				}
			}
			said := talk{messages: messagesOf(t, op, b)}
			if name := c.shape.Name(dialect.PromptMember); name != "" {
				if s, ok := jsonscan.Get(b, name); ok {
					said.prompt = fmt.Sprintf("%q:%s,", name, b[s.Start:s.End])
				}
			}
			each(t, func(v *verifier) {
				n, _ := v.replay(t, op, said)
				m, _ := v.replay(t, op, talk{said.prompt, append(append(said.messages, said.messages...), said.messages...)})
				changed += n + m
				v.known = 0
				v.check(t, op, b)
			})
		}
		t.Logf("%v: of %d requests %d are looked into, of %d messages %d are not; %d beginnings were changed", op, len(bodies), sure, messages, left, changed)
		if sure == 0 || left > messages/10 || changed == 0 {
			t.Errorf("%v: too few", op)
		}
	}
}
