package chat

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// WriteRequest implements dialect.Dialect.
func (Dialect) WriteRequest(dst []byte, c *dialect.Conversation, o dialect.Options) (dialect.Asked, error) {
	from := len(dst)
	w := requestWriter{c: c, b: append(dst, `{"model":`...)}
	asked := dialect.Asked{Op: llm.Chat, Path: llm.Chat.Route()}
	asked.Model.Start = len(w.b) - from
	w.b = jsonscan.AppendString(w.b, c.Model)
	asked.Model.End = len(w.b) - from
	w.messages()
	w.tools()
	w.settings(o)
	w.format()
	if c.Stream {
		// Whoever the reply is written for may need the usage.
		w.b = append(w.b, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	w.b = append(w.b, '}')
	asked.Body = w.b[from:]
	return asked, nil
}

type requestWriter struct {
	c     *dialect.Conversation
	b     []byte
	texts [][]byte // of a message, for use again
	first bool     // nothing stands in the list yet
}

// member appends a member whose value is JSON, if there is one.
func (w *requestWriter) member(name string, v []byte) {
	if v != nil {
		w.b = append(append(append(append(w.b, ',', '"'), name...), `":`...), v...)
	}
}

func (w *requestWriter) toggle(name string, s dialect.Switch) {
	if s != dialect.Unset {
		w.b = strconv.AppendBool(append(append(append(w.b, ',', '"'), name...), `":`...), s == dialect.On)
	}
}

func (w *requestWriter) lose(name string, v []byte) {
	if v != nil {
		w.c.Lost.Add(name)
	}
}

func (w *requestWriter) settings(o dialect.Options) {
	c := w.c
	limit := "max_tokens"
	if o.CompletionTokens {
		limit = "max_completion_tokens"
	}
	w.member(limit, c.MaxTokens)
	w.member("temperature", c.Temperature)
	w.member("top_p", c.TopP)
	w.member("seed", c.Seed)
	w.member("n", c.Count)
	w.member("presence_penalty", c.PresencePenalty)
	w.member("frequency_penalty", c.FrequencyPenalty)
	w.toggle("logprobs", c.Logprobs)
	w.member("top_logprobs", c.TopLogprobs)
	w.member("user", c.User)
	w.member("metadata", c.Metadata)
	w.member("service_tier", c.Tier)
	w.member("prompt_cache_key", c.CacheKey)
	w.lose("top_k", c.TopK)
	if len(c.Stop) > 0 {
		w.b = append(w.b, `,"stop":[`...)
		for i, s := range c.Stop {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.b = append(w.b, s...)
		}
		w.b = append(w.b, ']')
	}
	effort, lost := c.Reasoning.OpenAIEffort(c.Model)
	w.member("reasoning_effort", effort)
	if lost {
		c.Lost.Add("reasoning_effort")
	}
}

func (w *requestWriter) format() {
	f := &w.c.Format
	switch f.Mode {
	case dialect.AnyFormat:
	case dialect.JSONFormat:
		w.b = append(w.b, `,"response_format":{"type":"json_object"}`...)
	case dialect.SchemaFormat:
		name := f.Name
		if name == nil {
			name = []byte(`"reply"`)
		}
		w.b = append(append(w.b, `,"response_format":{"type":"json_schema","json_schema":{"name":`...), name...)
		w.member("description", f.Description)
		w.member("schema", f.Schema)
		w.toggle("strict", f.Strict)
		w.b = append(w.b, "}}"...)
	}
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
		w.lose("cache_control", t.CacheControl)
		if n++; n == 1 {
			w.b = append(w.b, `,"tools":[`...)
		} else {
			w.b = append(w.b, ',')
		}
		w.b = append(append(w.b, `{"type":"function","function":{"name":`...), t.Name...)
		w.member("description", t.Description)
		w.member("parameters", t.Schema)
		w.toggle("strict", t.Strict)
		w.b = append(w.b, "}}"...)
	}
	if n == 0 {
		return
	}
	w.b = append(w.b, ']')
	switch c.ToolChoice.Mode {
	case dialect.ToolsUnset:
	case dialect.ToolsAuto:
		w.b = append(w.b, `,"tool_choice":"auto"`...)
	case dialect.ToolsNone:
		w.b = append(w.b, `,"tool_choice":"none"`...)
	case dialect.ToolsRequired:
		w.b = append(w.b, `,"tool_choice":"required"`...)
	case dialect.OneTool:
		w.b = append(append(append(w.b, `,"tool_choice":{"type":"function","function":{"name":`...), c.ToolChoice.Name...), "}}"...)
	}
	w.toggle("parallel_tool_calls", c.Parallel)
}

func (w *requestWriter) messages() {
	w.b = append(w.b, `,"messages":[`...)
	w.first = true
	for i := range w.c.Messages {
		m := &w.c.Messages[i]
		switch m.Role {
		case dialect.System:
			w.plain("system", m)
		case dialect.Developer:
			w.plain("developer", m)
		case dialect.Assistant:
			w.assistant(m)
		case dialect.User:
			w.user(m)
		}
	}
	w.b = append(w.b, ']')
}

func (w *requestWriter) open(role string) {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
	w.b = append(append(append(w.b, `{"role":"`...), role...), '"')
}

// gather takes the texts of some parts; all tells whether there is nothing else.
func (w *requestWriter) gather(parts []dialect.Part) (all bool) {
	w.texts, all = w.texts[:0], true
	for i := range parts {
		p := &parts[i]
		if p.Kind == dialect.Text {
			w.texts = append(w.texts, p.Text)
		}
		all = all && p.Kind == dialect.Text
		w.lose("cache_control", p.CacheControl)
	}
	return all
}

// text appends the content that w.texts are.
func (w *requestWriter) text() {
	switch len(w.texts) {
	case 0:
		w.b = append(w.b, `,"content":""`...)
	case 1:
		w.member("content", w.texts[0])
	default:
		w.b = dialect.AppendJoined(append(w.b, `,"content":`...), w.texts, `\n`)
	}
}

// plain appends a prompt: many services take only one text of it.
func (w *requestWriter) plain(role string, m *dialect.Message) {
	if !w.gather(m.Parts) {
		w.c.Lost.Add("content")
	}
	w.open(role)
	w.text()
	w.member("name", m.Name)
	w.b = append(w.b, '}')
}

func (w *requestWriter) assistant(m *dialect.Message) {
	w.gather(m.Parts)
	w.open("assistant")
	calls := 0
	var refusal []byte
	for i := range m.Parts {
		switch p := &m.Parts[i]; p.Kind {
		case dialect.ToolUse:
			calls++
		case dialect.Refusal:
			refusal = p.Text
		case dialect.Thinking:
			w.c.Lost.Add("reasoning")
		case dialect.Text:
		default:
			w.c.Lost.Add(kindName(p.Kind))
		}
	}
	if len(w.texts) > 0 || calls == 0 && refusal == nil {
		w.text()
	} else {
		w.b = append(w.b, `,"content":null`...)
	}
	w.member("refusal", refusal)
	w.member("name", m.Name)
	if calls > 0 {
		w.calls(m.Parts)
	}
	w.b = append(w.b, '}')
}

func (w *requestWriter) calls(parts []dialect.Part) {
	w.b = append(w.b, `,"tool_calls":[`...)
	n := 0
	for i := range parts {
		p := &parts[i]
		if p.Kind != dialect.ToolUse {
			continue
		}
		if n++; n > 1 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, `{"type":"function","id":`...)
		w.b = append(w.b, dialect.OrEmpty(p.ID)...)
		w.b = append(append(w.b, `,"function":{"name":`...), dialect.OrEmpty(p.Name)...)
		w.b = append(w.b, `,"arguments":`...)
		w.b = append(dialect.AppendArguments(w.b, p.Arguments), "}}"...)
	}
	w.b = append(w.b, ']')
}

// user appends the results of tools, each as a message of its own, and then whatever
// else the message has, to which images of results belong, for which such a message has
// no place.
func (w *requestWriter) user(m *dialect.Message) {
	others, images := 0, 0
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Kind != dialect.ToolResult {
			others++
			continue
		}
		w.result(p)
		for k := range p.Result {
			if p.Result[k].Kind != dialect.Text {
				images++
			}
		}
	}
	if others+images == 0 && len(m.Parts) > 0 {
		return
	}
	if images == 0 && len(m.Parts) == 1 && m.Parts[0].Kind == dialect.Text || len(m.Parts) == 0 {
		w.plain("user", m)
		return
	}
	w.open("user")
	w.b = append(w.b, `,"content":[`...)
	from := len(w.b)
	for i := range m.Parts {
		if p := &m.Parts[i]; p.Kind != dialect.ToolResult {
			w.lose("cache_control", p.CacheControl)
			w.part(p, from)
			continue
		}
		for k := range m.Parts[i].Result {
			if p := &m.Parts[i].Result[k]; p.Kind != dialect.Text {
				w.part(p, from)
			}
		}
	}
	w.b = append(w.b, ']')
	w.member("name", m.Name)
	w.b = append(w.b, '}')
}

func (w *requestWriter) result(p *dialect.Part) {
	w.gather(p.Result)
	w.lose("cache_control", p.CacheControl)
	if p.Failed {
		w.c.Lost.Add("is_error")
	}
	w.open("tool")
	w.member("tool_call_id", dialect.OrEmpty(p.ID))
	w.text()
	w.b = append(w.b, '}')
}

// part appends a part to the list that begins at from.
func (w *requestWriter) part(p *dialect.Part, from int) {
	before := len(w.b)
	if before > from {
		w.b = append(w.b, ',')
	}
	m := &p.Media
	switch {
	case p.Kind == dialect.Text:
		w.b = append(append(append(w.b, `{"type":"text","text":`...), p.Text...), '}')
	case p.Kind == dialect.Image && (m.URL != nil || m.Data != nil):
		w.b = appendURL(append(w.b, `{"type":"image_url","image_url":{"url":`...), m)
		w.member("detail", m.Detail)
		w.b = append(w.b, "}}"...)
	case p.Kind == dialect.Audio && m.Data != nil:
		w.b = append(append(w.b, `{"type":"input_audio","input_audio":{"data":"`...), m.Data...)
		w.b = append(w.b, `","format":`...)
		w.b = append(jsonscan.AppendString(w.b, strings.TrimPrefix(m.Type, "audio/")), "}}"...)
	case p.Kind == dialect.Document && strings.HasPrefix(m.Type, "text/") && w.textOf(m):
	case p.Kind == dialect.Document && m.FileID != nil:
		w.b = append(append(append(w.b, `{"type":"file","file":{"file_id":`...), m.FileID...), "}}"...)
	case p.Kind == dialect.Document && (m.Data != nil || m.URL != nil): // OpenRouter takes a URL
		w.b = append(append(w.b, `{"type":"file","file":{"filename":`...), fileName(m)...)
		w.b = append(appendURL(append(w.b, `,"file_data":`...), m), "}}"...)
	default:
		w.b = w.b[:before]
		w.c.Lost.Add(kindName(p.Kind))
	}
}

// textOf appends a document that is text as one: many services take only PDFs as files.
func (w *requestWriter) textOf(m *dialect.Media) bool {
	text, err := base64.StdEncoding.DecodeString(string(bytes.ReplaceAll(m.Data, []byte(`\/`), []byte("/"))))
	if err != nil || !utf8.Valid(text) || len(text) == 0 {
		return false
	}
	w.b = jsonscan.AppendString(append(w.b, `{"type":"text","text":`...), string(text))
	w.b = append(w.b, '}')
	return true
}

func fileName(m *dialect.Media) []byte {
	if m.Name != nil {
		return m.Name
	}
	return []byte(`"file"`)
}

func appendURL(dst []byte, m *dialect.Media) []byte {
	if m.Data != nil {
		return dialect.AppendDataURL(dst, m.Type, m.Data)
	}
	return append(dst, m.URL...)
}

func kindName(k dialect.Kind) string {
	switch k {
	case dialect.Image:
		return "image"
	case dialect.Document:
		return "document"
	case dialect.Audio:
		return "audio"
	default:
		return "content"
	}
}
