package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice/internal/testkit/rpc"
)

// bridge is a service of gRPC with xAI's names that has simulated models, which speak chat
// completions, do its work.
type bridge struct {
	origin *origin
	url    string
}

// xaiRequest is what the bridge reads of a request, as JSON.
type xaiRequest struct {
	Model    string
	Messages []struct {
		Role    string
		Content []struct {
			Text     string
			ImageURL *struct {
				ImageURL string `json:"image_url"`
			} `json:"image_url"`
		}
		ToolCalls  []xaiCall `json:"tool_calls"`
		ToolCallID string    `json:"tool_call_id"`
	}
	MaxTokens *int `json:"max_tokens"`
	Tools     []struct {
		Function struct{ Name, Description, Parameters string }
	}
	ToolChoice struct {
		Mode         string
		FunctionName string `json:"function_name"`
	} `json:"tool_choice"`
	ResponseFormat struct {
		FormatType string `json:"format_type"`
		Schema     string
	} `json:"response_format"`
}

// xaiCall is a call of a tool, as both sides write it.
type xaiCall struct {
	ID       string `json:"id,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments,omitempty"`
	} `json:"function"`
}

type object = map[string]any

// chat is the request as chat completions have it.
func (q *xaiRequest) chat(stream bool) object {
	var messages, tools []object
	for _, m := range q.Messages {
		parts := []object{}
		for _, p := range m.Content {
			if p.ImageURL != nil {
				parts = append(parts, object{"type": "image_url", "image_url": object{"url": p.ImageURL.ImageURL}})
			} else {
				parts = append(parts, object{"type": "text", "text": p.Text})
			}
		}
		message := object{"role": strings.ToLower(strings.TrimPrefix(m.Role, "ROLE_")), "content": parts}
		if len(m.ToolCalls) > 0 {
			var calls []object
			for _, c := range m.ToolCalls {
				calls = append(calls, object{"id": c.ID, "type": "function", "function": c.Function})
			}
			message["tool_calls"] = calls
		}
		if m.ToolCallID != "" {
			message["tool_call_id"] = m.ToolCallID
		}
		messages = append(messages, message)
	}
	r := object{"model": q.Model, "messages": messages, "stream": stream}
	if stream {
		r["stream_options"] = object{"include_usage": true}
	}
	for _, t := range q.Tools {
		tools = append(tools, object{"type": "function", "function": object{"name": t.Function.Name, "parameters": json.RawMessage(t.Function.Parameters)}})
	}
	if tools != nil {
		r["tools"] = tools
	}
	switch {
	case q.ToolChoice.FunctionName != "":
		r["tool_choice"] = object{"type": "function", "function": object{"name": q.ToolChoice.FunctionName}}
	case q.ToolChoice.Mode == "TOOL_MODE_REQUIRED":
		r["tool_choice"] = "required"
	}
	if q.MaxTokens != nil {
		r["max_tokens"] = *q.MaxTokens
	}
	if q.ResponseFormat.Schema != "" {
		r["response_format"] = object{"type": "json_schema", "json_schema": object{"name": "s", "schema": json.RawMessage(q.ResponseFormat.Schema)}}
	}
	return r
}

// chatReply is what the bridge reads of a reply, and of an event.
type chatReply struct {
	Choices []struct {
		Message, Delta struct {
			Content          string
			ReasoningContent string    `json:"reasoning_content"`
			ToolCalls        []xaiCall `json:"tool_calls"`
		}
		FinishReason string `json:"finish_reason"`
	}
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	}
	Error struct{ Message string }
}

// xai is a reply, or an event with its calls so far, as the service writes it.
func (r *chatReply) xai(stream bool, calls []xaiCall) string {
	reply := object{}
	if len(r.Choices) > 0 {
		c := r.Choices[0]
		key, m := "message", c.Message
		if stream {
			key, m = "delta", c.Delta
		}
		if calls == nil {
			calls = m.ToolCalls
		}
		finish := map[string]string{"stop": "REASON_STOP", "length": "REASON_MAX_LEN", "tool_calls": "REASON_TOOL_CALLS"}[c.FinishReason]
		output := object{key: object{"content": m.Content, "reasoning_content": m.ReasoningContent, "tool_calls": calls}}
		if finish != "" {
			output["finish_reason"] = finish
		}
		reply["outputs"] = []object{output}
	}
	if r.Usage != nil {
		reply["usage"] = object{"prompt_tokens": r.Usage.PromptTokens, "completion_tokens": r.Usage.CompletionTokens}
	}
	b, _ := json.Marshal(reply)
	return string(b)
}

func (b *bridge) answer(call *rpc.Call) error {
	defer b.origin.begin("grpc", call.Method+" "+call.Request)()
	stream := strings.HasSuffix(call.Method, "Chunk")
	var asked xaiRequest
	if err := json.Unmarshal([]byte(call.Request), &asked); err != nil {
		return err
	}
	path, body := "/v1/chat/completions", any(asked.chat(stream))
	embeds := strings.HasSuffix(call.Method, "Embed")
	if embeds {
		var texts struct{ Input []struct{ String string } }
		if err := json.Unmarshal([]byte(call.Request), &texts); err != nil {
			return err
		}
		var input []string
		for _, one := range texts.Input {
			input = append(input, one.String)
		}
		path, body = "/v1/embeddings", object{"model": asked.Model, "input": input, "dimensions": 8}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(call.Context(), "POST", b.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return status.FromContextError(err).Err()
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		var reply chatReply
		if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
			return err
		}
		code := map[int]codes.Code{400: codes.InvalidArgument, 401: codes.Unauthenticated, 404: codes.NotFound, 429: codes.ResourceExhausted}[resp.StatusCode]
		if code == codes.OK {
			code = codes.Internal
		}
		return status.Error(code, reply.Error.Message)
	case embeds:
		return embedded(call, resp.Body)
	case stream:
		return relay(call, resp.Body)
	}
	var reply chatReply
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return call.Reply(reply.xai(false, nil))
}

func embedded(call *rpc.Call, body io.Reader) error {
	var reply struct {
		Data []struct{ Embedding []float32 }
	}
	if err := json.NewDecoder(body).Decode(&reply); err != nil {
		return err
	}
	vectors := []object{}
	for i, v := range reply.Data {
		vectors = append(vectors, object{"index": i, "embeddings": []object{{"float_array": v.Embedding}}})
	}
	b, err := json.Marshal(object{"embeddings": vectors})
	if err != nil {
		return err
	}
	return call.Reply(string(b))
}

// relay passes the events of a stream on. A call of a tool the service gives whole, with the
// reason why the reply ended.
func relay(call *rpc.Call, body io.Reader) error {
	var calls []xaiCall
	for lines := newLines(body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
			continue
		case data == "[DONE]":
			return nil
		}
		var event chatReply
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return err
		}
		if event.Error.Message != "" {
			return status.Error(codes.Unavailable, event.Error.Message)
		}
		var told []xaiCall
		if len(event.Choices) > 0 {
			for _, piece := range event.Choices[0].Delta.ToolCalls {
				if piece.ID != "" {
					calls = append(calls, xaiCall{ID: piece.ID})
				}
				c := &calls[len(calls)-1].Function
				c.Name += piece.Function.Name
				c.Arguments += piece.Function.Arguments
			}
			told = []xaiCall{}
			if event.Choices[0].FinishReason != "" {
				told = calls
			}
		}
		if err := call.Reply(event.xai(true, told)); err != nil {
			return err
		}
	}
	if call.Context().Err() != nil {
		return status.FromContextError(call.Context().Err()).Err()
	}
	return status.Error(codes.Unavailable, "The models broke off.")
}
