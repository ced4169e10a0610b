package responses

import (
	"strconv"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// WriteRequest implements dialect.Dialect. The service is asked to keep nothing: whoever
// asks has no way to refer to it. Thoughts without a signature are left out, since OpenAI
// takes none.
func (Dialect) WriteRequest(dst []byte, c *dialect.Conversation, _ dialect.Options) (dialect.Asked, error) {
	from := len(dst)
	w := requestWriter{c: c, b: append(dst, `{"model":`...)}
	asked := dialect.Asked{Op: llm.Response, Path: llm.Response.Route()}
	asked.Model.Start = len(w.b) - from
	w.b = jsonscan.AppendString(w.b, c.Model)
	asked.Model.End = len(w.b) - from
	w.items()
	w.tools()
	w.settings()
	w.text()
	w.reasoning()
	if c.Stream {
		w.b = append(w.b, `,"stream":true`...)
	}
	w.b = append(w.b, `,"store":false}`...)
	w.lose("top_k", c.TopK)
	w.lose("seed", c.Seed)
	w.penalty("presence_penalty", c.PresencePenalty)
	w.penalty("frequency_penalty", c.FrequencyPenalty)
	if len(c.Stop) > 0 {
		c.Lost.Add("stop")
	}
	if c.Count != nil && dialect.Int(c.Count) != 1 {
		c.Lost.Add("n")
	}
	asked.Body = w.b[from:]
	return asked, nil
}

type requestWriter struct {
	c     *dialect.Conversation
	b     []byte
	first bool // nothing stands in the list yet
	seals bool // some thoughts have signatures
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

// penalty tells of one that the API has no place for.
func (w *requestWriter) penalty(name string, v []byte) {
	if !usual(name, v) {
		w.lose(name, v)
	}
}

func (w *requestWriter) settings() {
	c := w.c
	w.member("max_output_tokens", c.MaxTokens)
	w.member("temperature", c.Temperature)
	w.member("top_p", c.TopP)
	if c.Logprobs == dialect.On {
		w.member("top_logprobs", c.TopLogprobs)
	}
	w.member("user", c.User)
	w.member("metadata", c.Metadata)
	w.member("prompt_cache_key", c.CacheKey)
	switch dialect.String(c.Tier) {
	case "auto", "default", "flex", "priority", "scale":
		w.member("service_tier", c.Tier)
	default:
		w.lose("service_tier", c.Tier)
	}
}

func (w *requestWriter) reasoning() {
	r := &w.c.Reasoning
	effort, _ := r.OpenAIEffort(w.c.Model)
	if r.Mode == dialect.Off { // which services of this dialect all have a word for
		effort = []byte(`"none"`)
	}
	signed := w.seals || r.Mode == dialect.On || r.Mode == dialect.Unset && (effort != nil || r.Summary != nil)
	if effort != nil || r.Summary != nil {
		w.b = append(w.b, `,"reasoning":`...)
		from := len(w.b)
		w.member("effort", effort)
		w.member("summary", r.Summary)
		w.b[from] = '{' // for a comma
		w.b = append(w.b, '}')
	}
	logprobs := w.c.Logprobs == dialect.On
	if !signed && !logprobs {
		return
	}
	// Models that do not reason refuse to be asked for the former.
	w.b = append(w.b, `,"include":[`...)
	if signed {
		w.b = append(w.b, `"`+includeSignature+`"`...)
	}
	if logprobs {
		if signed {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, `"`+includeLogprobs+`"`...)
	}
	w.b = append(w.b, ']')
}

func (w *requestWriter) text() {
	f := &w.c.Format
	switch f.Mode {
	case dialect.AnyFormat:
	case dialect.JSONFormat:
		w.b = append(w.b, `,"text":{"format":{"type":"json_object"}}`...)
	case dialect.SchemaFormat:
		name, schema := f.Name, f.Schema
		if name == nil {
			name = []byte(`"reply"`)
		}
		if schema == nil {
			schema = []byte(`{"type":"object"}`)
		}
		w.b = append(append(w.b, `,"text":{"format":{"type":"json_schema","name":`...), name...)
		w.member("description", f.Description)
		w.member("schema", schema)
		if f.Strict != dialect.Unset {
			w.b = strconv.AppendBool(append(w.b, `,"strict":`...), f.Strict == dialect.On)
		}
		w.b = append(w.b, "}}"...)
	}
}

// hosted reports whether a tool of the service's own is one that this API has.
func hosted(kind string) bool {
	switch kind {
	case "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11", "file_search", "code_interpreter", "image_generation",
		"mcp", "computer", "computer_use_preview", "shell", "apply_patch", "tool_search", "namespace":
		return true
	}
	return false
}

func (w *requestWriter) tools() {
	c := w.c
	n := 0
	for i := range c.Tools {
		t := &c.Tools[i]
		kind := dialect.String(t.Name)
		if t.Raw != nil && !hosted(kind) {
			c.Lost.Add(kind)
			continue
		}
		if n++; n == 1 {
			w.b = append(w.b, `,"tools":[`...)
		} else {
			w.b = append(w.b, ',')
		}
		if t.Raw != nil {
			w.b = append(w.b, t.Raw...)
		} else {
			w.function(t)
		}
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
		w.b = append(append(append(w.b, `,"tool_choice":{"type":"function","name":`...), c.ToolChoice.Name...), '}')
	}
	if c.Parallel != dialect.Unset {
		w.b = strconv.AppendBool(append(w.b, `,"parallel_tool_calls":`...), c.Parallel == dialect.On)
	}
}

// function appends a tool. One that does not say so is not strict, while the API takes it
// for strict then.
func (w *requestWriter) function(t *dialect.Tool) {
	w.lose("cache_control", t.CacheControl)
	w.b = append(append(w.b, `{"type":"function","name":`...), t.Name...)
	w.member("description", t.Description)
	schema := t.Schema
	if schema == nil {
		schema = []byte(`{"type":"object","properties":{}}`)
	}
	w.member("parameters", schema)
	w.b = append(strconv.AppendBool(append(w.b, `,"strict":`...), t.Strict == dialect.On), '}')
}

func (w *requestWriter) items() {
	w.b = append(w.b, `,"input":[`...)
	w.first = true
	for i := range w.c.Messages {
		m := &w.c.Messages[i]
		w.lose("name", m.Name)
		switch m.Role {
		case dialect.Assistant:
			w.turn(m)
		case dialect.User:
			w.said("user", m.Parts)
		case dialect.System:
			w.said("system", m.Parts)
		case dialect.Developer:
			w.said("developer", m.Parts)
		}
	}
	w.b = append(w.b, ']')
}

// next begins another item.
func (w *requestWriter) next() {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
}

// run gives how many parts from the first on one message is to have: those before the next
// that is an item of its own.
func run(parts []dialect.Part) int {
	for i := range parts {
		switch parts[i].Kind {
		case dialect.ToolUse, dialect.ToolResult, dialect.Thinking:
			return i
		}
	}
	return len(parts)
}

// turn appends the items that the model's part of the conversation is.
func (w *requestWriter) turn(m *dialect.Message) {
	for parts := m.Parts; len(parts) > 0; {
		if n := run(parts); n > 0 {
			w.spoke(parts[:n])
			parts = parts[n:]
			continue
		}
		p := &parts[0]
		parts = parts[1:]
		w.lose("cache_control", p.CacheControl)
		switch p.Kind {
		case dialect.Thinking:
			w.thought(p)
		case dialect.ToolUse:
			w.call(p)
		default:
			w.c.Lost.Add("content")
		}
	}
}

func (w *requestWriter) thought(p *dialect.Part) {
	if p.Signature == nil {
		w.c.Lost.Add("reasoning")
		return
	}
	w.seals = true
	w.next()
	w.b = append(w.b, `{"type":"reasoning","summary":[`...)
	if p.Text != nil && !dialect.IsEmpty(p.Text) {
		w.b = append(append(append(w.b, `{"type":"summary_text","text":`...), p.Text...), '}')
	}
	w.b = append(append(append(w.b, `],"encrypted_content":`...), p.Signature...), '}')
}

func (w *requestWriter) call(p *dialect.Part) {
	w.next()
	w.b = append(append(w.b, `{"type":"function_call","call_id":`...), dialect.OrEmpty(p.ID)...)
	w.b = append(append(w.b, `,"name":`...), dialect.OrEmpty(p.Name)...)
	w.b = append(dialect.AppendArguments(append(w.b, `,"arguments":`...), p.Arguments), '}')
}

// spoke appends a message of the model's, whose parts are others than those of anybody else.
func (w *requestWriter) spoke(parts []dialect.Part) {
	w.next()
	w.b = append(w.b, `{"role":"assistant","content":`...)
	if plain(parts) && parts[0].Citations == nil {
		w.lose("cache_control", parts[0].CacheControl)
		w.b = append(append(w.b, parts[0].Text...), '}')
		return
	}
	w.b = append(w.b, '[')
	from := len(w.b)
	for i := range parts {
		p := &parts[i]
		w.lose("cache_control", p.CacheControl)
		if p.Kind != dialect.Text && p.Kind != dialect.Refusal {
			w.c.Lost.Add(kindName(p.Kind))
			continue
		}
		if len(w.b) > from {
			w.b = append(w.b, ',')
		}
		if p.Kind == dialect.Refusal {
			w.b = append(append(append(w.b, `{"type":"refusal","refusal":`...), p.Text...), '}')
			continue
		}
		w.b = append(append(w.b, `{"type":"output_text","text":`...), p.Text...)
		if p.Citations != nil {
			w.b = appendAnnotations(append(w.b, `,"annotations":`...), p.Citations)
		}
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, "]}"...)
}

// plain reports whether parts are one text.
func plain(parts []dialect.Part) bool { return len(parts) == 1 && parts[0].Kind == dialect.Text }

// said appends what others than the model say: results of tools, and messages.
func (w *requestWriter) said(role string, parts []dialect.Part) {
	if len(parts) == 0 {
		w.next()
		w.b = append(append(append(w.b, `{"role":"`...), role...), `","content":""}`...)
	}
	for len(parts) > 0 {
		if n := run(parts); n > 0 {
			w.next()
			w.b = append(append(append(w.b, `{"role":"`...), role...), `","content":`...)
			w.content(parts[:n])
			w.b = append(w.b, '}')
			parts = parts[n:]
			continue
		}
		if p := &parts[0]; p.Kind == dialect.ToolResult {
			w.result(p)
		} else {
			w.c.Lost.Add("content")
		}
		parts = parts[1:]
	}
}

func (w *requestWriter) result(p *dialect.Part) {
	w.lose("cache_control", p.CacheControl)
	if p.Failed {
		w.c.Lost.Add("is_error")
	}
	w.next()
	w.b = append(append(w.b, `{"type":"function_call_output","call_id":`...), dialect.OrEmpty(p.ID)...)
	w.b = append(w.b, `,"output":`...)
	w.content(p.Result)
	w.b = append(w.b, '}')
}

// content appends parts, of which one text is said as it is: many services know nothing else
// of results.
func (w *requestWriter) content(parts []dialect.Part) {
	if len(parts) == 0 {
		w.b = append(w.b, `""`...)
		return
	}
	if plain(parts) {
		w.lose("cache_control", parts[0].CacheControl)
		w.b = append(w.b, parts[0].Text...)
		return
	}
	w.b = append(w.b, '[')
	from := len(w.b)
	for i := range parts {
		w.lose("cache_control", parts[i].CacheControl)
		w.part(&parts[i], from)
	}
	w.b = append(w.b, ']')
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
		w.b = append(append(w.b, `{"type":"input_text","text":`...), p.Text...)
		if p.Citations != nil {
			w.c.Lost.Add("citations")
		}
	case p.Kind == dialect.Image && m.FileID != nil:
		w.b = append(append(w.b, `{"type":"input_image","file_id":`...), m.FileID...)
		w.member("detail", m.Detail)
	case p.Kind == dialect.Image && (m.URL != nil || m.Data != nil):
		w.b = appendURL(append(w.b, `{"type":"input_image","image_url":`...), m)
		w.member("detail", m.Detail)
	case p.Kind == dialect.Document && (m.FileID != nil || m.URL != nil || m.Data != nil):
		w.file(m)
	case p.Kind == dialect.Audio && m.Data != nil:
		w.b = append(append(w.b, `{"type":"input_audio","input_audio":{"data":"`...), m.Data...)
		w.b = append(jsonscan.AppendString(append(w.b, `","format":`...), audioFormat(m.Type)), '}')
	default:
		w.b = w.b[:before]
		w.c.Lost.Add(kindName(p.Kind))
		return
	}
	w.b = append(w.b, '}')
}

func (w *requestWriter) file(m *dialect.Media) {
	w.b = append(w.b, `{"type":"input_file"`...)
	switch {
	case m.FileID != nil:
		w.member("file_id", m.FileID)
	case m.URL != nil:
		w.member("file_url", m.URL)
	default:
		name := m.Name
		if name == nil { // which is required beside data
			name = []byte(fileName(m.Type))
		}
		w.member("filename", name)
		w.b = appendURL(append(w.b, `,"file_data":`...), m)
	}
}

func fileName(mediaType string) string {
	switch {
	case mediaType == "application/pdf" || mediaType == "":
		return `"document.pdf"`
	case strings.HasPrefix(mediaType, "text/"):
		return `"document.txt"`
	default:
		return `"document"`
	}
}

func audioFormat(mediaType string) string {
	switch format := strings.TrimPrefix(mediaType, "audio/"); format {
	case "mpeg":
		return "mp3"
	case "x-wav", "wave":
		return "wav"
	default:
		return format
	}
}

func appendURL(dst []byte, m *dialect.Media) []byte {
	if m.Data == nil {
		return append(dst, m.URL...)
	}
	kind := m.Type
	if kind == "" {
		kind = "application/pdf"
	}
	return dialect.AppendDataURL(dst, kind, m.Data)
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

// appendAnnotations appends what texts cite, of which the API has a place for what has a URL.
func appendAnnotations(dst []byte, list []dialect.Citation) []byte {
	dst = append(dst, '[')
	n := 0
	for i := range list {
		if list[i].URL == nil {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = appendAnnotation(dst, &list[i])
	}
	return append(dst, ']')
}

func appendAnnotation(dst []byte, c *dialect.Citation) []byte {
	dst = append(append(dst, `{"type":"url_citation","start_index":`...), strconv.Itoa(c.Start)...)
	dst = append(append(dst, `,"end_index":`...), strconv.Itoa(c.End)...)
	dst = append(append(dst, `,"url":`...), c.URL...)
	return append(append(append(dst, `,"title":`...), dialect.OrEmpty(c.Title)...), '}')
}
