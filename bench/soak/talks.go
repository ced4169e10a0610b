package soak

import (
	"encoding/json"
	"fmt"
)

// turn is a message of a conversation.
type turn struct{ role, text string }

// conversation is one as a client has it, in no dialect yet.
type conversation struct {
	system string
	turns  []turn
	q      question
}

// answer is what must be said to it.
func (c conversation) answer() answer {
	t := talk{system: c.system}
	for _, m := range c.turns {
		t.hear(m.role, m.text)
	}
	a, err := answerTo(t)
	if err != nil {
		panic(err) // this program has asked
	}
	return a
}

// asking is a conversation of one question, with so many bytes behind it.
func asking(q question, more string) conversation {
	return conversation{turns: []turn{{"user", q.String() + more}}, q: q}
}

// toolParameters are those of theTool.
var toolParameters = object{"type": "object", "properties": object{"text": object{"type": "string"}}, "required": []string{"text"}}

// request writes a conversation in a dialect: the path and the body. usage has a stream of
// Chat Completions tell how many tokens it took.
func (c conversation) request(dialect, model string, stream, usage bool) (path string, body []byte) {
	var o object
	switch dialect {
	case "chat":
		var messages []any
		if c.system != "" {
			messages = append(messages, object{"role": "system", "content": c.system})
		}
		for _, t := range c.turns {
			messages = append(messages, object{"role": t.role, "content": t.text})
		}
		path, o = "/v1/chat/completions", object{"model": model, "messages": messages}
		if stream {
			o["stream"] = true
			if usage {
				o["stream_options"] = object{"include_usage": true}
			}
		}
		if c.q.tool {
			o["tools"] = []any{object{"type": "function", "function": object{"name": theTool, "parameters": toolParameters}}}
		}
	case "responses":
		var input []any
		for _, t := range c.turns {
			kind := "input_text"
			if t.role == "assistant" {
				kind = "output_text"
			}
			input = append(input, object{"type": "message", "role": t.role, "content": []any{object{"type": kind, "text": t.text}}})
		}
		path, o = "/v1/responses", object{"model": model, "input": input, "store": false, "stream": stream}
		if c.system != "" {
			o["instructions"] = c.system
		}
		if c.q.tool {
			o["tools"] = []any{object{"type": "function", "name": theTool, "parameters": toolParameters}}
		}
	case "messages":
		var messages []any
		for _, t := range c.turns {
			messages = append(messages, object{"role": t.role, "content": []any{object{"type": "text", "text": t.text}}})
		}
		path, o = "/v1/messages", object{"model": model, "messages": messages, "max_tokens": 8192, "stream": stream}
		if c.system != "" {
			o["system"] = c.system
		}
		if c.q.tool {
			o["tools"] = []any{object{"name": theTool, "input_schema": toolParameters}}
		}
	case "gemini":
		var contents []any
		for _, t := range c.turns {
			role := t.role
			if role == "assistant" {
				role = "model"
			}
			contents = append(contents, object{"role": role, "parts": []any{object{"text": t.text}}})
		}
		path, o = fmt.Sprintf("/v1beta/models/%s:generateContent", model), object{"contents": contents}
		if stream {
			path = fmt.Sprintf("/v1beta/models/%s:streamGenerateContent?alt=sse", model)
		}
		if c.system != "" {
			o["systemInstruction"] = object{"parts": []any{object{"text": c.system}}}
		}
		if c.q.tool {
			o["tools"] = []any{object{"functionDeclarations": []any{object{"name": theTool, "parameters": toolParameters}}}}
		}
	}
	body, err := json.Marshal(o)
	if err != nil {
		panic(err) // it was made here
	}
	return path, body
}
