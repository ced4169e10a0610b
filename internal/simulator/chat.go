package simulator

import (
	"encoding/json"
	"strconv"
	"strings"
)

// The tokens that a message, and the reply's opening, count besides their text.
const (
	messageTokens = 4
	openingTokens = 3
)

const maxChoices = 128

type chatRequest struct {
	Model    string        `json:"model"`
	Messages []chatMessage `json:"messages"`
	Stream   bool          `json:"stream"`
	Options  struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	N                   *int     `json:"n"`
	Stop                texts    `json:"stop"`
	MaxTokens           *int     `json:"max_tokens"`
	MaxCompletionTokens *int     `json:"max_completion_tokens"`
	Temperature         *float64 `json:"temperature"`
	Seed                int64    `json:"seed"`
	Logprobs            bool     `json:"logprobs"`
	TopLogprobs         int      `json:"top_logprobs"`
	Tools               []struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
	} `json:"tools"`
	ToolChoice     toolChoice `json:"tool_choice"`
	ResponseFormat struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

type chatMessage struct {
	Role      string  `json:"role"`
	Content   content `json:"content"`
	ToolCalls []struct {
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
	PromptDetails    struct {
		Cached int `json:"cached_tokens"`
		Audio  int `json:"audio_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		Reasoning int `json:"reasoning_tokens"`
		Audio     int `json:"audio_tokens"`
		Accepted  int `json:"accepted_prediction_tokens"`
		Rejected  int `json:"rejected_prediction_tokens"`
	} `json:"completion_tokens_details"`
}

func newUsage(input int, outs []output) *usage {
	u := &usage{PromptTokens: input}
	for i := range outs {
		u.CompletionTokens += outs[i].tokens()
		u.CompletionDetails.Reasoning += len(outs[i].reasoning)
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

type chatReply struct {
	ID          string       `json:"id"`
	Object      string       `json:"object"`
	Created     int64        `json:"created"`
	Model       string       `json:"model"`
	Choices     []chatChoice `json:"choices"`
	Usage       *usage       `json:"usage"`
	ServiceTier string       `json:"service_tier"`
	Fingerprint string       `json:"system_fingerprint"`
}

type chatChoice struct {
	Index    int        `json:"index"`
	Message  chatOutput `json:"message"`
	Logprobs *chatLogs  `json:"logprobs"`
	Finish   string     `json:"finish_reason"`
}

type chatOutput struct {
	Role        string     `json:"role"`
	Reasoning   string     `json:"reasoning_content,omitempty"`
	Content     *string    `json:"content"`
	ToolCalls   []toolCall `json:"tool_calls,omitempty"`
	Refusal     *string    `json:"refusal"`
	Annotations []string   `json:"annotations"`
}

type toolCall struct {
	Index    *int   `json:"index,omitempty"` // streams only
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type chatLogs struct {
	Content []chatLog `json:"content"`
	Refusal []chatLog `json:"refusal"`
}

type chatLog struct {
	Token   string    `json:"token"`
	Logprob float64   `json:"logprob"`
	Bytes   []int     `json:"bytes"`
	Top     []chatLog `json:"top_logprobs,omitempty"`
}

// MarshalJSON writes top_logprobs, which only the outer level has.
func (l chatLogs) MarshalJSON() ([]byte, error) {
	type outer struct {
		chatLog
		Top []chatLog `json:"top_logprobs"`
	}
	list := make([]outer, len(l.Content))
	for i, c := range l.Content {
		list[i] = outer{c, append([]chatLog{}, c.Top...)}
	}
	return json.Marshal(struct {
		Content []outer   `json:"content"`
		Refusal []chatLog `json:"refusal"`
	}{list, nil})
}

// logs invents the log probabilities of tokens: they fall with the token's
// length, so that they are the same however the text was cut.
func (req *chatRequest) logs(tokens []string) *chatLogs {
	if !req.Logprobs {
		return nil
	}
	l := &chatLogs{Content: make([]chatLog, len(tokens))}
	for i, t := range tokens {
		entry := chatLog{Token: t, Logprob: -float64(len(t)) / 16}
		for _, b := range []byte(t) {
			entry.Bytes = append(entry.Bytes, int(b))
		}
		l.Content[i] = entry
		for k := range req.TopLogprobs {
			alternative := entry
			alternative.Logprob -= float64(k)
			l.Content[i].Top = append(l.Content[i].Top, alternative)
		}
	}
	return l
}

// logsSize is about what the logs of so many tokens take, and their JSON, in bytes.
func (req *chatRequest) logsSize(tokens int) int {
	if !req.Logprobs {
		return 0
	}
	return 640 * tokens * (1 + req.TopLogprobs)
}

// chat answers POST /v1/chat/completions.
func chat(c *exchange) (answer, error) {
	var req chatRequest
	if err := c.decode(&req); err != nil {
		return answer{}, err
	}
	if err := c.use(req.Model, kindChat); err != nil {
		return answer{}, err
	}
	if err := req.check(); err != nil {
		return answer{}, err
	}
	p := req.prompt(c)
	if err := p.choice.check(p.tools); err != nil {
		return answer{}, err
	}
	outs := make([]output, value(req.N, 1))
	for i := range outs {
		var err error
		if outs[i], err = p.generate(i); err != nil {
			return answer{}, err
		}
	}
	reply := chatReply{
		ID: p.digest.identifier("chatcmpl-", purposeID), Created: created, Model: c.model,
		Usage: newUsage(p.tokens, outs), ServiceTier: "default", Fingerprint: "fp_sim",
	}
	if req.Stream {
		return streamChat(&req, reply, outs), nil
	}
	reply.Object = "chat.completion"
	for i := range outs {
		c.room.take(req.logsSize(len(outs[i].text)))
		reply.Choices = append(reply.Choices, chatChoice{Index: i, Message: outs[i].message(), Logprobs: req.logs(outs[i].text), Finish: outs[i].finish})
	}
	return jsonAnswer(reply)
}

func (req *chatRequest) check() error {
	if len(req.Messages) == 0 {
		return badRequest("messages", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	for i, m := range req.Messages {
		switch m.Role {
		case "system", "developer", "user", "assistant", "tool", "function":
		default:
			return badRequest("messages["+strconv.Itoa(i)+"].role", "invalid_value",
				"Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", m.Role)
		}
	}
	if n := value(req.N, 1); n < 1 || n > maxChoices {
		return badRequest("n", "invalid_value", "Invalid 'n': expected a value from 1 to %d.", maxChoices)
	}
	if t := value(req.Temperature, 1); t < 0 || t > 2 {
		return badRequest("temperature", "decimal_out_of_range", "Invalid 'temperature': expected a value from 0 to 2.")
	}
	if req.TopLogprobs < 0 || req.TopLogprobs > 20 {
		return badRequest("top_logprobs", "invalid_value", "Invalid 'top_logprobs': expected a value from 0 to 20.")
	}
	if value(req.limit(), 1) < 1 {
		return badRequest("max_tokens", "integer_below_min_value", "Invalid 'max_tokens': expected a value of 1 or more.")
	}
	return nil
}

func (req *chatRequest) limit() *int {
	if req.MaxCompletionTokens != nil {
		return req.MaxCompletionTokens
	}
	return req.MaxTokens
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func (req *chatRequest) prompt(c *exchange) *prompt {
	p := &prompt{
		room: &c.room, base: c.base, tokens: openingTokens, choice: req.ToolChoice, stop: req.Stop,
		limit: value(req.limit(), 0), exact: c.fault.Tokens,
	}
	parts := []string{c.base, strconv.FormatInt(req.Seed, 10)}
	for i := range req.Messages {
		m := &req.Messages[i]
		parts = append(parts, m.Role, m.Content.text)
		p.tokens += messageTokens + m.Content.tokens()
		for _, t := range m.ToolCalls {
			p.tokens += countTokens(t.Function.Name) + countTokens(t.Function.Arguments)
		}
		p.lastRole = m.Role
		if m.Role == "user" {
			p.lastUser = m.Content.text
			p.heard(m.Content.text)
		}
		p.taken += len(m.ToolCalls)
	}
	for _, t := range req.Tools {
		if t.Type == "function" {
			p.tools = append(p.tools, t.Function)
			p.tokens += countTokens(t.Function.Name) + countTokens(string(t.Function.Parameters))
		}
	}
	switch req.ResponseFormat.Type {
	case "json_schema":
		p.schema = req.ResponseFormat.JSONSchema.Schema
		p.jsonMode = p.schema == nil
	case "json_object":
		p.jsonMode = true
	}
	p.digest = newDigest(c.server.seed, parts...)
	return p
}

func (o *output) message() chatOutput {
	m := chatOutput{Role: "assistant", Reasoning: strings.Join(o.reasoning, ""), Annotations: []string{}}
	if len(o.calls) == 0 {
		text := strings.Join(o.text, "")
		m.Content = &text
	}
	for _, c := range o.calls {
		t := toolCall{ID: c.id, Type: "function"}
		t.Function.Name, t.Function.Arguments = c.name, c.arguments
		m.ToolCalls = append(m.ToolCalls, t)
	}
	return m
}
