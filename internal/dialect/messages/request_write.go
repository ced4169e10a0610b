package messages

import (
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// defaultTokens is the limit of a reply where neither the conversation nor the
// configuration has one: every model of the API may say as much.
const defaultTokens = 4096

// header is what requests need: the second field only those that name files.
var header = [...]llm.Field{{Name: "Anthropic-Version", Value: "2023-06-01"}, {Name: "Anthropic-Beta", Value: "files-api-2025-04-14"}}

// WriteRequest implements dialect.Dialect.
func (Dialect) WriteRequest(dst []byte, c *dialect.Conversation, o dialect.Options) (dialect.Asked, error) {
	from := len(dst)
	w := requestWriter{c: c, b: append(dst, `{"model":`...), version: versionOf(c.Model)}
	asked := dialect.Asked{Op: llm.Messages, Path: llm.Messages.Route()}
	asked.Model.Start = len(w.b) - from
	w.b = jsonscan.AppendString(w.b, c.Model)
	asked.Model.End = len(w.b) - from
	w.place()
	w.decide(o)
	w.limits()
	w.system()
	if err := w.messages(); err != nil {
		return dialect.Asked{}, err
	}
	w.tools()
	w.settings()
	if c.Stream {
		w.b = append(w.b, `,"stream":true`...)
	}
	w.b = append(w.b, '}')
	asked.Body = w.b[from:]
	asked.Header = header[:1:1]
	if w.files {
		asked.Header = header[:2:2]
	}
	return asked, nil
}

type requestWriter struct {
	c       *dialect.Conversation
	b       []byte
	version version
	files   bool // it names files that the service keeps

	thinking thinking
	limit    int64 // of the reply, where the conversation has none

	inPlace []bool // by message: prompts that go where they stand; nil for none
	asUser  int    // the prompt that the user says, -1 for none
	last    int    // the last message that is no prompt, -1 for none

	parts    []*dialect.Part // of what is written next, for use again
	calls    int             // that got an id here
	nameless []call
	ids      *ids // of calls, where one is not as the API takes it
}

// member appends a member whose value is JSON, if there is one.
func (w *requestWriter) member(name string, v []byte) {
	if v != nil {
		w.b = append(append(append(append(w.b, ',', '"'), name...), `":`...), v...)
	}
}

func (w *requestWriter) lose(name string, v []byte) {
	if v != nil {
		w.c.Lost.Add(name)
	}
}

func (w *requestWriter) limits() {
	if dialect.IsNumber(w.c.MaxTokens) {
		w.member("max_tokens", w.c.MaxTokens)
		return
	}
	w.b = strconv.AppendInt(append(w.b, `,"max_tokens":`...), w.limit, 10)
}

func (w *requestWriter) tools() {
	c := w.c
	n := 0
	for i := range c.Tools {
		t := &c.Tools[i]
		if t.Raw != nil {
			c.Lost.Add(dialect.String(t.Name))
			continue
		}
		if n++; n == 1 {
			w.b = append(w.b, `,"tools":[`...)
		} else {
			w.b = append(w.b, ',')
		}
		w.tool(t)
	}
	if n == 0 {
		if w.forces() {
			c.Lost.Add("tool_choice")
		}
		return
	}
	w.b = append(w.b, ']')
	w.choice()
}

func (w *requestWriter) tool(t *dialect.Tool) {
	w.b = append(append(w.b, `{"name":`...), dialect.OrEmpty(t.Name)...)
	w.member("description", t.Description)
	w.b = appendSchema(append(w.b, `,"input_schema":`...), t.Schema)
	if t.Strict == dialect.On {
		w.b = append(w.b, `,"strict":true`...)
	}
	w.member("cache_control", t.CacheControl)
	w.b = append(w.b, '}')
}

// appendSchema appends the schema of a tool's input, which has to say that it is an object: at
// its end, since the last of members that share a name counts.
func appendSchema(dst, schema []byte) []byte {
	if !dialect.IsObject(schema) {
		return append(dst, `{"type":"object","properties":{}}`...)
	}
	if jsonscan.Member(schema, "type") != nil {
		return append(dst, schema...)
	}
	dst = append(dst, schema[:len(schema)-1]...)
	for range jsonscan.MembersOf(schema) {
		dst = append(dst, ',')
		break
	}
	return append(dst, `"type":"object"}`...)
}

// forces reports whether the model has to call a tool.
func (w *requestWriter) forces() bool {
	mode := w.c.ToolChoice.Mode
	return mode == dialect.ToolsRequired || mode == dialect.OneTool
}

func (w *requestWriter) choice() {
	c := w.c
	mode := c.ToolChoice.Mode
	if mode == dialect.ToolsUnset {
		if c.Parallel == dialect.Unset {
			return
		}
		mode = dialect.ToolsAuto // which has the place for it
	}
	w.b = append(w.b, `,"tool_choice":{"type":`...)
	switch mode {
	case dialect.ToolsNone:
		w.b = append(w.b, `"none"}`...)
		return
	case dialect.ToolsRequired:
		w.b = append(w.b, `"any"`...)
	case dialect.OneTool:
		w.b = append(append(w.b, `"tool","name":`...), dialect.OrEmpty(c.ToolChoice.Name)...)
	default:
		w.b = append(w.b, `"auto"`...)
	}
	if c.Parallel != dialect.Unset {
		w.b = strconv.AppendBool(append(w.b, `,"disable_parallel_tool_use":`...), c.Parallel == dialect.Off)
	}
	w.b = append(w.b, '}')
}

func (w *requestWriter) settings() {
	c := w.c
	w.stop()
	w.sampling()
	w.reasoning()
	if c.User != nil {
		w.b = append(append(append(w.b, `,"metadata":{"user_id":`...), c.User...), '}')
	}
	w.tier()
	w.lose("metadata", c.Metadata)
	w.lose("prompt_cache_key", c.CacheKey)
	w.lose("seed", c.Seed)
	w.lose("top_logprobs", c.TopLogprobs)
	if c.Logprobs == dialect.On {
		c.Lost.Add("logprobs")
	}
	if c.Count != nil && string(c.Count) != "1" {
		c.Lost.Add("n")
	}
	if value(c.PresencePenalty) != 0 {
		c.Lost.Add("presence_penalty")
	}
	if value(c.FrequencyPenalty) != 0 {
		c.Lost.Add("frequency_penalty")
	}
}

// value is what a number says, 0 for none.
func value(v []byte) float64 {
	if !dialect.IsNumber(v) {
		return 0
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0
	}
	return f
}

// stop appends the stop sequences but those of space alone, which the service refuses.
func (w *requestWriter) stop() {
	n := 0
	for _, s := range w.c.Stop {
		if isBlank(s) {
			w.c.Lost.Add("stop")
			continue
		}
		if n++; n == 1 {
			w.b = append(w.b, `,"stop_sequences":[`...)
		} else {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, s...)
	}
	if n > 0 {
		w.b = append(w.b, ']')
	}
}

// tier appends the service's tier: there are only one at any price, and the default.
func (w *requestWriter) tier() {
	switch t := w.c.Tier; {
	case t == nil:
	case dialect.Is(t, "auto"):
		w.b = append(w.b, `,"service_tier":"auto"`...)
	case dialect.Is(t, "default"), dialect.Is(t, "standard"), dialect.Is(t, "standard_only"):
		w.b = append(w.b, `,"service_tier":"standard_only"`...)
	default:
		w.c.Lost.Add("service_tier")
	}
}
