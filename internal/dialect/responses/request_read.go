package responses

import (
	"bytes"
	"slices"
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
	case "temperature", "top_p", "max_output_tokens", "top_logprobs":
		return dialect.NumberType
	case "parallel_tool_calls":
		return dialect.BoolType
	case "user", "safety_identifier", "service_tier", "prompt_cache_key", "instructions":
		return dialect.TextType
	case "metadata", "text", "reasoning":
		return dialect.ObjectType
	case "include":
		return dialect.ListType
	}
	return dialect.AnyType
}

func readRequest(c *dialect.Conversation, body []byte) error {
	r := requestReader{c: c}
	c.IncludeUsage = true
	for name, v := range jsonscan.MembersOf(body) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		if want := wanted(string(name)); !want.Has(v) {
			return refuse("invalid_type", string(name), "Invalid type for '%s': expected %v.", name, want)
		}
		if r.setting(string(name), v) {
			continue
		}
		if err := r.member(string(name), v); err != nil {
			return err
		}
	}
	if r.input == nil {
		return refuse("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	}
	if r.instructions != nil {
		c.Messages = append(c.Messages, dialect.Message{Role: dialect.System, Parts: textParts(r.instructions)})
	}
	if err := r.readInput(); err != nil {
		return err
	}
	return r.choose()
}

type requestReader struct {
	c                   *dialect.Conversation
	input, instructions []byte
	choice              []byte // tool_choice

	turn  int  // the message of the model that goes on, counted from 1; 0 for none
	calls bool // it has calls
	last  int  // the message of results that goes on, counted from 1; 0 for none
	at    int  // the item that is read
}

func textParts(text []byte) []dialect.Part {
	return []dialect.Part{{Kind: dialect.Text, Text: text}}
}

// setting reads a member that says how the reply is to be.
func (r *requestReader) setting(name string, v []byte) bool {
	c := r.c
	switch name {
	case "model", "stream", "stream_options": // which are known, or do not change what is said
	case "temperature":
		c.Temperature = v
	case "top_p":
		c.TopP = v
	case "max_output_tokens":
		c.MaxTokens = v
	case "top_logprobs":
		c.TopLogprobs = v
	case "parallel_tool_calls":
		c.Parallel = switchOf(v)
	case "user", "safety_identifier":
		c.User = dialect.TextOf(v)
	case "metadata":
		if !emptyObject(v) {
			c.Metadata = v
		}
	case "service_tier":
		c.Tier = dialect.TextOf(v)
	case "prompt_cache_key":
		c.CacheKey = dialect.TextOf(v)
	case "input":
		r.input = v
	case "instructions":
		r.instructions = dialect.TextOf(v)
	case "tool_choice":
		r.choice = v
	default:
		return false
	}
	return true
}

func emptyObject(v []byte) bool {
	for range jsonscan.MembersOf(v) {
		return false
	}
	return true
}

func (r *requestReader) member(name string, v []byte) error {
	switch name {
	case "tools":
		return r.tools(v)
	case "text":
		r.text(v)
	case "reasoning":
		r.reasoning(v)
	case "include":
		r.include(v)
	case "previous_response_id":
		if !dialect.IsText(v) {
			return refuse("invalid_type", name, "Invalid type for '%s': expected a string.", name)
		}
		return refuse("previous_response_not_found", name, "Previous response with id '%s' not found. For this model none are kept but those that the gateway keeps, "+
			"where responses.store is on: send the whole conversation as 'input'.", shown(v))
	case "conversation", "prompt":
		return unsupported(name)
	case "background", "store":
		if string(v) != "true" {
			return nil
		}
		if name == "background" {
			return unsupported(name)
		}
		if !r.c.Kept {
			r.c.Lost.Add(name)
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
	case "truncation":
		return dialect.Is(v, "disabled")
	case "frequency_penalty", "presence_penalty":
		return dialect.Int(v) == 0 && len(bytes.Trim(v, "-0.")) == 0
	}
	return false
}

func unsupported(name string) error {
	return refuse("unsupported_parameter", name, "Unsupported parameter: '%s' is not supported with this model, for which nothing is kept between requests.", name)
}

// shown bounds what an error repeats of a request.
func shown(v []byte) string {
	s := dialect.String(v)
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return s
}

func (r *requestReader) include(v []byte) {
	for one := range r.c.Each(v) {
		switch {
		case dialect.Is(one, includeSignature): // which is told where there is one
		case dialect.Is(one, includeLogprobs):
			r.c.Logprobs = dialect.On
		default:
			r.c.Lost.Add("include")
		}
	}
}

func (r *requestReader) reasoning(v []byte) {
	to := &r.c.Reasoning
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "effort":
			to.Effort = dialect.TextOf(v)
			to.Mode = dialect.SwitchOf(!dialect.Is(v, "none"))
		case "summary", "generate_summary":
			to.Summary = dialect.TextOf(v)
		default:
			r.c.Lost.Add("reasoning." + string(name))
		}
	}
}

func (r *requestReader) text(v []byte) {
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); {
		case v == nil:
		case string(name) == "format":
			r.format(v)
		case string(name) == "verbosity" && dialect.Is(v, "medium"):
		default:
			r.c.Lost.AddName(name)
		}
	}
}

func (r *requestReader) format(v []byte) {
	to := &r.c.Format
	for name, v := range jsonscan.MembersOf(v) {
		v = dialect.OrNil(v)
		switch string(name) {
		case "type":
			switch {
			case dialect.Is(v, "json_object"):
				to.Mode = dialect.JSONFormat
			case dialect.Is(v, "json_schema"):
				to.Mode = dialect.SchemaFormat
			case v != nil && !dialect.Is(v, "text"):
				r.c.Lost.Add("response_format")
			}
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
}

func (r *requestReader) tools(v []byte) error {
	if !dialect.IsList(v) {
		return refuse("invalid_type", "tools", "Invalid type for 'tools': expected an array of tools.")
	}
	n := 0
	for t := range r.c.Each(v) {
		if err := r.tool(t, n); err != nil {
			return err
		}
		n++
	}
	return nil
}

func (r *requestReader) tool(v []byte, n int) error {
	t := dialect.Tool{}
	var kind, format []byte
	var lost [][]byte
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "type":
			kind = dialect.TextOf(v)
		case "name":
			t.Name = dialect.TextOf(v)
		case "description":
			t.Description = dialect.TextOf(v)
		case "parameters":
			if t.Schema = dialect.ObjectOf(v); t.Schema == nil {
				lost = append(lost, name)
			}
		case "strict":
			t.Strict = switchOf(v)
		case "format":
			format = v
		default:
			lost = append(lost, name)
		}
	}
	switch {
	case dialect.Is(kind, "function"):
	case dialect.Is(kind, "custom"):
		t.Schema = []byte(customSchema)
		t.Description = grammarDescription(t.Description, format)
	case dialect.Is(kind, localShell):
		r.c.Tools = append(r.c.Tools, dialect.Tool{Name: kind, Description: []byte(localShellDescription), Schema: []byte(localShellSchema)})
		return nil
	case kind == nil:
		return refuse("missing_required_parameter", toolParam(n)+".type", "Missing required parameter: '%s.type'.", toolParam(n))
	default:
		r.c.Tools = append(r.c.Tools, dialect.Tool{Raw: v, Name: kind})
		return nil
	}
	if t.Name == nil {
		return refuse("missing_required_parameter", toolParam(n)+".name", "Missing required parameter: '%s.name'.", toolParam(n))
	}
	for _, name := range lost {
		r.c.Lost.AddName(name)
	}
	r.c.Tools = append(r.c.Tools, t)
	return nil
}

func toolParam(n int) string { return "tools[" + strconv.Itoa(n) + "]" }

// grammarDescription tells in a tool's description what its format says, which functions
// have no place for.
func grammarDescription(description, format []byte) []byte {
	if !dialect.Is(jsonscan.Member(format, "type"), "grammar") {
		return description
	}
	syntax, definition := dialect.TextOf(jsonscan.Member(format, "syntax")), dialect.TextOf(jsonscan.Member(format, "definition"))
	if syntax == nil || definition == nil {
		return description
	}
	b := []byte{'"'}
	if description != nil {
		b = append(append(b, bare(description)...), `\n\n`...)
	}
	b = append(append(b, `The input has to follow this grammar (`...), bare(syntax)...)
	return append(append(append(b, `):\n`...), bare(definition)...), '"')
}

// choose reads which tools are to be called, once these are known.
func (r *requestReader) choose() error {
	to, v := &r.c.ToolChoice, r.choice
	switch {
	case v == nil:
	case dialect.IsText(v):
		return r.mode(v)
	case dialect.IsObject(v):
		switch kind := jsonscan.Member(v, "type"); {
		case dialect.Is(kind, "function"), dialect.Is(kind, "custom"):
			if to.Name = dialect.TextOf(jsonscan.Member(v, "name")); to.Name == nil {
				return refuse("missing_required_parameter", "tool_choice.name", "Missing required parameter: 'tool_choice.name'.")
			}
			to.Mode = dialect.OneTool
		case dialect.Is(kind, localShell):
			to.Mode, to.Name = dialect.OneTool, kind
		case dialect.Is(kind, "allowed_tools"):
			return r.allow(v)
		default: // a tool that the service has itself
			r.c.Lost.Add("tool_choice")
		}
	default:
		return refuse("invalid_type", "tool_choice", "Invalid type for 'tool_choice': expected a string or an object.")
	}
	return nil
}

func (r *requestReader) mode(v []byte) error {
	to := &r.c.ToolChoice
	switch {
	case dialect.Is(v, "auto"):
		to.Mode = dialect.ToolsAuto
	case dialect.Is(v, "none"):
		to.Mode = dialect.ToolsNone
	case dialect.Is(v, "required"):
		to.Mode = dialect.ToolsRequired
	default:
		return refuse("invalid_value", "tool_choice", "Invalid value: '%s'. Supported values are: 'none', 'auto', and 'required'.", shown(v))
	}
	return nil
}

// allow leaves out the tools that a list does not allow: no model may call one that it does
// not know of.
func (r *requestReader) allow(v []byte) error {
	allowed := map[string]bool{}
	for one := range r.c.Each(jsonscan.Member(v, "tools")) {
		name := jsonscan.Member(one, "name")
		if name == nil {
			name = jsonscan.Member(one, "type")
		}
		allowed[dialect.String(name)] = true
	}
	r.c.Tools = slices.DeleteFunc(r.c.Tools, func(t dialect.Tool) bool { return !allowed[dialect.String(t.Name)] })
	return r.mode(jsonscan.Member(v, "mode"))
}

// sameText reports whether two texts say the same, however it is written.
func sameText(a, b []byte) bool {
	return bytes.Equal(a, b) || (bytes.IndexByte(a, '\\') >= 0 || bytes.IndexByte(b, '\\') >= 0) && dialect.IsText(a) && dialect.IsText(b) && dialect.String(a) == dialect.String(b)
}
