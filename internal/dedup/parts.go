package dedup

import (
	"math/bits"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// readContent reads what may be a string, null, or a list of parts. A content that is inner is
// that of a part.
func (c *conversation) readContent(i int, m *message, inner bool) int {
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
		return c.array(i, func(at int) int { return c.readPart(at, m, inner) })
	}
	return -1
}

// part is a part of a content while it is read.
type part struct {
	kind    llm.Span
	said    text
	seen    members
	thought bool // it says that its text is one
	odd     bool // a content in it cannot be read
}

// readPart reads a part of a content. Below 0 its message is not looked into.
func (c *conversation) readPart(i int, m *message, inner bool) int {
	var p part
	texts, starts := len(c.texts), len(c.starts)
	c.parts++
	end := c.object(i, func(key []byte, at int) int { return c.readPartMember(&p, key, at, m, inner) })
	if end < 0 {
		return -1
	}
	switch e := c.element(&p); e {
	case dialect.TextMember:
		if !p.seen.has(dialect.TextMember) || len(c.texts) != texts || texts == maxTexts {
			return -1
		}
		if !p.thought {
			c.mixed = c.mixed || p.seen&^(1<<dialect.TypeMember|1<<dialect.TextMember|1<<dialect.MarkMember) != 0
			c.texts = append(c.texts, p.said)
			return end
		}
		fallthrough
	case dialect.ThoughtMember:
		m.fixed, c.beside = true, true
	case dialect.ResultMember:
		if p.odd || inner || p.seen.has(dialect.TextMember) {
			return -1
		}
		c.mixed = true
		return end
	case dialect.CallMember, dialect.MediaMember:
		if p.seen.has(dialect.TextMember) {
			return -1
		}
		if e == dialect.MediaMember {
			c.beside, m.rich = true, true
		}
	default:
		return -1
	}
	c.mixed = true
	c.texts, c.starts = c.texts[:texts], c.starts[:starts]
	return end
}

// element gives what a part is: by its type, or where its dialect has none by the one member
// that it is.
func (c *conversation) element(p *part) dialect.Word {
	if c.shape.Typed() {
		return c.shape.IsText(dialect.PartTypes, c.body[p.kind.Start:p.kind.End])
	}
	switch said := p.seen & (1<<dialect.TextMember | 1<<dialect.ResultMember | 1<<dialect.CallMember | 1<<dialect.MediaMember); bits.OnesCount32(uint32(said)) {
	case 1:
		return dialect.Word(bits.TrailingZeros32(uint32(said)))
	default:
		return 0
	}
}

func (c *conversation) readPartMember(p *part, key []byte, at int, m *message, inner bool) int {
	member := c.shape.Is(dialect.InPart, key)
	if p.seen&once>>member&1 != 0 {
		return -1
	}
	p.seen |= 1 << member
	switch member {
	case dialect.TypeMember:
		end := jsonscan.ValueEnd(c.body, at)
		p.kind = llm.Span{Start: at, End: max(end, at)}
		return end
	case dialect.TextMember:
		if c.body[at] != '"' {
			return -1
		}
		return c.readText(at, &p.said)
	case dialect.ContentMember:
		return c.readInner(p, at, m, inner)
	case dialect.ResultMember:
		return c.readResult(at, m)
	case dialect.CallMember:
		return c.readCalls(at)
	case dialect.SpokenMember:
		return c.readSpoken(at)
	case dialect.BindingMember:
		return c.readBinding(at, m)
	case dialect.ThoughtMember:
		p.thought = c.body[at] == 't'
	case dialect.MarkMember:
		end := jsonscan.ValueEnd(c.body, at)
		if end > 0 && !c.empty(at) {
			m.marks, m.mark = m.marks+1, llm.Span{Start: at, End: end}
		}
		return end
	}
	return jsonscan.ValueEnd(c.body, at)
}

// readInner reads the content of a part, which is one of results of tools. That of any other
// may be of another form, and what the part is may not be known yet.
func (c *conversation) readInner(p *part, at int, m *message, inner bool) int {
	texts, starts := len(c.texts), len(c.starts)
	if known := p.kind.End > 0; !inner && (!known || c.element(p) == dialect.ResultMember) {
		if end := c.readContent(at, m, true); end > 0 {
			return end
		}
		c.texts, c.starts = c.texts[:texts], c.starts[:starts]
	}
	p.odd = true
	return jsonscan.ValueEnd(c.body, at)
}

// readResult reads an object with what a tool said.
func (c *conversation) readResult(at int, m *message) int {
	outputs := 0
	return c.object(at, func(key []byte, at int) int {
		switch c.shape.Is(dialect.InResult, key) {
		case dialect.OutputMember:
			if outputs++; outputs > 1 {
				return -1
			}
			return c.readOutput(at)
		case dialect.SpokenMember:
			return c.readSpoken(at)
		case dialect.MediaMember:
			c.beside, m.rich = true, true
		}
		return jsonscan.ValueEnd(c.body, at)
	})
}

// readOutput reads what a tool said as an object. Its text is the member whose name says so: of
// several nobody knows which counts.
func (c *conversation) readOutput(at int) int {
	texts := 0
	return c.object(at, func(key []byte, at int) int {
		if c.shape.Is(dialect.InOutput, key) != dialect.TextMember || c.body[at] != '"' {
			return c.readSpoken(at)
		}
		if texts++; texts > 1 || len(c.texts) >= maxTexts {
			return -1
		}
		c.texts = append(c.texts, text{})
		return c.readText(at, &c.texts[len(c.texts)-1])
	})
}

// readCalls reads the calls of tools of a message, or one, of which a model reads names and
// arguments.
func (c *conversation) readCalls(at int) int {
	var end int
	if c.body[at] == '[' {
		end = c.array(at, func(at int) int { return c.object(at, c.readCall) })
	} else {
		end = c.object(at, c.readCall)
	}
	if end < 0 { // it is of some other form
		c.beside = true
		return jsonscan.ValueEnd(c.body, at)
	}
	return end
}

// readCall reads a member of a call, which may be an object that says what is called.
func (c *conversation) readCall(key []byte, at int) int {
	if c.shape.Is(dialect.InCall, key) == dialect.CallMember {
		return c.object(at, c.readCalled)
	}
	return c.readCalled(key, at)
}

func (c *conversation) readCalled(key []byte, at int) int {
	if c.shape.Is(dialect.InCall, key) == dialect.SpokenMember {
		return c.readSpoken(at)
	}
	return jsonscan.ValueEnd(c.body, at)
}

// readSpoken reads what a model reads as it stands.
func (c *conversation) readSpoken(at int) int {
	end := jsonscan.ValueEnd(c.body, at)
	if end > 0 {
		c.spoken += end - at
	}
	return end
}

// readBinding reads what tells of a text by its characters or its tokens, or signs what is said,
// which has to stay as it is then. null and an empty list or object tell nothing.
func (c *conversation) readBinding(i int, m *message) int {
	m.fixed = m.fixed || !c.empty(i)
	return jsonscan.ValueEnd(c.body, i)
}
