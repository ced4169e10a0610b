package simulator

import (
	"bytes"
	"encoding/json"
	"strings"
)

type responseRequest struct {
	Model           string          `json:"model"`
	Input           responseInput   `json:"input"`
	Stream          bool            `json:"stream"`
	MaxOutputTokens *int            `json:"max_output_tokens"`
	Instructions    string          `json:"instructions"`
	ToolChoice      toolChoice      `json:"-"`
	Tools           json.RawMessage `json:"tools"`
	Text            struct {
		Format struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"text"`

	// What the reply only repeats.
	RawChoice   json.RawMessage `json:"tool_choice"`
	Metadata    json.RawMessage `json:"metadata"`
	Temperature *float64        `json:"temperature"`
	TopP        *float64        `json:"top_p"`
	Previous    *string         `json:"previous_response_id"`
	Parallel    *bool           `json:"parallel_tool_calls"`
	Store       *bool           `json:"store"`
	User        string          `json:"user"`
}

// responseInput is a string or a list of items, of which those that are not
// messages count for their size only.
type responseInput []responseItem

type responseItem struct {
	Type      string  `json:"type"`
	Role      string  `json:"role"`
	Content   content `json:"content"`
	Name      string  `json:"name"`
	Arguments string  `json:"arguments"`
	Output    content `json:"output"`
}

// UnmarshalJSON takes both forms.
func (in *responseInput) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*in = responseInput{{Role: "user"}}
		return json.Unmarshal(b, &(*in)[0].Content.text)
	}
	return json.Unmarshal(b, (*[]responseItem)(in))
}

type response struct {
	ID          string          `json:"id"`
	Object      string          `json:"object"`
	CreatedAt   int64           `json:"created_at"`
	Status      string          `json:"status"`
	Error       *string         `json:"error"`
	Incomplete  *incomplete     `json:"incomplete_details"`
	Instruct    *string         `json:"instructions"`
	MaxTokens   *int            `json:"max_output_tokens"`
	Model       string          `json:"model"`
	Output      []any           `json:"output"`
	Parallel    bool            `json:"parallel_tool_calls"`
	Previous    *string         `json:"previous_response_id"`
	ServiceTier string          `json:"service_tier"`
	Store       bool            `json:"store"`
	Temperature float64         `json:"temperature"`
	Text        responseText    `json:"text"`
	ToolChoice  json.RawMessage `json:"tool_choice"`
	Tools       json.RawMessage `json:"tools"`
	TopP        float64         `json:"top_p"`
	Truncation  string          `json:"truncation"`
	Usage       *responseUsage  `json:"usage,omitempty"`
	User        string          `json:"user,omitempty"`
	Metadata    json.RawMessage `json:"metadata"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type responseText struct {
	Format json.RawMessage `json:"format"`
}

type responseUsage struct {
	Input        int `json:"input_tokens"`
	InputDetails struct {
		Cached  int `json:"cached_tokens"`
		Written int `json:"cache_write_tokens"`
	} `json:"input_tokens_details"`
	Output        int `json:"output_tokens"`
	OutputDetails struct {
		Reasoning int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	Total int `json:"total_tokens"`
}

type reasoningItem struct {
	ID      string     `json:"id"`
	Type    string     `json:"type"`
	Status  string     `json:"status"`
	Summary []textPart `json:"summary"`
}

type messageItem struct {
	ID      string     `json:"id"`
	Type    string     `json:"type"`
	Status  string     `json:"status"`
	Role    string     `json:"role"`
	Content []textPart `json:"content"`
}

type textPart struct {
	Type        string    `json:"type"`
	Text        string    `json:"text"`
	Annotations *[]string `json:"annotations,omitempty"` // output_text only, and then always
	Logprobs    *[]string `json:"logprobs,omitempty"`
}

type callItem struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Status    string `json:"status"`
	CallID    string `json:"call_id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

func outputText(text string) textPart {
	return textPart{Type: "output_text", Text: text, Annotations: &[]string{}, Logprobs: &[]string{}}
}

// responses answers POST /v1/responses.
func responses(c *exchange) (answer, error) {
	var req responseRequest
	if err := c.decode(&req); err != nil {
		return answer{}, err
	}
	if err := c.use(req.Model, kindChat); err != nil {
		return answer{}, err
	}
	if len(req.Input) == 0 {
		return answer{}, badRequest("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	p, err := req.prompt(c)
	if err != nil {
		return answer{}, err
	}
	out, err := p.generate(0)
	if err != nil {
		return answer{}, err
	}
	w := responseWriter{out: &out, digest: p.digest, reply: req.reply(c, p)}
	if req.Stream {
		ans := eventAnswer(false, func(emit func(string, any) bool) { w.stream(p.tokens, emit) })
		ans.errorEvent = &event{name: "error", data: []byte(`{"type":"error","code":"server_error","message":"The server had an error while processing your request.","param":null,"sequence_number":1}`)}
		return ans, nil
	}
	w.finish(p.tokens)
	return jsonAnswer(w.reply)
}

func (req *responseRequest) prompt(c *exchange) (*prompt, error) {
	p := &prompt{
		room: &c.room, base: c.base, tokens: openingTokens + countTokens(req.Instructions), stop: nil,
		limit: value(req.MaxOutputTokens, 0), exact: c.fault.Tokens,
	}
	if value(req.MaxOutputTokens, 1) < 1 {
		return nil, badRequest("max_output_tokens", "integer_below_min_value", "Invalid 'max_output_tokens': expected a value of 1 or more.")
	}
	if len(req.RawChoice) > 0 {
		if err := req.ToolChoice.UnmarshalJSON(req.RawChoice); err != nil {
			return nil, err
		}
	}
	p.choice = req.ToolChoice
	var tools []struct {
		Type string `json:"type"`
		function
	}
	if len(req.Tools) > 0 {
		if err := json.Unmarshal(req.Tools, &tools); err != nil {
			return nil, badRequest("tools", "invalid_type", "Invalid type for 'tools': expected an array of tools.")
		}
	}
	for _, t := range tools {
		if t.Type == "function" {
			p.tools = append(p.tools, t.function)
			p.tokens += countTokens(t.Name) + countTokens(string(t.Parameters))
		}
	}
	parts := []string{c.base, req.Instructions}
	for _, it := range req.Input {
		parts = append(parts, it.Type, it.Role, it.Content.text, it.Name, it.Arguments, it.Output.text)
		p.tokens += messageTokens + it.Content.tokens() + it.Output.tokens() + countTokens(it.Name) + countTokens(it.Arguments)
		p.lastRole = it.Role
		if it.Role == "user" {
			p.lastUser = it.Content.text
			p.heard(it.Content.text)
		}
		if it.Type == "function_call" {
			p.taken++
		}
	}
	p.schema = req.Text.Format.Schema
	p.jsonMode = req.Text.Format.Type == "json_object"
	p.digest = newDigest(c.server.seed, parts...)
	return p, p.choice.check(p.tools)
}

func (req *responseRequest) reply(c *exchange, p *prompt) response {
	r := response{
		ID: p.digest.identifier("resp_", purposeID), Object: "response", CreatedAt: created, Status: "in_progress",
		MaxTokens: req.MaxOutputTokens, Model: c.model, Output: []any{}, Parallel: value(req.Parallel, true),
		Previous: req.Previous, ServiceTier: "default", Store: value(req.Store, true),
		Temperature: value(req.Temperature, 1), TopP: value(req.TopP, 1), Truncation: "disabled", User: req.User,
		Text:       responseText{Format: json.RawMessage(`{"type":"text"}`)},
		ToolChoice: orElse(req.RawChoice, `"auto"`), Tools: orElse(req.Tools, `[]`), Metadata: orElse(req.Metadata, `{}`),
	}
	if req.Instructions != "" {
		r.Instruct = &req.Instructions
	}
	if req.Text.Format.Type == "json_object" {
		r.Text.Format = json.RawMessage(`{"type":"json_object"}`)
	}
	if p.schema != nil {
		r.Text.Format = bytes.Join([][]byte{[]byte(`{"type":"json_schema","name":"reply","strict":true,"schema":`), p.schema, {'}'}}, nil)
	}
	return r
}

func orElse(raw json.RawMessage, otherwise string) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return json.RawMessage(otherwise)
	}
	return raw
}

// responseWriter turns one output into a response object, and the events that
// lead up to it.
type responseWriter struct {
	out    *output
	digest digest
	reply  response
}

func (w *responseWriter) id(prefix string, index int) string {
	return w.digest.identifier(prefix, purpose(purposeItem, index))
}

// status is what the response, and the item that was cut, end as.
func (w *responseWriter) status() string {
	if w.out.finish == "length" {
		return "incomplete"
	}
	return "completed"
}

func (w *responseWriter) reasoning() reasoningItem {
	return reasoningItem{ID: w.id("rs_", 0), Type: "reasoning", Status: "completed",
		Summary: []textPart{{Type: "summary_text", Text: strings.Join(w.out.reasoning, "")}}}
}

func (w *responseWriter) message() messageItem {
	return messageItem{ID: w.id("msg_", 1), Type: "message", Status: w.status(), Role: "assistant",
		Content: []textPart{outputText(strings.Join(w.out.text, ""))}}
}

func (w *responseWriter) call(i int) callItem {
	c := &w.out.calls[i]
	return callItem{ID: w.id("fc_", 2+i), Type: "function_call", Status: "completed", CallID: c.id, Name: c.name, Arguments: c.arguments}
}

// finish completes the reply.
func (w *responseWriter) finish(input int) {
	w.reply.Output = []any{}
	if len(w.out.reasoning) > 0 {
		w.reply.Output = append(w.reply.Output, w.reasoning())
	}
	if len(w.out.calls) == 0 {
		w.reply.Output = append(w.reply.Output, w.message())
	}
	for i := range w.out.calls {
		w.reply.Output = append(w.reply.Output, w.call(i))
	}
	w.reply.Status = w.status()
	if w.reply.Status == "incomplete" {
		w.reply.Incomplete = &incomplete{Reason: "max_output_tokens"}
	}
	u := &responseUsage{Input: input, Output: w.out.tokens()}
	u.OutputDetails.Reasoning = len(w.out.reasoning)
	u.Total = u.Input + u.Output
	w.reply.Usage = u
}

// index is the place of the item after the reasoning, which may be missing.
func (w *responseWriter) index(i int) int {
	if len(w.out.reasoning) > 0 {
		return i + 1
	}
	return i
}
