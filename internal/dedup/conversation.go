package dedup

import (
	"bytes"
	"slices"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// conversation is where the messages of a request stand in its body. It is read in one pass
// that decodes nothing. It takes the body for valid JSON; of any other it may find something
// or nothing, and does no harm.
type conversation struct {
	body         []byte
	messages     []message
	texts        []text // of all messages in their order
	instructions text   // of /v1/responses; empty for none
	items        bool   // the messages are items of /v1/responses
	more         bool   // there are more messages than maxMessages

	// noting has the lines of texts be noted: starts has where each begins, and behind those
	// of a text where one more would, two bytes after its end. A line is known by its place
	// there.
	noting bool
	starts []uint32

	unicode bool // the text that was read last may have an escape \u

	// spoken is how many bytes a model reads of the request, as they stand in the body: texts,
	// names and arguments of calls of tools, and what tools there are. beside says that it reads
	// what has no such length, such as images, or is not known.
	spoken int
	beside bool
	call   bool // the message that was read last is a call of a tool
}

// maxMessages and maxTexts bound what is kept of a conversation beside its bytes: messages that
// come after so many, or have texts that do, are not looked into. Some 100 bytes are kept of
// each message, and 40 of each text.
const maxMessages, maxTexts = 20_000, 50_000

// text is what stands between the quotes of a string. Its lines, which end with the escape \n,
// are those from first on.
type text struct {
	llm.Span
	first, lines int

	// unread says that its lines are not known: it is crowded, or has a line break that is
	// written as \u000a.
	unread bool
}

// start and end give where a line begins and ends.
func (c *conversation) start(line int) int { return int(c.starts[line]) }
func (c *conversation) end(line int) int   { return int(c.starts[line+1]) - 2 }

// message is an element of messages or input.
type message struct {
	llm.Span
	role role

	// texts[from:to] are its texts.
	from, to int

	bare   bool // it is a role and one text and nothing else
	fixed  bool // its text is not to be changed
	output bool // it may be the model's

	// unread says that a text of it is: nobody can say which number a line of it has.
	unread bool
}

// role is whose a message is.
type role uint8

const (
	other role = iota // nobody's that is known: it is not looked into
	system
	developer
	user
	assistant
	tool
)

func (r role) String() string {
	return [...]string{"other", "system", "developer", "user", "assistant", "tool"}[r]
}

// roleOf tells a role by its JSON string.
func roleOf(raw []byte) role {
	switch string(raw) {
	case `"system"`:
		return system
	case `"developer"`:
		return developer
	case `"user"`:
		return user
	case `"assistant"`:
		return assistant
	case `"tool"`, `"function"`:
		return tool
	default:
		return other
	}
}

// read finds the messages, and where noting says so the lines of their texts. It is false where
// the request has none that are to be looked at.
func (c *conversation) read(op llm.Operation, body []byte, noting bool) bool {
	c.body, c.messages, c.texts, c.instructions = body, c.messages[:0], c.texts[:0], text{}
	c.noting, c.starts, c.more = noting, c.starts[:0], false
	c.spoken, c.beside = 0, false
	if noting {
		c.starts = slices.Grow(c.starts, len(body)/32)
	}
	c.items = op == llm.Response
	list := "messages"
	if c.items {
		list = "input"
	}
	found, sure := 0, true
	end := c.object(space(body, 0), func(key []byte, at int) int {
		switch string(key) {
		case list:
			if found++; body[at] != '[' {
				sure = false
				return jsonscan.ValueEnd(body, at)
			}
			return c.array(at, func(at int) int {
				if c.more = c.more || len(c.messages) == maxMessages; c.more {
					c.beside = true
					return jsonscan.ValueEnd(body, at)
				}
				end := c.readMessage(at)
				if end < 0 { // it is not looked into
					m := message{role: other, output: true, fixed: true, from: len(c.texts), to: len(c.texts)}
					if end = jsonscan.ValueEnd(body, at); end < 0 {
						return -1
					}
					m.Span = llm.Span{Start: at, End: end}
					c.messages = append(c.messages, m)
					c.beside = c.beside || !c.call
				}
				return end
			})
		case "instructions":
			if c.items && body[at] == '"' {
				if c.instructions.End > 0 {
					sure = false
				}
				return c.readText(at, &c.instructions)
			}
		case "tools", "functions":
			end := jsonscan.ValueEnd(body, at)
			c.spoken += end - at
			return end
		case "previous_response_id", "conversation", "prompt":
			// There are messages before these, which are not to be seen.
			sure = sure && c.empty(at)
		case "truncation", "context_management", "transforms", "plugins":
			// The service may leave out what others refer to.
			sure = sure && (c.empty(at) || bytes.HasPrefix(body[at:], []byte(`"disabled"`)))
		}
		return jsonscan.ValueEnd(body, at)
	})
	return end > 0 && found == 1 && sure && len(body) < 1<<31
}

// object calls visit with each key, and where its value begins, of the object at i. visit gives
// where the value ends; below 0 ends it all. A key with escapes does too: it may be any.
func (c *conversation) object(i int, visit func(key []byte, at int) int) int {
	b := c.body
	if i >= len(b) || b[i] != '{' {
		return -1
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for i < len(b) && b[i] == '"' {
		start := i + 1
		if i = jsonscan.TextEnd(b, start); i < 0 {
			return -1
		}
		key := b[start : i-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			return -1
		}
		if i = space(b, i); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = space(b, i+1); i >= len(b) {
			return -1
		}
		if i = visit(key, i); i < 0 {
			return -1
		}
		var more bool
		if i, more = after(b, i, '}'); !more {
			return i
		}
	}
	return -1
}

// array calls visit with where each element of the array at i begins.
func (c *conversation) array(i int, visit func(at int) int) int {
	b := c.body
	if i = space(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for i < len(b) {
		if i = visit(i); i < 0 {
			return -1
		}
		var more bool
		if i, more = after(b, i, ']'); !more {
			return i
		}
	}
	return -1
}

// after gives what follows a member or an element that ends at i: the next one, or the end,
// below 0 where there is neither.
func after(b []byte, i int, closing byte) (next int, more bool) {
	i = space(b, i)
	switch {
	case i >= len(b):
		return -1, false
	case b[i] == ',':
		return space(b, i+1), true
	case b[i] == closing:
		return i + 1, false
	}
	return -1, false
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// readText reads the string at i.
func (c *conversation) readText(i int, t *text) int {
	t.Start, t.first = i+1, len(c.starts)
	if c.noting {
		c.starts = append(c.starts, uint32(i+1))
	}
	if t.End = c.scan(i + 1); t.End < 0 {
		return -1
	}
	c.spoken += t.End - t.Start
	if !c.noting {
		return t.End + 1
	}
	switch t.lines = len(c.starts) - t.first; {
	case t.lines > crowd(t.End-t.Start) || c.unicode && oddBreak(c.body[t.Start:t.End]):
		c.starts, t.lines, t.unread = c.starts[:t.first], 0, true
	default:
		if c.start(t.first+t.lines-1) == t.End { // nothing stands behind the last \n
			t.lines--
		} else {
			c.starts = append(c.starts, uint32(t.End+2))
		}
	}
	return t.End + 1
}

// members of a message that are looked at, each of which may be there once.
const (
	withRole = 1 << iota
	withContent
	withType
	withOutput
	withOthers
)

// readMessage reads an element and notes it. Below 0 it is one not to be looked into, and
// nothing was noted.
func (c *conversation) readMessage(i int) int {
	m, starts := message{from: len(c.texts)}, len(c.starts)
	c.call = false
	var kind, content, output llm.Span
	seen := 0
	end := c.object(i, func(key []byte, at int) int {
		bit, value := withOthers, (*llm.Span)(nil)
		var whose llm.Span
		switch string(key) {
		case "role":
			bit, value = withRole, &whose
		case "content":
			bit, value = withContent, &content
		case "type":
			if c.items {
				bit, value = withType, &kind
			}
		case "output":
			if c.items {
				bit, value = withOutput, &output
			}
		}
		if bit != withOthers && seen&bit != 0 {
			return -1
		}
		seen |= bit
		var end int
		switch bit {
		case withContent, withOutput:
			end = c.readContent(at, &m)
		case withOthers:
			end = c.readOther(key, at, &m)
		default:
			end = jsonscan.ValueEnd(c.body, at)
		}
		if value != nil {
			*value = llm.Span{Start: at, End: end}
		}
		if bit == withRole && end > 0 {
			m.role = roleOf(c.body[at:end])
		}
		return end
	})
	if end < 0 || !c.classify(&m, kind, seen) {
		c.texts, c.starts = c.texts[:m.from], c.starts[:starts]
		return -1
	}
	m.Span, m.to = llm.Span{Start: i, End: end}, len(c.texts)
	m.unread = slices.ContainsFunc(c.of(&m), func(t text) bool { return t.unread })
	m.bare = seen&(withOthers|withOutput) == 0 && m.to-m.from == 1 && c.body[content.Start] == '"'
	c.messages = append(c.messages, m)
	return end
}

// classify finds out whose a message is. It is false for what is not looked into.
func (c *conversation) classify(m *message, kind llm.Span, seen int) bool {
	switch string(c.body[kind.Start:kind.End]) {
	case "", `"message"`:
		if m.role == other || seen&withOutput != 0 {
			return false
		}
	case `"function_call_output"`, `"custom_tool_call_output"`:
		if seen&(withRole|withContent) != 0 {
			return false
		}
		m.role = tool
	case `"function_call"`, `"custom_tool_call"`:
		c.call = true
		return false
	default:
		return false
	}
	m.output = m.role == assistant
	return true
}

// readOther reads a member of a message that is no content.
func (c *conversation) readOther(key []byte, at int, m *message) int {
	switch string(key) {
	case "annotations", "logprobs":
		return c.readNotes(at, m)
	case "tool_calls":
		return c.readCalls(at)
	case "audio":
		c.beside = true
	case "name", "arguments", "input":
		if end := jsonscan.ValueEnd(c.body, at); c.items && end > 0 { // of a call, if any
			c.spoken += end - at
			return end
		}
	}
	return jsonscan.ValueEnd(c.body, at)
}

// readCalls reads the calls of tools of a chat completion, of which a model reads names and
// arguments.
func (c *conversation) readCalls(at int) int {
	end := -1
	if c.body[at] == '[' {
		end = c.array(at, func(at int) int {
			return c.object(at, func(key []byte, at int) int {
				if string(key) == "function" {
					return c.object(at, c.readCalled)
				}
				return jsonscan.ValueEnd(c.body, at)
			})
		})
	}
	if end < 0 { // it is of some other form
		c.beside = true
		return jsonscan.ValueEnd(c.body, at)
	}
	return end
}

// readCalled reads a member of what a call says.
func (c *conversation) readCalled(key []byte, at int) int {
	end := jsonscan.ValueEnd(c.body, at)
	if k := string(key); k == "name" || k == "arguments" {
		c.spoken += end - at
	}
	return end
}

// readContent reads what may be a string, null, or a list of parts.
func (c *conversation) readContent(i int, m *message) int {
	if len(c.texts) >= maxTexts {
		return -1
	}
	switch c.body[i] {
	case '"':
		c.texts = append(c.texts, text{})
		return c.readText(i, &c.texts[len(c.texts)-1])
	case 'n':
		return jsonscan.ValueEnd(c.body, i)
	case '[':
		return c.array(i, func(at int) int { return c.readPart(at, m) })
	}
	return -1
}

// readPart reads a part of a content. Below 0 its message is not looked into.
func (c *conversation) readPart(i int, m *message) int {
	var kind llm.Span
	var said text
	kinds, texts := 0, 0
	end := c.object(i, func(key []byte, at int) int {
		end := -1
		switch string(key) {
		case "type":
			kinds++
			end = jsonscan.ValueEnd(c.body, at)
			kind = llm.Span{Start: at, End: end}
		case "text":
			if texts++; c.body[at] == '"' {
				end = c.readText(at, &said)
			}
		case "annotations", "logprobs":
			end = c.readNotes(at, m)
		default:
			end = jsonscan.ValueEnd(c.body, at)
		}
		return end
	})
	if end < 0 || kinds != 1 {
		return -1
	}
	switch string(c.body[kind.Start:kind.End]) {
	case `"text"`, `"input_text"`, `"output_text"`:
		if texts != 1 || len(c.texts) == maxTexts {
			return -1
		}
		c.texts = append(c.texts, said)
	case `"image_url"`, `"input_image"`, `"image_file"`, `"input_audio"`, `"file"`, `"input_file"`, `"refusal"`, `"video_url"`, `"audio_url"`:
		if texts != 0 {
			return -1
		}
		c.beside = true
	default:
		return -1
	}
	return end
}

// readNotes reads what tells of a text by its characters or its tokens, which has to stay as it
// is then. null and an empty list or object tell nothing.
func (c *conversation) readNotes(i int, m *message) int {
	m.fixed = m.fixed || !c.empty(i)
	return jsonscan.ValueEnd(c.body, i)
}

// empty reports whether the value at i is null, or a list or an object with nothing in it.
func (c *conversation) empty(i int) bool {
	b := c.body
	if b[i] != '[' && b[i] != '{' {
		return b[i] == 'n'
	}
	i = space(b, i+1)
	return i < len(b) && (b[i] == ']' || b[i] == '}')
}

// of gives the texts of a message.
func (c *conversation) of(m *message) []text { return c.texts[m.from:m.to] }

// mayRefer reports whether a reference in message i may name text of message source, -1 for the
// instructions. A prompt of the system or a developer says what others are to obey: it does not
// hang on what stands in text of theirs. The other way round nothing is lent: what a user or a
// tool says stays theirs, wherever the same words stand.
func (c *conversation) mayRefer(i, source int) bool {
	return !c.prompt(i) || source < 0 || c.prompt(source)
}

// prompt reports whether a message is the system's or a developer's.
func (c *conversation) prompt(i int) bool {
	r := c.messages[i].role
	return r == system || r == developer
}

// repeats reports whether two messages are the same role and the same text, and nothing else.
func (c *conversation) repeats(a, b *message) bool {
	return a.bare && b.bare && a.role == b.role && bytes.Equal(c.textOf(a), c.textOf(b))
}

// textOf gives the text of a bare message.
func (c *conversation) textOf(m *message) []byte {
	s := c.texts[m.from]
	return c.body[s.Start:s.End]
}

// size is how long the texts of a message are, in bytes as they stand in the body.
func (c *conversation) size(m *message) (n int) {
	for _, s := range c.of(m) {
		n += s.End - s.Start
	}
	return n
}
