package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// heard is what a client has made of a reply.
type heard struct {
	text, arguments, name string
	finish                string
	in, out               int
	usage                 bool
	number                int    // that the next event of the Responses API has at least
	ended                 bool   // it came to its end, as the dialect marks it
	failed                string // what an event of an error says
}

// wanted are the words with which dialects say that a reply has come to its end, and that
// it wants a call made.
var wanted = map[string][2]string{
	"chat": {"stop", "tool_calls"}, "responses": {"completed", "completed"}, "messages": {"end_turn", "tool_use"}, "gemini": {"STOP", "STOP"},
}

// is says what is wrong with a whole reply, "" for nothing.
func (h *heard) is(a answer, dialect string, usage bool) string {
	want := wanted[dialect][0]
	if a.tool {
		want = wanted[dialect][1]
		var arguments struct{ Text string }
		if err := json.Unmarshal([]byte(h.arguments), &arguments); err != nil || h.name != theTool {
			return fmt.Sprintf("a call of %q with %.300q", h.name, h.arguments)
		}
		if h.text != "" {
			return fmt.Sprintf("%.300q beside a call", h.text)
		}
		h.text = arguments.Text
	}
	switch {
	case h.text != a.text():
		return "other words: " + differ(h.text, a.text())
	case h.finish != want:
		return fmt.Sprintf("finished by %q and not %q", h.finish, want)
	case h.usage != usage:
		return fmt.Sprintf("usage told: %v", h.usage)
	case usage && (h.in != a.prompt || h.out != a.out):
		return fmt.Sprintf("%d and %d tokens, not %d and %d", h.in, h.out, a.prompt, a.out)
	}
	return ""
}

// begins says what is wrong with a reply that was broken off, "" for nothing.
func (h *heard) begins(a answer) string {
	switch {
	case a.tool: // arguments that were cut may not be shown, and are no JSON
	case !strings.HasPrefix(a.text(), h.text):
		return "other words, up to a cut: " + differ(h.text, a.text())
	}
	return ""
}

// differ shows where two texts part.
func differ(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	from := max(i-20, 0)
	return fmt.Sprintf("at byte %d of %d and %d: %.60q, not %.60q", i, len(got), len(want), got[min(from, len(got)):], want[min(from, len(want)):])
}

// Whole replies.

type (
	chatCall struct {
		Function struct{ Name, Arguments string }
	}
	chatUsage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	}
	responsesReply struct {
		Status string
		Output []struct {
			Type, Name, Arguments string
			Content               []struct{ Text string }
		}
		Usage *struct {
			In  int `json:"input_tokens"`
			Out int `json:"output_tokens"`
		}
		Error *struct{ Message string }
	}
	geminiReply struct {
		Candidates []struct {
			Content struct {
				Parts []struct {
					Text string
					Call *struct {
						Name string
						Args json.RawMessage
					} `json:"functionCall"`
				}
			}
			Finish string `json:"finishReason"`
		}
		Usage *struct {
			In  int `json:"promptTokenCount"`
			Out int `json:"candidatesTokenCount"`
		} `json:"usageMetadata"`
		Error *struct{ Message string }
	}
)

func (h *heard) responses(r *responsesReply) {
	for _, o := range r.Output {
		if o.Type == "function_call" {
			h.name, h.arguments = o.Name, h.arguments+o.Arguments
		}
		for _, c := range o.Content {
			h.text += c.Text
		}
	}
	h.finish = r.Status
	if r.Usage != nil {
		h.in, h.out, h.usage = r.Usage.In, r.Usage.Out, true
	}
}

func (h *heard) gemini(r *geminiReply) {
	for _, c := range r.Candidates {
		for _, p := range c.Content.Parts {
			h.text += p.Text
			if p.Call != nil {
				h.name, h.arguments = p.Call.Name, h.arguments+string(p.Call.Args)
			}
		}
		if c.Finish != "" {
			h.finish, h.ended = c.Finish, true
		}
	}
	if r.Usage != nil {
		h.in, h.out, h.usage = r.Usage.In, r.Usage.Out, true
	}
}

// hearWhole reads a reply that is no stream.
func hearWhole(dialect string, body []byte) (h heard, err error) {
	switch dialect {
	case "chat":
		var r struct {
			Choices []struct {
				Message struct {
					Content string
					Calls   []chatCall `json:"tool_calls"`
				}
				Finish string `json:"finish_reason"`
			}
			Usage *chatUsage
		}
		if err = json.Unmarshal(body, &r); err == nil && len(r.Choices) != 1 {
			err = fmt.Errorf("%d choices", len(r.Choices))
		}
		if err != nil {
			return h, err
		}
		c := r.Choices[0]
		h.text, h.finish = c.Message.Content, c.Finish
		for _, call := range c.Message.Calls {
			h.name, h.arguments = call.Function.Name, h.arguments+call.Function.Arguments
		}
		if r.Usage != nil {
			h.in, h.out, h.usage = r.Usage.Prompt, r.Usage.Completion, true
		}
	case "responses":
		var r responsesReply
		err = json.Unmarshal(body, &r)
		h.responses(&r)
	case "messages":
		var r struct {
			Content []struct {
				Text, Name string
				Input      json.RawMessage
			}
			Stop  string `json:"stop_reason"`
			Usage *struct {
				In  int `json:"input_tokens"`
				Out int `json:"output_tokens"`
			}
		}
		err = json.Unmarshal(body, &r)
		for _, c := range r.Content {
			h.text += c.Text
			if c.Name != "" {
				h.name, h.arguments = c.Name, h.arguments+string(c.Input)
			}
		}
		h.finish = r.Stop
		if r.Usage != nil {
			h.in, h.out, h.usage = r.Usage.In, r.Usage.Out, true
		}
	case "gemini":
		var r geminiReply
		err = json.Unmarshal(body, &r)
		h.gemini(&r)
	}
	return h, err
}

// errBroken is that a reply ended before its end.
var errBroken = errors.New("broken off")

// hearStream reads a stream to its end. An error other than errBroken is one of the stream's
// own making: it is no sound stream.
func hearStream(dialect string, r io.Reader) (h heard, err error) {
	lines := bufio.NewReaderSize(r, 4<<10)
	var kind string
	var data []byte
	for n := 0; ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return h, nil
		}
		if err != nil {
			return h, fmt.Errorf("%w: %w", errBroken, err)
		}
		switch line = bytes.TrimRight(line, "\r\n"); {
		case len(line) > 0:
			if v, ok := bytes.CutPrefix(line, []byte("event:")); ok {
				kind = string(bytes.TrimSpace(v))
			}
			if v, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				data = append(data, bytes.TrimPrefix(v, []byte(" "))...)
			}
		case data != nil:
			if h.ended {
				return h, fmt.Errorf("behind the end: %.200q", data)
			}
			if err := h.event(dialect, kind, data, n); err != nil {
				return h, err
			}
			kind, data = "", nil
			n++
		}
	}
}

// event takes an event in, of which so many came before.
func (h *heard) event(dialect, kind string, data []byte, n int) error {
	switch dialect {
	case "chat":
		return h.chatEvent(data)
	case "responses":
		return h.responsesEvent(kind, data)
	case "messages":
		return h.messagesEvent(kind, data, n)
	}
	var r geminiReply
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%w: %.200q", err, data)
	}
	if r.Error != nil {
		h.failed = r.Error.Message
	}
	h.gemini(&r)
	return nil
}

func (h *heard) chatEvent(data []byte) error {
	if string(data) == "[DONE]" {
		h.ended = true
		return nil
	}
	var r struct {
		Choices []struct {
			Delta struct {
				Content string
				Calls   []chatCall `json:"tool_calls"`
			}
			Finish string `json:"finish_reason"`
		}
		Usage *chatUsage
		Error *struct{ Message string }
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%w: %.200q", err, data)
	}
	if r.Error != nil {
		h.failed = r.Error.Message
	}
	for _, c := range r.Choices {
		if h.finish != "" && (c.Delta.Content != "" || c.Finish != "") {
			return fmt.Errorf("behind the finish: %.200q", data)
		}
		h.text += c.Delta.Content
		for _, call := range c.Delta.Calls {
			h.name, h.arguments = h.name+call.Function.Name, h.arguments+call.Function.Arguments
		}
		h.finish = c.Finish
	}
	if r.Usage != nil {
		h.in, h.out, h.usage = r.Usage.Prompt, r.Usage.Completion, true
	}
	return nil
}

func (h *heard) responsesEvent(kind string, data []byte) error {
	var r struct {
		Type      string
		Number    *int `json:"sequence_number"`
		Delta     string
		Text      string
		Arguments string
		Message   string
		Item      struct{ Name string }
		Response  *responsesReply
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Type != kind {
		return fmt.Errorf("%w: %q %.200q", err, kind, data)
	}
	if r.Number != nil { // events that were joined for a slow reader have the last one's
		if *r.Number < h.number {
			return fmt.Errorf("the number %d where %d or more was to come: %.200q", *r.Number, h.number, data)
		}
		h.number = *r.Number + 1
	}
	switch kind {
	case "response.output_item.added":
		h.name = r.Item.Name
	case "response.output_text.delta":
		h.text += r.Delta
	case "response.function_call_arguments.delta":
		h.arguments += r.Delta
	case "response.output_text.done":
		if r.Text != h.text {
			return fmt.Errorf("the pieces are not the whole: %s", differ(h.text, r.Text))
		}
	case "response.function_call_arguments.done":
		if r.Arguments != h.arguments {
			return fmt.Errorf("the pieces are not the whole: %s", differ(h.arguments, r.Arguments))
		}
	case "error":
		h.failed = r.Message
		if h.failed == "" {
			h.failed = string(data)
		}
	case "response.failed":
		if h.failed = "failed"; r.Response != nil && r.Response.Error != nil {
			h.failed = r.Response.Error.Message
		}
	case "response.completed":
		var whole heard
		whole.responses(r.Response)
		if whole.text != h.text || whole.arguments != h.arguments || whole.name != h.name {
			return fmt.Errorf("the reply at the end is not what came: %s%s", differ(whole.text, h.text), differ(whole.arguments, h.arguments))
		}
		whole.ended = true
		*h = whole
	}
	return nil
}

func (h *heard) messagesEvent(kind string, data []byte, n int) error {
	var r struct {
		Type    string
		Message struct {
			Usage struct {
				In int `json:"input_tokens"`
			}
		}
		Block struct{ Name string } `json:"content_block"`
		Delta struct {
			Text       string
			JSON       string `json:"partial_json"`
			StopReason string `json:"stop_reason"`
		}
		Usage *struct {
			In  int `json:"input_tokens"`
			Out int `json:"output_tokens"`
		}
		Error struct{ Message string }
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Type != kind {
		return fmt.Errorf("%w: %q %.200q", err, kind, data)
	}
	if (kind == "message_start") != (n == 0) && kind != "error" {
		return fmt.Errorf("event %d is %.200q", n, data)
	}
	switch kind {
	case "message_start":
		h.in = r.Message.Usage.In
	case "content_block_start":
		h.name = r.Block.Name
	case "content_block_delta":
		h.text += r.Delta.Text
		h.arguments += r.Delta.JSON
	case "message_delta":
		if h.finish = r.Delta.StopReason; r.Usage != nil {
			h.out, h.usage = r.Usage.Out, true
			h.in = max(h.in, r.Usage.In)
		}
	case "message_stop":
		h.ended = true
	case "error":
		h.failed = r.Error.Message
	}
	return nil
}

// refusal reads an error in the shape of a dialect.
func refusal(dialect string, body []byte) (message, code string, err error) {
	var r struct {
		Type  string
		Error struct {
			Message, Type, Status string
			Code                  any
		}
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return "", "", fmt.Errorf("no JSON: %.200q", body)
	}
	kind := r.Error.Type
	switch dialect {
	case "messages":
		if r.Type != "error" {
			err = fmt.Errorf("no error of Messages: %.200q", body)
		}
	case "gemini":
		kind = r.Error.Status
		if _, ok := r.Error.Code.(float64); !ok {
			err = fmt.Errorf("no error of Gemini's: %.200q", body)
		}
	}
	if code, _ = r.Error.Code.(string); code == "" {
		code = kind
	}
	if r.Error.Message == "" || kind == "" {
		err = fmt.Errorf("no error: %.200q", body)
	}
	return r.Error.Message, code, err
}
