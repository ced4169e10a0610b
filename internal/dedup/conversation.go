package dedup

import (
	"bytes"
	"slices"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// conversation is where the messages of a request stand in its body. It is read in one pass
// that decodes nothing. It takes the body for valid JSON; of any other it may find something
// or nothing, and does no harm.
type conversation struct {
	body     []byte
	shape    *dialect.Shape
	messages []message
	texts    []text // of all messages in their order
	more     bool   // there are more messages than maxMessages

	// prompt is what stands beside the messages and before all of them, prompted its texts.
	prompt   message
	prompted []text

	// noting has the lines of texts be noted: starts has where each begins, and behind those
	// of a text where one more would, two bytes after its end. A line is known by its place
	// there.
	noting bool
	starts []uint32

	omitted bool // the service may leave out what stands before an element

	unicode bool // the text that was read last may have an escape \u

	// spoken is how many bytes a model reads of the request, as they stand in the body: texts,
	// names and arguments of calls of tools, and what tools there are. beside says that it reads
	// what has no such length, such as images, or is not known.
	spoken int
	beside bool

	// Of the message that was read last: it is a call of a tool, how many parts it has, and
	// whether there is more in them than texts.
	call  bool
	parts int
	mixed bool
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

// message is an element of the list of messages.
type message struct {
	llm.Span
	role dialect.Word // whose it is; nobody's of one that is not looked into

	// texts[from:to] are its texts.
	from, to int

	bare bool // it is a role and one text and nothing else but a mark
	// marks is how many marks for the service's cache of prompts stand in it, and mark where the
	// last one is.
	marks  int
	mark   llm.Span
	fixed  bool // its text is not to be changed
	output bool // it may be the model's
	rich   bool // it has what is no text, such as an image

	voice dialect.Word // its role, also where it is not looked into

	// unread says that a text of it is: nobody can say which number a line of it has.
	unread bool
}

// read finds the messages, and where noting says so the lines of their texts. It is false where
// the request has none that are to be looked at.
func (c *conversation) read(op llm.Operation, body []byte, noting bool) bool {
	if c.shape = known.ShapeOf(op); c.shape == nil {
		return false
	}
	c.body, c.messages, c.texts, c.prompt, c.prompted = body, c.messages[:0], c.texts[:0], message{}, c.prompted[:0]
	c.noting, c.starts, c.more = noting, c.starts[:0], false
	c.spoken, c.beside, c.omitted = 0, false, false
	if noting {
		c.starts = slices.Grow(c.starts, len(body)/32)
	}
	lists, prompts, sure := 0, 0, true
	end := c.object(space(body, 0), func(key []byte, at int) int {
		switch c.shape.Is(dialect.InRequest, key) {
		case dialect.ListMember:
			if lists++; body[at] == '[' {
				return c.array(at, c.readElement)
			}
			sure = false
		case dialect.PromptMember:
			prompts++
			return c.readPrompt(at)
		case dialect.SpokenMember:
			return c.readSpoken(at)
		case dialect.EarlierMember:
			// There are messages before these, which are not to be seen.
			sure = sure && (c.empty(at) || c.begins(at))
		case dialect.OmittingMember:
			// The service may leave out what others refer to.
			sure = sure && (c.empty(at) || bytes.HasPrefix(body[at:], []byte(`"disabled"`)))
		}
		return jsonscan.ValueEnd(body, at)
	})
	return end > 0 && lists == 1 && prompts <= 1 && sure && !c.omitted && len(body) < 1<<31
}

// begins reports whether what a request goes on from, at i, begins with it: a thread that is
// to be created, and has no messages but these.
func (c *conversation) begins(i int) bool {
	types, create := 0, false
	return c.object(i, func(key []byte, at int) int {
		if string(key) == "type" {
			types, create = types+1, bytes.HasPrefix(c.body[at:], []byte(`"create"`))
		}
		return jsonscan.ValueEnd(c.body, at)
	}) > 0 && types == 1 && create
}

// readElement reads an element of the list of messages.
func (c *conversation) readElement(at int) int {
	if c.more = c.more || len(c.messages) == maxMessages; c.more {
		c.beside, c.call = true, false
		return c.pass(at)
	}
	end := c.readMessage(at)
	if end < 0 { // it is not looked into
		m := message{output: true, fixed: true, from: len(c.texts), to: len(c.texts)}
		if end = c.pass(at); end < 0 {
			return -1
		}
		m.Span = llm.Span{Start: at, End: end}
		if c.shape.Joins {
			m.voice = c.shape.IsText(dialect.Roles, jsonscan.Member(c.body[at:end], "role"))
		}
		c.messages = append(c.messages, m)
		c.beside = c.beside || !c.call
	}
	return end
}

// pass gives where an element ends that is not looked into. One at which the service leaves out
// what stands before it, or that has a part at which it does, is always such a one.
func (c *conversation) pass(at int) (end int) {
	if end = jsonscan.ValueEnd(c.body, at); end < 0 || c.call || c.omitted {
		return end
	}
	element := c.body[at:end]
	c.omitted = c.omits(dialect.MessageTypes, element)
	for part := range jsonscan.ElementsOf(jsonscan.Member(element, "content")) {
		c.omitted = c.omitted || c.omits(dialect.PartTypes, part)
	}
	return end
}

func (c *conversation) omits(of dialect.Place, element []byte) bool {
	kind := jsonscan.Member(element, "type")
	for name := range c.shape.Names(of, dialect.OmittingMember) {
		if dialect.Is(kind, name) {
			return true
		}
	}
	return false
}

// readPrompt reads what stands beside the messages: a content, or a message that has one. Of
// any other there are no texts.
func (c *conversation) readPrompt(at int) int {
	texts, starts := c.texts, len(c.starts)
	c.texts, c.prompt = c.prompted, message{role: dialect.BySystem}
	var end int
	if c.body[at] != '{' {
		end = c.readContent(at, &c.prompt, false)
	} else {
		contents := 0
		end = c.object(at, func(key []byte, at int) int {
			if c.shape.Is(dialect.InMessage, key) != dialect.ContentMember {
				return jsonscan.ValueEnd(c.body, at)
			}
			if contents++; contents > 1 {
				return -1
			}
			return c.readContent(at, &c.prompt, false)
		})
	}
	if end < 0 {
		c.texts, c.starts, c.beside = c.texts[:0], c.starts[:starts], true
		end = jsonscan.ValueEnd(c.body, at)
	}
	c.prompted, c.texts = c.texts, texts
	c.prompt.unread = unread(c.prompted)
	return end
}

// once are members of a message, or of a part, that may be there once each.
const once = 1<<dialect.RoleMember | 1<<dialect.TypeMember | 1<<dialect.ContentMember | 1<<dialect.OutputMember | 1<<dialect.TextMember | 1<<dialect.ResultMember | 1<<dialect.CallMember | 1<<dialect.MediaMember

// members are those that are there, a bit for each.
type members uint32

func (s members) has(m dialect.Word) bool { return s>>m&1 != 0 }

// readMessage reads an element and notes it. Below 0 it is one not to be looked into, and
// nothing was noted.
func (c *conversation) readMessage(i int) int {
	m, starts := message{from: len(c.texts)}, len(c.starts)
	c.call, c.parts, c.mixed = false, 0, false
	var kind, role llm.Span
	var seen members
	end := c.object(i, func(key []byte, at int) int {
		member := c.shape.Is(dialect.InMessage, key)
		if seen&once>>member&1 != 0 {
			return -1
		}
		seen |= 1 << member
		switch member {
		case dialect.ContentMember, dialect.OutputMember:
			return c.readContent(at, &m, false)
		case dialect.CallMember:
			return c.readCalls(at)
		case dialect.SpokenMember:
			return c.readSpoken(at)
		case dialect.BindingMember:
			return c.readBinding(at, &m)
		case dialect.MediaMember:
			c.beside, m.rich = true, true
		}
		end := jsonscan.ValueEnd(c.body, at)
		switch member {
		case dialect.RoleMember:
			role = llm.Span{Start: at, End: end}
		case dialect.TypeMember:
			kind = llm.Span{Start: at, End: end}
		}
		return end
	})
	if end < 0 || !c.classify(&m, c.body[kind.Start:kind.End], c.body[role.Start:role.End], seen) {
		c.texts, c.starts = c.texts[:m.from], c.starts[:starts]
		return -1
	}
	m.Span, m.to = llm.Span{Start: i, End: end}, len(c.texts)
	m.unread = unread(c.of(&m))
	m.bare = seen&^(1<<dialect.RoleMember|1<<dialect.ContentMember|1<<dialect.TypeMember) == 0 && m.to-m.from == 1 && c.parts <= 1 && !c.mixed
	c.messages = append(c.messages, m)
	return end
}

// classify finds out whose a message is. It is false for what is not looked into.
func (c *conversation) classify(m *message, kind, role []byte, seen members) bool {
	switch c.shape.IsText(dialect.MessageTypes, kind) {
	case dialect.SaidElement:
		if m.role = c.shape.IsText(dialect.Roles, role); m.role == dialect.Nobody || seen.has(dialect.OutputMember) {
			return false
		}
	case dialect.ResultMember:
		if seen.has(dialect.RoleMember) || seen.has(dialect.ContentMember) {
			return false
		}
		m.role = dialect.ByTool
	case dialect.CallMember:
		c.call = true
		return false
	default:
		return false
	}
	m.voice, m.output = m.role, m.role == dialect.ByModel
	return true
}

// of gives the texts of a message.
func (c *conversation) of(m *message) []text { return c.texts[m.from:m.to] }

// joined reports whether a message is one for the model with the one that is sent before it.
func (c *conversation) joined(before, m *message) bool {
	return c.shape.Joins && before.voice == m.voice && m.voice != dialect.Nobody
}

// numbering is by what references name messages, and lines of them, as they are sent: those that
// the service makes one have one number, and their lines go on.
type numbering struct {
	sent int  // the number of a message, from 1
	base int  // how many lines of what it is joined with stand before its own
	odd  bool // nobody can say how many stand before those that are joined with it
}

// follow goes on to a message, before which another one is sent, or nil. lines are how many the
// latter ends behind.
func (n *numbering) follow(c *conversation, before, m *message, lines int) {
	if before != nil && c.joined(before, m) {
		n.base, m.unread = lines, m.unread || n.odd
	} else {
		n.sent, n.base = n.sent+1, 0
	}
	n.odd = m.unread || m.role == dialect.Nobody
}

// mayRefer reports whether a reference in message i may name text of message source, -1 for the
// prompt beside them. A prompt of the system or a developer says what others are to obey: it does not
// hang on what stands in text of theirs. The other way round nothing is lent: what a user or a
// tool says stays theirs, wherever the same words stand.
func (c *conversation) mayRefer(i, source int) bool {
	return !c.isPrompt(i) || source < 0 || c.isPrompt(source)
}

// isPrompt reports whether a message is the system's or a developer's.
func (c *conversation) isPrompt(i int) bool {
	r := c.messages[i].role
	return r == dialect.BySystem || r == dialect.ByDeveloper
}

// covered reports whether no mark of a message for the service's cache of prompts is lost where
// it goes and another, which is the same otherwise, stays: how long a cache holds stands in it.
func (c *conversation) covered(m, stays *message) bool {
	return m.marks == 0 || m.marks == 1 && stays.marks == 1 && bytes.Equal(c.body[m.mark.Start:m.mark.End], c.body[stays.mark.Start:stays.mark.End])
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

// unread reports whether the lines of one of the texts are not known.
func unread(texts []text) bool {
	return slices.ContainsFunc(texts, func(t text) bool { return t.unread })
}

// size is how long the texts of a message are, in bytes as they stand in the body.
func (c *conversation) size(m *message) int { return size(c.of(m)) }

func size(texts []text) (n int) {
	for _, s := range texts {
		n += s.End - s.Start
	}
	return n
}
