package responses

import (
	"bytes"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// readInput reads what was said. Items of the model's that follow each other are one
// message, since to other dialects they are one turn, and so are results of tools.
func (r *requestReader) readInput() error {
	switch v := r.input; {
	case dialect.IsText(v):
		r.c.Messages = append(r.c.Messages, dialect.Message{Role: dialect.User, Parts: textParts(v)})
	case dialect.IsList(v):
		for one := range r.c.Each(v) {
			if err := r.item(one); err != nil {
				return err
			}
			r.at++
		}
	default:
		return refuse("invalid_type", "input", "Invalid type for 'input': expected a string or an array of input items.")
	}
	return nil
}

// inputItem are the members of an item.
type inputItem struct {
	kind, id, call, name, role, content []byte
	arguments, input, action, output    []byte
	summary, signature, namespace       []byte
}

func membersOf(v []byte) (i inputItem) {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "type":
			i.kind = v
		case "id":
			i.id = dialect.TextOf(v)
		case "call_id":
			i.call = dialect.TextOf(v)
		case "name":
			i.name = dialect.TextOf(v)
		case "role":
			i.role = v
		case "content":
			i.content = v
		case "arguments":
			if dialect.IsText(v) || dialect.IsObject(v) {
				i.arguments = v
			}
		case "input":
			i.input = dialect.TextOf(v)
		case "action":
			i.action = dialect.ObjectOf(v)
		case "output":
			i.output = v
		case "summary":
			i.summary = v
		case "encrypted_content":
			i.signature = dialect.TextOf(v)
		case "namespace":
			i.namespace = v
		}
	}
	return i
}

// param names a member of the item that is read, as errors call it.
func (r *requestReader) param(member string) string {
	s := "input[" + strconv.Itoa(r.at) + "]"
	if member == "" {
		return s
	}
	return s + "." + member
}

func (r *requestReader) item(v []byte) error {
	if !dialect.IsObject(v) {
		return refuse("invalid_type", r.param(""), "Invalid type for '%s': expected an input item, which is an object.", r.param(""))
	}
	i := membersOf(v)
	switch {
	case i.kind == nil || dialect.Is(i.kind, "message"):
		return r.message(&i)
	case dialect.Is(i.kind, "function_call"):
		return r.call(&i, i.arguments)
	case dialect.Is(i.kind, "custom_tool_call"):
		return r.call(&i, customArguments(i.input))
	case dialect.Is(i.kind, "local_shell_call"):
		i.name = []byte(`"` + localShell + `"`)
		return r.call(&i, i.action)
	case dialect.Is(i.kind, "function_call_output"), dialect.Is(i.kind, "custom_tool_call_output"), dialect.Is(i.kind, "local_shell_call_output"):
		return r.result(&i)
	case dialect.Is(i.kind, "reasoning"):
		r.thought(&i)
	case dialect.Is(i.kind, "image_generation_call"):
		r.image(v)
	case dialect.Is(i.kind, "item_reference"):
		return refuse("", "input", "Item with id '%s' not found. Items are not persisted for this model: send the item itself, or remove it from your input.", shown(i.id))
	case !dialect.IsText(i.kind):
		return refuse("invalid_type", r.param("type"), "Invalid type for '%s': expected a string.", r.param("type"))
	default: // what a service did by itself, or has for itself
		r.c.Lost.Add(dialect.String(i.kind))
	}
	return nil
}

// customArguments are the arguments of the function that a custom tool is.
func customArguments(input []byte) []byte {
	if input == nil {
		input = []byte(`""`)
	}
	b := make([]byte, 0, len(input)+len(`{"input":}`))
	return append(append(append(b, `{"input":`...), input...), '}')
}

// model gives the message of the model's to which an item belongs.
func (r *requestReader) model() *dialect.Message {
	if r.turn == 0 {
		r.c.Messages = append(r.c.Messages, dialect.Message{Role: dialect.Assistant})
		r.turn, r.calls, r.last = len(r.c.Messages), false, 0
	}
	return &r.c.Messages[r.turn-1]
}

func (r *requestReader) call(i *inputItem, arguments []byte) error {
	if i.call == nil {
		i.call = i.id
	}
	if i.call == nil {
		return refuse("missing_required_parameter", r.param("call_id"), "Missing required parameter: '%s'.", r.param("call_id"))
	}
	if i.name == nil {
		return refuse("missing_required_parameter", r.param("name"), "Missing required parameter: '%s'.", r.param("name"))
	}
	if i.namespace != nil {
		r.c.Lost.Add("namespace")
	}
	m := r.model()
	r.calls = true
	m.Parts = append(m.Parts, dialect.Part{Kind: dialect.ToolUse, ID: i.call, Name: i.name, Arguments: arguments})
	return nil
}

func (r *requestReader) result(i *inputItem) error {
	if i.call == nil {
		i.call = i.id
	}
	if i.call == nil {
		return refuse("missing_required_parameter", r.param("call_id"), "Missing required parameter: '%s'.", r.param("call_id"))
	}
	p := dialect.Part{Kind: dialect.ToolResult, ID: i.call}
	var err error
	if p.Result, err = r.content(i.output, "output"); err != nil {
		return err
	}
	if r.last == 0 {
		r.c.Messages = append(r.c.Messages, dialect.Message{Role: dialect.User})
		r.last, r.turn = len(r.c.Messages), 0
	}
	m := &r.c.Messages[r.last-1]
	m.Parts = append(m.Parts, p)
	return nil
}

// thought reads a reasoning item: paragraphs of a summary, or of what was thought itself.
func (r *requestReader) thought(i *inputItem) {
	p := dialect.Part{Kind: dialect.Thinking, Text: paragraphs(i.summary, i.content)}
	if i.signature != nil && !dialect.IsEmpty(i.signature) {
		p.Signature = i.signature
	}
	if p.Text != nil || p.Signature != nil {
		m := r.model()
		m.Parts = append(m.Parts, p)
	}
}

// paragraph is what stands between parts of what was thought.
const paragraph = `\n\n`

// paragraphs joins the texts of the parts in some lists, nil for none.
func paragraphs(lists ...[]byte) []byte {
	var texts [][]byte
	for _, list := range lists {
		for p := range jsonscan.ElementsOf(list) {
			if t := dialect.TextOf(jsonscan.Member(p, "text")); t != nil && !dialect.IsEmpty(t) {
				texts = append(texts, t)
			}
		}
	}
	switch len(texts) {
	case 0:
		return nil
	case 1:
		return texts[0]
	}
	return dialect.AppendJoined(nil, texts, paragraph)
}

func (r *requestReader) message(i *inputItem) error {
	to := dialect.Message{}
	switch {
	case dialect.Is(i.role, "user"):
		to.Role = dialect.User
	case dialect.Is(i.role, "assistant"):
		to.Role = dialect.Assistant
	case dialect.Is(i.role, "system"):
		to.Role = dialect.System
	case dialect.Is(i.role, "developer"):
		to.Role = dialect.Developer
	case i.role == nil && i.kind == nil:
		return refuse("missing_required_parameter", r.param("type"), "Missing required parameter: '%s'.", r.param("type"))
	case i.role == nil:
		return refuse("missing_required_parameter", r.param("role"), "Missing required parameter: '%s'.", r.param("role"))
	default:
		return refuse("invalid_value", r.param("role"), "Invalid value: '%s'. Supported values are: 'assistant', 'system', 'developer', and 'user'.", shown(i.role))
	}
	parts, err := r.content(i.content, "content")
	if err != nil {
		return err
	}
	r.last = 0
	if to.Role != dialect.Assistant {
		r.turn = 0
		to.Parts = parts
		r.c.Messages = append(r.c.Messages, to)
		return nil
	}
	if r.turn > 0 && !r.calls && spoken(r.c.Messages[r.turn-1].Parts) {
		r.turn = 0 // a second message
	}
	m := r.model()
	m.Parts = append(m.Parts, parts...)
	return nil
}

// spoken reports whether something of a message was said, not only thought.
func spoken(parts []dialect.Part) bool {
	for i := range parts {
		if parts[i].Kind != dialect.Thinking {
			return true
		}
	}
	return false
}

// content reads a text or a list of parts, which member is.
func (r *requestReader) content(v []byte, member string) ([]dialect.Part, error) {
	switch {
	case v == nil:
		return nil, nil
	case dialect.IsText(v):
		return textParts(v), nil
	case !dialect.IsList(v):
		return nil, refuse("invalid_type", r.param(member), "Invalid type for '%s': expected a string or an array of content parts.", r.param(member))
	}
	var parts []dialect.Part
	for one := range r.c.Each(v) {
		p, lost, err := r.part(one, member)
		if err != nil {
			return nil, err
		}
		if lost != "" {
			r.c.Lost.Add(lost)
			continue
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// part reads a part; lost names one that there is no word for.
func (r *requestReader) part(v []byte, member string) (p dialect.Part, lost string, err error) {
	if dialect.IsText(v) {
		return dialect.Part{Kind: dialect.Text, Text: v}, "", nil
	}
	var kind, text, audio, annotations []byte
	m := &p.Media
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "type":
			kind = v
		case "text", "refusal":
			text = dialect.TextOf(v)
		case "image_url", "file_url":
			m.URL = dialect.TextOf(v)
		case "file_data":
			fileData(m, v)
		case "file_id":
			m.FileID = dialect.TextOf(v)
		case "filename":
			m.Name = dialect.TextOf(v)
		case "detail":
			m.Detail = dialect.TextOf(v)
		case "input_audio":
			audio = v
		case "annotations":
			annotations = v
		}
	}
	switch dialect.String(kind) {
	case "input_text", "output_text", "text", "summary_text":
		p.Kind, p.Text = dialect.Text, text
		for a := range r.c.Each(annotations) {
			p.Citations = citation(p.Citations, a)
		}
	case "refusal":
		p.Kind, p.Text = dialect.Refusal, text
	case "input_image":
		p.Kind = dialect.Image
		inline(m)
	case "input_file":
		p.Kind = dialect.Document
		if m.Detail = nil; m.URL != nil {
			inline(m)
		}
	case "input_audio":
		p.Kind = dialect.Audio
		m.Data = bareOf(jsonscan.Member(audio, "data"))
		if format := dialect.String(jsonscan.Member(audio, "format")); format != "" {
			m.Type = "audio/" + format
		}
	case "computer_screenshot":
		return p, "image", nil
	default:
		return p, "", refuse("invalid_value", r.param(member), "Invalid value: '%s'. Supported values are: 'input_text', 'input_image', 'input_file', 'input_audio', 'output_text', and 'refusal'.", shown(kind))
	}
	if p.Kind == dialect.Text || p.Kind == dialect.Refusal {
		if p.Text == nil {
			return p, "", refuse("missing_required_parameter", r.param(member), "A part of '%s' has no text.", r.param(member))
		}
	} else if m.Data == nil && m.URL == nil && m.FileID == nil {
		return p, "", refuse("missing_required_parameter", r.param(member), "A part of '%s' has neither data nor where to get it.", r.param(member))
	}
	return p, "", nil
}

func bareOf(v []byte) []byte {
	if !dialect.IsText(v) {
		return nil
	}
	return bare(v)
}

// inline takes the data out of a URL that holds it.
func inline(m *dialect.Media) {
	if kind, data, ok := dialect.DataURL(m.URL); ok {
		m.Type, m.Data, m.URL = kind, data, nil
	}
}

// fileData reads the data of a file: a URL that holds it or, as a few clients send it, bare.
func fileData(m *dialect.Media, v []byte) {
	if kind, data, ok := dialect.DataURL(v); ok {
		m.Type, m.Data = kind, data
	} else if dialect.IsText(v) && !bytes.HasPrefix(v, []byte(`"data:`)) {
		m.Data = bare(v)
	}
}

// citations reads annotations.
func citations(to []dialect.Citation, list []byte) []dialect.Citation {
	for a := range jsonscan.ElementsOf(list) {
		if len(to) == dialect.MaxCitations {
			break
		}
		to = citation(to, a)
	}
	return to
}

// citation reads an annotation. Of a file that the service keeps, its name is the title.
func citation(to []dialect.Citation, v []byte) []dialect.Citation {
	var one dialect.Citation
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "url":
			one.URL = dialect.TextOf(v)
		case "title", "filename":
			one.Title = dialect.TextOf(v)
		case "start_index":
			one.Start = int(max(dialect.Int(v), 0))
		case "end_index":
			one.End = int(max(dialect.Int(v), 0))
		}
	}
	if one.URL == nil && one.Title == nil {
		return to
	}
	return append(to, one)
}
