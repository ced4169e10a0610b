package messages

import (
	"fmt"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// ReadRequest implements dialect.Dialect.
func (Dialect) ReadRequest(c *dialect.Conversation, body []byte) error {
	return c.Bounded(readRequest(c, body))
}

// wanted is the type of a member that is taken as it stands, or of which members are looked
// for, AnyType of others.
func wanted(name string) dialect.Type {
	switch name {
	case "max_tokens", "temperature", "top_p", "top_k":
		return dialect.NumberType
	case "thinking", "output_config", "output_format", "metadata":
		return dialect.ObjectType
	case "service_tier":
		return dialect.TextType
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
			return refuse(string(name), fmt.Sprintf("%q is not %v.", name, want))
		}
		if r.setting(name, v) {
			continue
		}
		if err := r.member(name, v); err != nil {
			return err
		}
	}
	if r.list == nil {
		return refuse("messages", `The request has no "messages".`)
	}
	if err := r.prompt(); err != nil {
		return err
	}
	return r.messages()
}

type requestReader struct {
	c            *dialect.Conversation
	system, list []byte // as they stand in the body, in which either may come first
	depth        int    // of contents in others
}

// setting reads a member that says how the reply is to be.
func (r *requestReader) setting(name, v []byte) bool {
	c := r.c
	switch string(name) {
	case "model", "stream", "anthropic_version": // which are known
	case "system":
		r.system = v
	case "messages":
		r.list = v
	case "max_tokens":
		c.MaxTokens = v
	case "temperature":
		c.Temperature = v
	case "top_p":
		c.TopP = v
	case "top_k":
		c.TopK = v
	case "thinking":
		r.thinking(v)
	case "output_config":
		r.output(v)
	case "output_format":
		r.format(v)
	case "service_tier":
		// It is what the others call the default.
		if c.Tier = v; dialect.Is(v, "standard_only") {
			c.Tier = []byte(`"default"`)
		}
	case "metadata":
		r.metadata(v)
	default:
		return false
	}
	return true
}

func (r *requestReader) member(name, v []byte) error {
	switch string(name) {
	case "stop_sequences":
		return r.stop(v)
	case "tools":
		return r.tools(v)
	case "tool_choice":
		return r.choice(v)
	case "thread":
		return r.thread(v)
	}
	if s := string(v); s != "[]" && s != "{}" && s != "false" {
		r.c.Lost.AddName(name)
	}
	return nil
}

// thread reads whether the service is to keep the conversation. One that goes on from what is
// kept has its last messages alone: who is told that there is no such thread sends them all.
func (r *requestReader) thread(v []byte) error {
	if dialect.Is(jsonscan.Member(v, "type"), "continue") {
		e := llm.Errorf(404, "thread_not_found", `For this model no threads are kept: send the whole conversation as "messages".`)
		e.Param = "thread"
		return e
	}
	r.c.Lost.Add("thread")
	return nil
}

func (r *requestReader) metadata(v []byte) {
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); {
		case v == nil:
		case string(name) == "user_id":
			r.c.User = dialect.FilledText(v)
		default:
			r.c.Lost.Add("metadata")
		}
	}
}

func (r *requestReader) thinking(v []byte) {
	to := &r.c.Reasoning
	switch kind := jsonscan.Member(v, "type"); {
	case dialect.Is(kind, "enabled"):
		to.Mode = dialect.On
		if to.Budget = jsonscan.Member(v, "budget_tokens"); !dialect.IsNumber(to.Budget) {
			to.Budget = nil
		}
	case dialect.Is(kind, "adaptive"):
		to.Mode = dialect.On
	case dialect.Is(kind, "disabled"):
		to.Mode = dialect.Off
	default:
		r.c.Lost.Add("thinking")
	}
	switch display := jsonscan.Member(v, "display"); {
	case display == nil:
	case dialect.Is(display, "summarized"):
		to.Summary = []byte(`"auto"`)
	default:
		r.c.Lost.Add("display")
	}
}

func (r *requestReader) output(v []byte) {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "effort":
			r.c.Reasoning.Effort = dialect.FilledText(v)
		case "format":
			r.format(v)
		default:
			r.c.Lost.AddName(name)
		}
	}
}

func (r *requestReader) format(v []byte) {
	schema := dialect.ObjectOf(jsonscan.Member(v, "schema"))
	if !dialect.Is(jsonscan.Member(v, "type"), "json_schema") || schema == nil {
		r.c.Lost.Add("response_format")
		return
	}
	r.c.Format = dialect.Format{Mode: dialect.SchemaFormat, Schema: schema, Name: dialect.FilledText(jsonscan.Member(v, "name"))}
}

func (r *requestReader) stop(v []byte) error {
	const want = `"stop_sequences" is not a list of strings.`
	if !dialect.IsList(v) {
		return refuse("stop_sequences", want)
	}
	for s := range r.c.Each(v) {
		if !dialect.IsText(s) {
			return refuse("stop_sequences", want)
		}
		r.c.Stop = append(r.c.Stop, s)
	}
	return nil
}

func (r *requestReader) tools(v []byte) error {
	if !dialect.IsList(v) {
		return refuse("tools", `"tools" is not a list.`)
	}
	n := 0
	for t := range r.c.Each(v) {
		if !dialect.IsObject(t) {
			return refuse("tools."+strconv.Itoa(n), "A tool is not an object.")
		}
		n++
		if kind := jsonscan.Member(t, "type"); kind != nil && !dialect.Is(kind, "custom") {
			r.c.Tools = append(r.c.Tools, dialect.Tool{Raw: t, Name: dialect.FilledText(kind)})
			continue
		}
		tool := r.tool(t)
		if tool.Name == nil {
			return refuse("tools."+strconv.Itoa(n-1)+".name", "A tool has no name.")
		}
		r.c.Tools = append(r.c.Tools, tool)
	}
	return nil
}

func (r *requestReader) tool(v []byte) (t dialect.Tool) {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil || string(v) == "false" && string(name) != "strict" {
			continue
		}
		switch string(name) {
		case "type":
		case "name":
			t.Name = dialect.FilledText(v)
		case "description":
			t.Description = dialect.FilledText(v)
		case "input_schema":
			if t.Schema = dialect.ObjectOf(v); t.Schema == nil {
				r.c.Lost.AddName(name)
			}
		case "strict":
			t.Strict = switchOf(v)
		case "cache_control":
			t.CacheControl = dialect.ObjectOf(v)
		default:
			r.c.Lost.AddName(name)
		}
	}
	return t
}

func switchOf(v []byte) dialect.Switch {
	on, ok := jsonscan.Bool(v)
	if !ok {
		return dialect.Unset
	}
	return dialect.SwitchOf(on)
}

func (r *requestReader) choice(v []byte) error {
	to := &r.c.ToolChoice
	switch kind := jsonscan.Member(v, "type"); {
	case dialect.Is(kind, "auto"):
		to.Mode = dialect.ToolsAuto
	case dialect.Is(kind, "any"):
		to.Mode = dialect.ToolsRequired
	case dialect.Is(kind, "none"):
		to.Mode = dialect.ToolsNone
	case dialect.Is(kind, "tool"):
		if to.Name = dialect.FilledText(jsonscan.Member(v, "name")); to.Name == nil {
			return refuse("tool_choice.name", `"tool_choice" names no tool.`)
		}
		to.Mode = dialect.OneTool
	default:
		return refuse("tool_choice", `"tool_choice" has none of the types "auto", "any", "tool" and "none".`)
	}
	switch switchOf(jsonscan.Member(v, "disable_parallel_tool_use")) {
	case dialect.On:
		r.c.Parallel = dialect.Off
	case dialect.Off:
		r.c.Parallel = dialect.On
	case dialect.Unset:
	}
	return nil
}

// prompt reads what stands outside of the messages.
func (r *requestReader) prompt() error {
	if r.system == nil || dialect.IsEmpty(r.system) {
		return nil
	}
	parts, err := r.content(nil, r.system, place{in: "system", message: -1, block: -1})
	if err == nil && len(parts) > 0 {
		r.c.Messages = append(r.c.Messages, dialect.Message{Role: dialect.System, Parts: parts})
	}
	return err
}

func (r *requestReader) messages() error {
	if !dialect.IsList(r.list) {
		return refuse("messages", `"messages" is not a list.`)
	}
	n := 0
	for m := range r.c.Each(r.list) {
		at := place{in: "content", message: n, block: -1}
		if !dialect.IsObject(m) {
			return refuse("messages."+strconv.Itoa(n), "A message is not an object.")
		}
		if err := r.message(m, at); err != nil {
			return err
		}
		n++
	}
	return nil
}

func (r *requestReader) message(m []byte, at place) error {
	var role, content []byte
	for name, v := range jsonscan.MembersOf(m) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "role":
			role = v
		case "content":
			content = v
		case "id", "type", "model", "stop_reason", "stop_sequence", "usage": // of a reply that a client sends back as it got it
		default:
			r.c.Lost.AddName(name)
		}
	}
	var to dialect.Message
	switch {
	case dialect.Is(role, "user"):
		to.Role = dialect.User
	case dialect.Is(role, "assistant"):
		to.Role = dialect.Assistant
	case dialect.Is(role, "system"):
		to.Role = dialect.System
	default:
		at.in = "role"
		return refuse(at.String(), "The role of a message is none of user, assistant and system.")
	}
	var err error
	if to.Parts, err = r.content(nil, content, at); err != nil {
		return err
	}
	r.c.Messages = append(r.c.Messages, to)
	return nil
}
