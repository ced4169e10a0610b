package chat

import (
	"bytes"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// ReadRequest implements dialect.Dialect.
func (Dialect) ReadRequest(c *dialect.Conversation, body []byte) error {
	return c.Bounded(readRequest(c, body))
}

// wanted is the type of a member that is taken as it stands, or of which members are looked
// for, AnyType of others.
func wanted(name string) dialect.Type {
	switch name {
	case "temperature", "top_p", "top_k", "seed", "n", "presence_penalty", "frequency_penalty", "max_completion_tokens",
		"max_tokens", "top_logprobs":
		return dialect.NumberType
	case "logprobs", "parallel_tool_calls":
		return dialect.BoolType
	case "user", "safety_identifier", "service_tier", "prompt_cache_key", "reasoning_effort":
		return dialect.TextType
	case "metadata", "response_format", "stream_options":
		return dialect.ObjectType
	case "stop":
		return dialect.TextType | dialect.ListType
	case "functions":
		return dialect.ListType
	}
	return dialect.AnyType
}

func readRequest(c *dialect.Conversation, body []byte) error {
	r := requestReader{c: c}
	for name, v := range jsonscan.MembersOf(body) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		if want := wanted(string(name)); !want.Has(v) {
			return refuse(string(name), "%q is not %v.", name, want)
		}
		if r.setting(string(name), v) {
			continue
		}
		if err := r.member(string(name), v); err != nil {
			return err
		}
	}
	if !r.messages {
		return refuse("messages", "The request has no \"messages\".")
	}
	r.format()
	return nil
}

type requestReader struct {
	c         *dialect.Conversation
	messages  bool
	formatted []byte // response_format
}

// setting reads a member that says how the reply is to be.
func (r *requestReader) setting(name string, v []byte) bool {
	c := r.c
	switch name {
	case "model", "stream": // which are known
	case "temperature":
		c.Temperature = v
	case "top_p":
		c.TopP = v
	case "top_k":
		c.TopK = v
	case "seed":
		c.Seed = v
	case "n":
		c.Count = v
	case "presence_penalty":
		c.PresencePenalty = v
	case "frequency_penalty":
		c.FrequencyPenalty = v
	case "max_completion_tokens":
		c.MaxTokens = v
	case "max_tokens":
		if c.MaxTokens == nil {
			c.MaxTokens = v
		}
	case "logprobs":
		c.Logprobs = switchOf(v)
	case "top_logprobs":
		c.TopLogprobs = v
	case "parallel_tool_calls":
		c.Parallel = switchOf(v)
	case "user", "safety_identifier":
		c.User = dialect.TextOf(v)
	case "metadata":
		c.Metadata = v
	case "service_tier":
		c.Tier = dialect.TextOf(v)
	case "prompt_cache_key":
		c.CacheKey = dialect.TextOf(v)
	case "reasoning_effort":
		c.Reasoning.Effort = dialect.TextOf(v)
		if dialect.Is(v, "none") {
			c.Reasoning.Mode = dialect.Off
		}
	case "response_format":
		r.formatted = v
	case "stream_options":
		c.IncludeUsage = string(jsonscan.Member(v, "include_usage")) == "true"
	default:
		return false
	}
	return true
}

func switchOf(v []byte) dialect.Switch {
	on, ok := jsonscan.Bool(v)
	if !ok {
		return dialect.Unset
	}
	return dialect.SwitchOf(on)
}

func (r *requestReader) member(name string, v []byte) error {
	switch name {
	case "messages":
		r.messages = true
		return r.list(v)
	case "tools":
		return r.tools(v)
	case "functions":
		for f := range r.c.Each(v) {
			if err := r.function(f, nil); err != nil {
				return err
			}
		}
	case "tool_choice", "function_call":
		return r.choice(v)
	case "stop":
		return r.stop(v)
	case "store":
		if string(v) == "true" {
			r.c.Lost.Add("store")
		}
	default:
		if !usual(name, v) {
			r.c.Lost.Add(name)
		}
	}
	return nil
}

// usual reports whether a member asks for what would be without it.
func usual(name string, v []byte) bool {
	switch name {
	case "logit_bias":
		return string(v) == "{}"
	case "modalities":
		return string(v) == `["text"]`
	case "verbosity":
		return string(v) == `"medium"`
	}
	return false
}

func (r *requestReader) stop(v []byte) error {
	if dialect.IsText(v) {
		r.c.Stop = append(r.c.Stop, v)
		return nil
	}
	for s := range r.c.Each(v) {
		if !dialect.IsText(s) {
			return refuse("stop", "\"stop\" is neither a string nor a list of strings.")
		}
		r.c.Stop = append(r.c.Stop, s)
	}
	return nil
}

func (r *requestReader) tools(v []byte) error {
	if !dialect.IsList(v) {
		return refuse("tools", "\"tools\" is not a list.")
	}
	for t := range r.c.Each(v) {
		kind := jsonscan.Member(t, "type")
		if f := jsonscan.Member(t, "function"); f != nil && (kind == nil || dialect.Is(kind, "function")) {
			if err := r.function(f, jsonscan.Member(t, "cache_control")); err != nil {
				return err
			}
			continue
		}
		r.c.Tools = append(r.c.Tools, dialect.Tool{Raw: t, Name: dialect.TextOf(kind)})
	}
	return nil
}

func (r *requestReader) function(f, cache []byte) error {
	t := dialect.Tool{CacheControl: dialect.ObjectOf(cache)}
	for name, v := range jsonscan.MembersOf(f) {
		v = dialect.OrNil(v)
		switch string(name) {
		case "name":
			t.Name = dialect.TextOf(v)
		case "description":
			t.Description = dialect.TextOf(v)
		case "parameters":
			if t.Schema = dialect.ObjectOf(v); t.Schema == nil && v != nil {
				r.c.Lost.Add("parameters")
			}
		case "strict":
			t.Strict = switchOf(v)
		}
	}
	if t.Name == nil {
		return refuse("tools", "A function of \"tools\" has no name.")
	}
	r.c.Tools = append(r.c.Tools, t)
	return nil
}

func (r *requestReader) choice(v []byte) error {
	to := &r.c.ToolChoice
	switch {
	case dialect.Is(v, "auto"):
		to.Mode = dialect.ToolsAuto
	case dialect.Is(v, "none"):
		to.Mode = dialect.ToolsNone
	case dialect.Is(v, "required"), dialect.Is(v, "any"): // the latter is Mistral's
		to.Mode = dialect.ToolsRequired
	case dialect.IsObject(v):
		name := jsonscan.Member(v, "name") // of function_call
		if f := jsonscan.Member(v, "function"); f != nil {
			name = jsonscan.Member(f, "name")
		}
		if name = dialect.TextOf(name); name == nil {
			r.c.Lost.Add("tool_choice")
			return nil
		}
		to.Mode, to.Name = dialect.OneTool, name
	default:
		return refuse("tool_choice", "\"tool_choice\" is none of \"auto\", \"none\", \"required\" and a tool.")
	}
	return nil
}

func (r *requestReader) format() {
	v := r.formatted
	to := &r.c.Format
	switch kind := jsonscan.Member(v, "type"); {
	case dialect.Is(kind, "json_object"):
		to.Mode = dialect.JSONFormat
	case dialect.Is(kind, "json_schema"):
		to.Mode = dialect.SchemaFormat
		for name, v := range jsonscan.MembersOf(jsonscan.Member(v, "json_schema")) {
			v = dialect.OrNil(v)
			switch string(name) {
			case "name":
				to.Name = dialect.TextOf(v)
			case "description":
				to.Description = dialect.TextOf(v)
			case "schema":
				if to.Schema = dialect.ObjectOf(v); to.Schema == nil && v != nil {
					r.c.Lost.Add("response_format")
				}
			case "strict":
				to.Strict = switchOf(v)
			}
		}
	case v != nil && !dialect.Is(kind, "text"):
		r.c.Lost.Add("response_format")
	}
}

func (r *requestReader) list(v []byte) error {
	if !dialect.IsList(v) {
		return refuse("messages", "\"messages\" is not a list.")
	}
	n := 0
	for m := range r.c.Each(v) {
		if err := r.message(m, n); err != nil {
			return err
		}
		n++
	}
	return nil
}

// at is how a message is called in errors.
func at(n int) string { return "messages[" + strconv.Itoa(n) + "]" }

// said are the members of a message.
type said struct {
	role, content, name, refusal, calls, call, id, thought, details, audio, images []byte
}

func (r *requestReader) message(m []byte, n int) error {
	if !dialect.IsObject(m) {
		return refuse(at(n), "A message is not an object.")
	}
	s, lost := members(m)
	for _, name := range lost {
		r.c.Lost.Add(name)
	}
	to := dialect.Message{Name: s.name}
	switch {
	case dialect.Is(s.role, "system"):
		to.Role = dialect.System
	case dialect.Is(s.role, "developer"):
		to.Role = dialect.Developer
	case dialect.Is(s.role, "user"):
		to.Role = dialect.User
	case dialect.Is(s.role, "assistant"):
		return r.assistant(&s, to, n)
	case dialect.Is(s.role, "tool"), dialect.Is(s.role, "function"):
		return r.result(&s, n)
	default:
		return refuse(at(n)+".role", "The role of a message is none of system, developer, user, assistant and tool.")
	}
	var err error
	if to.Parts, err = r.content(nil, s.content, n); err != nil {
		return err
	}
	r.c.Messages = append(r.c.Messages, to)
	return nil
}

func members(m []byte) (s said, lost []string) {
	for name, v := range jsonscan.MembersOf(m) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "role":
			s.role = v
		case "content":
			s.content = v
		case "name":
			s.name = dialect.TextOf(v)
		case "refusal":
			s.refusal = dialect.TextOf(v)
		case "tool_calls":
			s.calls = v
		case "function_call":
			s.call = v
		case "tool_call_id":
			s.id = dialect.TextOf(v)
		case "reasoning_content", "reasoning":
			s.thought = dialect.TextOf(v)
		case "reasoning_details":
			s.details = v
		case "audio":
			s.audio = v
			lost = append(lost, "audio")
		case "images":
			s.images = v
		case "annotations": // which a client sends back as it got them
		default:
			lost = append(lost, string(name))
		}
	}
	return s, lost
}

func (r *requestReader) assistant(s *said, to dialect.Message, n int) error {
	to.Role = dialect.Assistant
	thoughts, before := r.before(s)
	to.Parts = thoughts
	var err error
	if to.Parts, err = r.content(to.Parts, s.content, n); err != nil {
		return err
	}
	if s.refusal != nil && !dialect.IsEmpty(s.refusal) {
		to.Parts = append(to.Parts, dialect.Part{Kind: dialect.Refusal, Text: s.refusal})
	}
	for p := range r.c.Each(s.images) { // which it got so
		if m := image(jsonscan.Member(p, "image_url")); m.Data != nil || m.URL != nil {
			to.Parts = append(to.Parts, dialect.Part{Kind: dialect.Image, Media: m})
		}
	}
	for call := range r.c.Each(s.calls) {
		f := jsonscan.Member(call, "function")
		if f == nil {
			f = jsonscan.Member(call, "custom")
		}
		id := dialect.TextOf(jsonscan.Member(call, "id"))
		to.Parts = append(to.Parts, before[string(id)]...)
		delete(before, string(id))
		to.Parts = append(to.Parts, r.callOf(f, id))
	}
	if s.call != nil {
		to.Parts = append(to.Parts, r.callOf(s.call, dialect.TextOf(jsonscan.Member(s.call, "name"))))
	}
	r.c.Messages = append(r.c.Messages, to)
	return nil
}

func (r *requestReader) callOf(f, id []byte) dialect.Part {
	p := dialect.Part{Kind: dialect.ToolUse, ID: id}
	for name, v := range jsonscan.MembersOf(f) {
		v = dialect.OrNil(v)
		switch string(name) {
		case "name":
			p.Name = dialect.TextOf(v)
		case "arguments", "input":
			if dialect.IsText(v) || dialect.IsObject(v) {
				p.Arguments = v
			} else if v != nil {
				r.c.Lost.Add("arguments")
			}
		}
	}
	return p
}

func (r *requestReader) result(s *said, n int) error {
	p := dialect.Part{Kind: dialect.ToolResult, ID: s.id}
	if p.ID == nil {
		p.ID = s.name // of role function
	}
	var err error
	if p.Result, err = r.content(nil, s.content, n); err != nil {
		return err
	}
	r.c.Messages = append(r.c.Messages, dialect.Message{Role: dialect.User, Parts: []dialect.Part{p}})
	return nil
}

func (r *requestReader) content(parts []dialect.Part, v []byte, n int) ([]dialect.Part, error) {
	switch {
	case v == nil:
		return parts, nil
	case dialect.IsText(v):
		return append(parts, dialect.Part{Kind: dialect.Text, Text: v}), nil
	case !dialect.IsList(v):
		return nil, refuse(at(n)+".content", "The content of a message is neither a string nor a list.")
	}
	for one := range r.c.Each(v) {
		p, lost := r.part(one)
		if lost != "" {
			r.c.Lost.Add(lost)
			continue
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// part reads a part of a content; lost names one that there is no word for.
func (r *requestReader) part(v []byte) (p dialect.Part, lost string) {
	if dialect.IsText(v) {
		return dialect.Part{Kind: dialect.Text, Text: v}, ""
	}
	var kind, inner []byte
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "type":
			kind = v
		case "text", "refusal", "image_url", "input_audio", "file", "thinking":
			inner = v
		case "cache_control":
			p.CacheControl = dialect.ObjectOf(v)
		default:
			lost = string(name)
		}
	}
	k, known := kinds(dialect.String(kind))
	if !known {
		if lost = dialect.String(kind); lost == "" {
			lost = "content"
		}
		return p, lost
	}
	if lost != "" { // a mark on what is kept
		r.c.Lost.Add(lost)
	}
	p.Kind = k
	switch {
	case k == dialect.Image:
		p.Media = image(inner)
	case k == dialect.Audio:
		p.Media = audio(inner)
	case k == dialect.Document:
		p.Media = file(inner)
	case k == dialect.Thinking: // Mistral's
		p.Text = content(inner)
	case dialect.IsText(inner):
		p.Text = inner
	default:
		return p, "content"
	}
	return p, ""
}

// kinds tells what parts of a type are.
func kinds(name string) (k dialect.Kind, ok bool) {
	switch name {
	case "text":
		return dialect.Text, true
	case "refusal":
		return dialect.Refusal, true
	case "thinking":
		return dialect.Thinking, true
	case "image_url":
		return dialect.Image, true
	case "input_audio":
		return dialect.Audio, true
	case "file":
		return dialect.Document, true
	}
	return 0, false
}

func audio(v []byte) dialect.Media {
	m := dialect.Media{Data: bare(jsonscan.Member(v, "data"))}
	if format := dialect.String(jsonscan.Member(v, "format")); format != "" {
		m.Type = "audio/" + format
	}
	return m
}

// bare is a string without its quotes.
func bare(v []byte) []byte {
	if !dialect.IsText(v) {
		return nil
	}
	return v[1 : len(v)-1]
}

func image(v []byte) dialect.Media {
	m := dialect.Media{URL: v}
	if dialect.IsObject(v) {
		m.URL, m.Detail = jsonscan.Member(v, "url"), dialect.TextOf(jsonscan.Member(v, "detail"))
	}
	m.URL = dialect.TextOf(m.URL)
	return inline(m)
}

// inline takes the data out of a URL that holds it.
func inline(m dialect.Media) dialect.Media {
	if kind, data, ok := dialect.DataURL(m.URL); ok {
		m.Type, m.Data, m.URL = kind, data, nil
	}
	return m
}

func file(v []byte) dialect.Media {
	m := dialect.Media{URL: dialect.TextOf(jsonscan.Member(v, "file_data")), FileID: dialect.TextOf(jsonscan.Member(v, "file_id")), Name: dialect.TextOf(jsonscan.Member(v, "filename"))}
	if m = inline(m); m.URL != nil && !bytes.HasPrefix(m.URL, []byte(`"http`)) { // base64 without saying of what
		m.Data, m.URL = bare(m.URL), nil
	}
	return m
}
