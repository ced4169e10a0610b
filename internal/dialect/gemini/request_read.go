package gemini

import (
	"bytes"
	"slices"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// ReadRequest implements dialect.Dialect. It reads requests of countTokens too.
func (Dialect) ReadRequest(c *dialect.Conversation, body []byte) error {
	return c.Bounded(readRequest(c, body))
}

func readRequest(c *dialect.Conversation, body []byte) error {
	r := requestReader{c: c}
	if err := r.request(body); err != nil {
		return err
	}
	if !r.contents {
		return refuse("contents", "The request has no \"contents\".")
	}
	if len(r.prompt.Parts) > 0 {
		c.Messages = slices.Insert(c.Messages, 0, r.prompt)
	}
	c.IncludeUsage = true
	return nil
}

type requestReader struct {
	c        *dialect.Conversation
	contents bool
	prompt   dialect.Message
	room     []byte // of texts and schemas that are written anew

	calls  []call // in order
	waits  int    // the first of them that has no result
	made   int    // ids
	schema []byte // of the format, in the API's own form
}

// call is a call of a tool, and whether its result was there.
type call struct {
	id, name []byte
	answered bool
}

func (r *requestReader) request(body []byte) error {
	for name, v := range jsonscan.MembersOf(body) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		if err := r.member(string(name), v); err != nil {
			return err
		}
	}
	return nil
}

func (r *requestReader) member(name string, v []byte) error {
	switch name {
	case "model", "stream":
	case "contents":
		r.contents = true
		return r.messages(v)
	case "systemInstruction", "system_instruction":
		r.prompt.Role = dialect.System
		return r.content(&r.prompt, v, system)
	case "tools":
		return r.tools(v)
	case "toolConfig", "tool_config":
		return r.toolConfig(v)
	case "generationConfig", "generation_config":
		return r.generation(v)
	case "generateContentRequest", "generate_content_request": // of countTokens
		return r.request(v)
	case "cachedContent", "cached_content": // the beginning of the conversation, which only the service has that keeps it
		return refuse("cachedContent", "For this model no content is cached: send it itself.")
	default:
		if !dialect.IsList(v) || string(v) != "[]" {
			r.c.Lost.Add(name)
		}
	}
	return nil
}

// list gives a list, or one of what stands in place of a list with a single element, as the
// API takes it.
func (r *requestReader) list(v []byte) []byte {
	if dialect.IsList(v) {
		return v
	}
	return r.keep(append(append(append(r.room, '['), v...), ']'))
}

// system is the number of the content that the prompt is.
const system = -1

// at is how a content, or a member of it, is called in errors.
func at(n int, member string) string {
	if n == system {
		return "systemInstruction" + member
	}
	return "contents[" + strconv.Itoa(n) + "]" + member
}

func (r *requestReader) messages(v []byte) error {
	if !dialect.IsList(v) && !dialect.IsObject(v) {
		return refuse("contents", "\"contents\" is not a list.")
	}
	n := 0
	for one := range r.c.Each(r.list(v)) {
		if err := r.message(one, n); err != nil {
			return err
		}
		n++
	}
	return nil
}

func (r *requestReader) message(v []byte, n int) error {
	m := dialect.Message{}
	switch role := jsonscan.Member(v, "role"); {
	case role == nil, dialect.IsEmpty(role), dialect.Is(role, "user"), dialect.Is(role, "function"), dialect.Is(role, "tool"):
	case dialect.Is(role, "model"):
		m.Role = dialect.Assistant
	case dialect.Is(role, "system"): // which the API itself refuses, and SDKs send
		m.Role = dialect.System
	default:
		return refuse(at(n, ".role"), "The role of a content is neither \"user\" nor \"model\".")
	}
	if err := r.content(&m, v, n); err != nil {
		return err
	}
	if len(m.Parts) > 0 {
		r.c.Messages = append(r.c.Messages, m)
	}
	return nil
}

func (r *requestReader) content(m *dialect.Message, v []byte, n int) error {
	if !dialect.IsObject(v) {
		return refuse(at(n, ""), "A content is not an object.")
	}
	parts := jsonscan.Member(v, "parts")
	if parts == nil {
		return nil
	}
	for one := range r.c.Each(r.list(parts)) {
		if err := r.part(m, one, n); err != nil {
			return err
		}
	}
	return nil
}

// said are the members of a part.
type said struct {
	text, inline, file, call, response, signature []byte

	thought bool
}

func (r *requestReader) part(m *dialect.Message, v []byte, n int) error {
	if !dialect.IsObject(v) {
		return refuse(at(n, ".parts"), "A part is not an object.")
	}
	s := r.members(v)
	if s.signature != nil && (!s.thought || s.text == nil) {
		sign(m, s.signature)
	}
	switch {
	case s.call != nil:
		return r.call(m, s.call, n)
	case s.response != nil:
		return r.response(m, s.response, n)
	case s.inline != nil:
		m.Parts = append(m.Parts, media(s.inline))
	case s.file != nil:
		m.Parts = append(m.Parts, media(s.file))
	case s.text == nil:
	case !dialect.IsText(s.text):
		return refuse(at(n, ".parts"), "The text of a part is not a string.")
	case s.thought:
		m.Parts = append(m.Parts, dialect.Part{Kind: dialect.Thinking, Text: s.text, Signature: s.signature})
	case !dialect.IsEmpty(s.text):
		m.Parts = append(m.Parts, dialect.Part{Kind: dialect.Text, Text: s.text})
	}
	return nil
}

func (r *requestReader) members(v []byte) (s said) {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "text":
			s.text = v
		case "inlineData", "inline_data":
			s.inline = v
		case "fileData", "file_data":
			s.file = v
		case "functionCall", "function_call":
			s.call = v
		case "functionResponse", "function_response":
			s.response = v
		case "thought":
			s.thought = string(v) == "true"
		case "thoughtSignature", "thought_signature":
			s.signature = dialect.TextOf(v)
		default:
			r.c.Lost.AddName(name)
		}
	}
	return s
}

// sign adds the signature of the thoughts before a part.
func sign(m *dialect.Message, signature []byte) {
	if n := len(m.Parts); n > 0 && m.Parts[n-1].Kind == dialect.Thinking && m.Parts[n-1].Signature == nil {
		m.Parts[n-1].Signature = signature
		return
	}
	m.Parts = append(m.Parts, dialect.Part{Kind: dialect.Thinking, Signature: signature})
}

func (r *requestReader) call(m *dialect.Message, v []byte, n int) error {
	p := dialect.Part{Kind: dialect.ToolUse}
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); string(name) {
		case "id":
			p.ID = dialect.TextOf(v)
		case "name":
			p.Name = dialect.TextOf(v)
		case "args":
			p.Arguments = v
		}
	}
	if p.Name == nil {
		return refuse(at(n, ".parts"), "A functionCall has no name.")
	}
	if p.Arguments != nil && !dialect.IsObject(p.Arguments) {
		return refuse(at(n, ".parts"), "The args of a functionCall are not an object.")
	}
	if p.ID == nil || dialect.IsEmpty(p.ID) {
		p.ID = r.makeID()
	}
	r.calls = append(r.calls, call{id: p.ID, name: p.Name})
	m.Parts = append(m.Parts, p)
	return nil
}

// keep takes what was appended to the room.
func (r *requestReader) keep(room []byte) []byte {
	from := len(r.room)
	r.room = room
	return room[from:len(room):len(room)]
}

// makeID makes the id of a call that has none: the same in each request that repeats it.
func (r *requestReader) makeID() []byte {
	r.made++
	return r.keep(append(appendInt(append(r.room, `"call_`...), int64(r.made)), '"'))
}

// maxSought bounds the calls among which that of a result is looked for.
const maxSought = 1024

// answer gives the id of the call that a result is of.
func (r *requestReader) answer(id, name []byte) []byte {
	for r.waits < len(r.calls) && r.calls[r.waits].answered {
		r.waits++
	}
	waiting := r.calls[r.waits:]
	for i := range waiting[:min(len(waiting), maxSought)] {
		c := &waiting[i]
		if !c.answered && (id != nil && bytes.Equal(c.id, id) || id == nil && bytes.Equal(c.name, name)) {
			c.answered = true
			return c.id
		}
	}
	if id == nil {
		return r.makeID()
	}
	return id
}

func (r *requestReader) response(m *dialect.Message, v []byte, n int) error {
	p := dialect.Part{Kind: dialect.ToolResult}
	var id, name, said []byte
	for member, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(member) {
		case "id":
			if !dialect.IsEmpty(v) {
				id = dialect.TextOf(v)
			}
		case "name":
			name = dialect.TextOf(v)
		case "response":
			said = v
		case "parts":
			for one := range r.c.Each(v) {
				r.resultPart(&p, one)
			}
		default:
			r.c.Lost.AddName(member)
		}
	}
	if said != nil && !dialect.IsObject(said) {
		return refuse(at(n, ".parts"), "The response of a functionResponse is not an object.")
	}
	p.ID = r.answer(id, name)
	if said != nil {
		text, failed := r.result(said)
		p.Failed = failed
		p.Result = append([]dialect.Part{{Kind: dialect.Text, Text: text}}, p.Result...)
	}
	m.Parts = append(m.Parts, p)
	return nil
}

func (r *requestReader) resultPart(p *dialect.Part, v []byte) {
	s := r.members(v)
	if v = s.inline; v == nil {
		v = s.file
	}
	if v != nil {
		p.Result = append(p.Result, media(v))
	}
}

// result is the text of a response: an object in which "output" is what the tool says and
// "error" what is wrong, or which says it as a whole. SDKs call the former "result".
func (r *requestReader) result(v []byte) (text []byte, failed bool) {
	n := 0
	inner := v
	for name, one := range jsonscan.MembersOf(v) {
		n++
		switch string(name) {
		case "output", "result":
			inner = one
		case "error":
			inner, failed = one, true
		}
	}
	if n != 1 {
		inner, failed = v, false
	}
	if dialect.IsText(inner) {
		return inner, failed
	}
	return r.keep(dialect.AppendQuoted(r.room, inner)), failed
}

// media reads data or the address of a file.
func media(v []byte) dialect.Part {
	var m dialect.Media
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); string(name) {
		case "mimeType", "mime_type":
			m.Type = dialect.String(v)
		case "data":
			if dialect.IsText(v) {
				m.Data = standard(v[1 : len(v)-1])
			}
		case "fileUri", "file_uri":
			m.URL = dialect.TextOf(v)
		case "displayName", "display_name":
			m.Name = dialect.TextOf(v)
		}
	}
	return dialect.Part{Kind: kindOf(m.Type), Media: m}
}

// standard is base64 in its standard alphabet, which others require.
func standard(data []byte) []byte {
	if !bytes.ContainsAny(data, "-_") {
		return data
	}
	out := bytes.Clone(data)
	for i, c := range out {
		switch c {
		case '-':
			out[i] = '+'
		case '_':
			out[i] = '/'
		}
	}
	for len(out)%4 != 0 {
		out = append(out, '=')
	}
	return out
}

// kindOf is what media of a type are. A video is a document, for want of a word.
func kindOf(mediaType string) dialect.Kind {
	switch {
	case hasPrefixFold(mediaType, "image/"):
		return dialect.Image
	case hasPrefixFold(mediaType, "audio/"):
		return dialect.Audio
	default:
		return dialect.Document
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && bytes.EqualFold([]byte(s[:len(prefix)]), []byte(prefix))
}
