package soak

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// textOf is the text of a message's content, which is a text, or parts that have one.
func textOf(content any) string {
	switch v := content.(type) {
	case string:
		return v
	case []any:
		var b strings.Builder
		for _, p := range v {
			if part, ok := p.(object); ok {
				s, _ := part["text"].(string)
				b.WriteString(s)
			}
		}
		return b.String()
	}
	return ""
}

// read reads a request of which the rest is of no interest.
func (x *exchange) read(req any) bool {
	if err := json.Unmarshal(x.body, req); err != nil {
		x.refuse(http.StatusUnprocessableEntity, err.Error())
		return false
	}
	return true
}

// send writes an event of a stream, with its type where the dialect has one.
func (x *exchange) send(kind string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		panic(err) // what is written here is what this program made
	}
	if kind != "" {
		fmt.Fprintf(x.w, "event: %s\n", kind)
	}
	fmt.Fprintf(x.w, "data: %s\n\n", b)
}

const eventStream = "text/event-stream"

// theTool is what questions with a call want called, with the answer as its text.
const theTool = "answer"

// arguments are those of the call, in pieces that hold no part of a character.
func (a answer) arguments() []string {
	b, _ := json.Marshal(object{"text": a.text()})
	runes := []rune(string(b))
	pieces := make([]string, a.pieces)
	for i := range pieces {
		pieces[i] = string(runes[i*len(runes)/a.pieces : (i+1)*len(runes)/a.pieces])
	}
	return pieces
}

// chat speaks Chat Completions.
func (x *exchange) chat() {
	var req struct {
		Model    string
		Messages []struct {
			Role    string
			Content any
		}
		Stream  bool
		Options struct {
			Usage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if !x.read(&req) {
		return
	}
	var t talk
	for _, m := range req.Messages {
		t.hear(m.Role, textOf(m.Content))
	}
	id := "chatcmpl-" + fmt.Sprint(len(x.body))
	usage := func(a answer) object {
		return object{"prompt_tokens": a.prompt, "completion_tokens": a.out, "total_tokens": a.prompt + a.out}
	}
	finish := func(a answer) string {
		if a.tool {
			return "tool_calls"
		}
		return "stop"
	}
	var stream func(a answer)
	if req.Stream {
		stream = func(a answer) {
			chunk := func(delta object, finish any) {
				x.send("", object{"id": id, "object": "chat.completion.chunk", "created": 1700000000, "model": req.Model,
					"choices": []any{object{"index": 0, "delta": delta, "finish_reason": finish}}})
			}
			arguments := a.arguments()
			x.events(eventStream, a, func() {
				if a.tool {
					chunk(object{"role": "assistant", "tool_calls": []any{object{"index": 0, "id": "call_" + a.id, "type": "function", "function": object{"name": theTool, "arguments": ""}}}}, nil)
				} else {
					chunk(object{"role": "assistant", "content": ""}, nil)
				}
			}, func(i int) {
				if a.tool {
					chunk(object{"tool_calls": []any{object{"index": 0, "function": object{"arguments": arguments[i]}}}}, nil)
				} else {
					chunk(object{"content": a.texts[i]}, nil)
				}
			}, func() {
				x.send("", object{"error": object{"message": originFails, "type": "server_error", "code": nil}})
			}, func() {
				chunk(object{}, finish(a))
				if req.Options.Usage {
					x.send("", object{"id": id, "object": "chat.completion.chunk", "created": 1700000000, "model": req.Model, "choices": []any{}, "usage": usage(a)})
				}
				fmt.Fprint(x.w, "data: [DONE]\n\n")
			})
		}
	}
	x.asked(t, func(a answer) {
		message := object{"role": "assistant", "content": a.text()}
		if a.tool {
			message = object{"role": "assistant", "content": nil, "tool_calls": []any{object{"id": "call_" + a.id, "type": "function", "function": object{"name": theTool, "arguments": strings.Join(a.arguments(), "")}}}}
		}
		x.json(http.StatusOK, object{"id": id, "object": "chat.completion", "created": 1700000000, "model": req.Model, "usage": usage(a),
			"choices": []any{object{"index": 0, "message": message, "finish_reason": finish(a)}}})
	}, stream)
}

// responses speaks Responses.
func (x *exchange) responses() {
	var req struct {
		Model        string
		Instructions string
		Input        any
		Stream       bool
	}
	if !x.read(&req) {
		return
	}
	t := talk{system: req.Instructions}
	switch v := req.Input.(type) {
	case string:
		t.hear("user", v)
	case []any:
		for _, i := range v {
			if item, ok := i.(object); ok {
				role, _ := item["role"].(string)
				t.hear(role, textOf(item["content"]))
			}
		}
	}
	item := func(a answer, status string) object {
		if a.tool {
			o := object{"type": "function_call", "id": "fc_1", "call_id": "call_" + a.id, "name": theTool, "arguments": "", "status": status}
			if status == "completed" {
				o["arguments"] = strings.Join(a.arguments(), "")
			}
			return o
		}
		content := []any{}
		if status == "completed" {
			content = append(content, object{"type": "output_text", "text": a.text(), "annotations": []any{}})
		}
		return object{"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content}
	}
	response := func(a answer, status string) object {
		o := object{"id": "resp_" + a.id, "object": "response", "created_at": 1700000000, "model": req.Model, "status": status, "output": []any{}, "usage": nil, "error": nil}
		if status == "completed" {
			o["output"] = []any{item(a, status)}
			o["usage"] = object{"input_tokens": a.prompt, "output_tokens": a.out, "total_tokens": a.prompt + a.out,
				"input_tokens_details": object{"cached_tokens": 0}, "output_tokens_details": object{"reasoning_tokens": 0}}
		}
		return o
	}
	var stream func(a answer)
	if req.Stream {
		stream = func(a answer) {
			n := 0
			send := func(kind string, data object) {
				data["type"], data["sequence_number"] = kind, n
				n++
				x.send(kind, data)
			}
			arguments := a.arguments()
			x.events(eventStream, a, func() {
				send("response.created", object{"response": response(a, "in_progress")})
				send("response.output_item.added", object{"output_index": 0, "item": item(a, "in_progress")})
				if !a.tool {
					send("response.content_part.added", object{"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": object{"type": "output_text", "text": "", "annotations": []any{}}})
				}
			}, func(i int) {
				if a.tool {
					send("response.function_call_arguments.delta", object{"item_id": "fc_1", "output_index": 0, "delta": arguments[i]})
				} else {
					send("response.output_text.delta", object{"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": a.texts[i]})
				}
			}, func() {
				failed := response(a, "failed")
				failed["error"] = object{"code": "server_error", "message": originFails}
				send("response.failed", object{"response": failed})
			}, func() {
				if a.tool {
					send("response.function_call_arguments.done", object{"item_id": "fc_1", "output_index": 0, "arguments": strings.Join(arguments, "")})
				} else {
					send("response.output_text.done", object{"item_id": "msg_1", "output_index": 0, "content_index": 0, "text": a.text()})
				}
				send("response.output_item.done", object{"output_index": 0, "item": item(a, "completed")})
				send("response.completed", object{"response": response(a, "completed")})
			})
		}
	}
	x.asked(t, func(a answer) { x.json(http.StatusOK, response(a, "completed")) }, stream)
}

// messages speaks Messages.
func (x *exchange) messages() {
	var req struct {
		Model    string
		System   any
		Messages []struct {
			Role    string
			Content any
		}
		Stream bool
	}
	if !x.read(&req) {
		return
	}
	t := talk{system: textOf(req.System)}
	for _, m := range req.Messages {
		t.hear(m.Role, textOf(m.Content))
	}
	block := func(a answer, whole bool) object {
		switch {
		case a.tool && whole:
			return object{"type": "tool_use", "id": "toolu_" + a.id, "name": theTool, "input": object{"text": a.text()}}
		case a.tool:
			return object{"type": "tool_use", "id": "toolu_" + a.id, "name": theTool, "input": object{}}
		case whole:
			return object{"type": "text", "text": a.text()}
		}
		return object{"type": "text", "text": ""}
	}
	stop := func(a answer) string {
		if a.tool {
			return "tool_use"
		}
		return "end_turn"
	}
	message := func(a answer, content []any, stop any, out int) object {
		return object{"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": req.Model, "content": content, "stop_reason": stop, "stop_sequence": nil,
			"usage": object{"input_tokens": a.prompt, "output_tokens": out}}
	}
	var stream func(a answer)
	if req.Stream {
		stream = func(a answer) {
			arguments := a.arguments()
			x.events(eventStream, a, func() {
				x.send("message_start", object{"type": "message_start", "message": message(a, []any{}, nil, 1)})
				x.send("content_block_start", object{"type": "content_block_start", "index": 0, "content_block": block(a, false)})
				x.send("ping", object{"type": "ping"})
			}, func(i int) {
				delta := object{"type": "text_delta", "text": a.texts[i]}
				if a.tool {
					delta = object{"type": "input_json_delta", "partial_json": arguments[i]}
				}
				x.send("content_block_delta", object{"type": "content_block_delta", "index": 0, "delta": delta})
			}, func() {
				x.send("error", object{"type": "error", "error": object{"type": "api_error", "message": originFails}})
			}, func() {
				x.send("content_block_stop", object{"type": "content_block_stop", "index": 0})
				x.send("message_delta", object{"type": "message_delta", "delta": object{"stop_reason": stop(a), "stop_sequence": nil}, "usage": object{"output_tokens": a.out}})
				x.send("message_stop", object{"type": "message_stop"})
			})
		}
	}
	x.asked(t, func(a answer) {
		x.json(http.StatusOK, message(a, []any{block(a, true)}, stop(a), a.out))
	}, stream)
}

// gemini speaks Gemini; path is MODEL:METHOD.
func (x *exchange) gemini(path string) {
	model, method, _ := strings.Cut(path, ":")
	var req struct {
		System struct {
			Parts any
		} `json:"systemInstruction"`
		Contents []struct {
			Role  string
			Parts any
		}
	}
	if !x.read(&req) {
		return
	}
	t := talk{system: textOf(req.System.Parts)}
	for _, c := range req.Contents {
		t.hear(c.Role, textOf(c.Parts))
	}
	response := func(a answer, parts []any, finish any) object {
		candidate := object{"index": 0, "content": object{"role": "model", "parts": parts}}
		o := object{"candidates": []any{candidate}, "modelVersion": model, "responseId": "r-" + a.id}
		if finish != nil {
			candidate["finishReason"] = finish
			o["usageMetadata"] = object{"promptTokenCount": a.prompt, "candidatesTokenCount": a.out, "totalTokenCount": a.prompt + a.out}
		}
		return o
	}
	call := func(a answer) []any {
		return []any{object{"functionCall": object{"name": theTool, "args": object{"text": a.text()}}}}
	}
	var stream func(a answer)
	if method == "streamGenerateContent" {
		stream = func(a answer) {
			x.events(eventStream, a, func() {}, func(i int) {
				switch {
				case !a.tool:
					x.send("", response(a, []any{object{"text": a.texts[i]}}, nil))
				case i == a.pieces-1:
					x.send("", response(a, call(a), nil))
				}
			}, func() {
				x.send("", object{"error": object{"code": 500, "message": originFails, "status": "INTERNAL"}})
			}, func() {
				x.send("", response(a, []any{object{"text": ""}}, "STOP"))
			})
		}
	}
	x.asked(t, func(a answer) {
		parts := []any{object{"text": a.text()}}
		if a.tool {
			parts = call(a)
		}
		x.json(http.StatusOK, response(a, parts, "STOP"))
	}, stream)
}
