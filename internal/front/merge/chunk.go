package merge

import (
	"errors"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// maxDepth bounds the nesting of a chunk. Those that have more are left alone.
const maxDepth = 64

// field is a place where a chunk can have text.
type field uint8

const (
	none field = iota
	content
	reasoningContent
	reasoning
	refusal
	completion
	arguments
	fields
)

// chunk is an event that can perhaps be joined with another.
type chunk struct {
	raw     []byte
	text    [fields]llm.Span // in raw, without the quotes; zero where absent
	field   field            // the one that has text; none where all are empty
	padding llm.Span         // the value of obfuscation, with its quotes
	choices int
}

func (c *chunk) has(f field) bool { return c.text[f].End > 0 }

// errUnfit ends the reading of an event that cannot be joined.
var errUnfit = errors.New("cannot be joined")

// parse reads an event. Where ok is false, only raw is set.
func parse(raw []byte) (c chunk, ok bool) {
	object, ok := sse.OneField(raw)
	if ok {
		c.raw = raw
		ok = c.readChunk(object) == nil && c.choices == 1
	}
	if !ok {
		c = chunk{raw: raw}
	}
	return c, ok
}

// members visits the object at v.
func (c *chunk) members(v llm.Span, visit func(key []byte, v llm.Span) error) error {
	return jsonscan.Members(c.raw[v.Start:v.End], maxDepth, func(key []byte, m llm.Span) error {
		return visit(key, llm.Span{Start: v.Start + m.Start, End: v.Start + m.End})
	})
}

// only visits the one element of the array at v; there may also be none.
func (c *chunk) only(v llm.Span, visit func(v llm.Span) error) (err error) {
	if c.raw[v.Start] != '[' {
		return errUnfit
	}
	n := 0
	jsonscan.Elements(c.raw[v.Start:v.End], func(e llm.Span) bool {
		if n++; n > 1 {
			err = errUnfit
			return false
		}
		err = visit(llm.Span{Start: v.Start + e.Start, End: v.Start + e.End})
		return err == nil
	})
	return err
}

func (c *chunk) readChunk(v llm.Span) error {
	return c.members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "choices":
			return c.only(v, c.readChoice)
		case "obfuscation":
			if c.padding.End > 0 || c.raw[v.Start] != '"' {
				return errUnfit
			}
			c.padding = v
			return nil
		case "usage", "error":
			return c.empty(v)
		default:
			return c.scalar(v)
		}
	})
}

func (c *chunk) readChoice(v llm.Span) error {
	c.choices++
	return c.members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "delta":
			return c.readDelta(v)
		case "text":
			return c.readText(completion, v)
		case "finish_reason", "logprobs":
			return c.empty(v)
		case "index":
			return c.scalar(v)
		case "content_filter_results":
			return nil // a verdict, which holds for the joined text if for both
		default:
			return c.empty(v)
		}
	})
}

func (c *chunk) readDelta(v llm.Span) error {
	return c.members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "content":
			return c.readText(content, v)
		case "reasoning_content":
			return c.readText(reasoningContent, v)
		case "reasoning":
			return c.readText(reasoning, v)
		case "refusal":
			return c.readText(refusal, v)
		case "tool_calls":
			if c.empty(v) == nil {
				return nil
			}
			return c.only(v, c.readCall)
		case "role":
			return c.scalar(v)
		default:
			return c.empty(v)
		}
	})
}

func (c *chunk) readCall(v llm.Span) error {
	return c.members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "function":
			return c.readFunction(v)
		case "index", "id", "type":
			return c.scalar(v)
		default:
			return c.empty(v)
		}
	})
}

func (c *chunk) readFunction(v llm.Span) error {
	return c.members(v, func(key []byte, v llm.Span) error {
		if string(key) == "arguments" {
			return c.readText(arguments, v)
		}
		return c.empty(v) // a name opens a call, and a second one another
	})
}

// readText takes the string at v as the text of f. One chunk can have text in
// one place only, since that of two could not be told apart from a repetition.
func (c *chunk) readText(f field, v llm.Span) error {
	if c.raw[v.Start] != '"' {
		return c.empty(v)
	}
	if c.has(f) {
		return errUnfit
	}
	c.text[f] = llm.Span{Start: v.Start + 1, End: v.End - 1}
	if v.End-v.Start > 2 {
		if c.field != none {
			return errUnfit
		}
		c.field = f
	}
	return nil
}

// empty refuses a value that says anything. What a reader would add up or list
// must not be in two chunks that are joined, even if it is equal.
func (c *chunk) empty(v llm.Span) error {
	switch string(c.raw[v.Start:v.End]) {
	case "null", `""`, "[]", "{}":
		return nil
	default:
		return errUnfit
	}
}

// scalar refuses an array or object that is not empty.
func (c *chunk) scalar(v llm.Span) error {
	if b := c.raw[v.Start]; b == '[' || b == '{' {
		return c.empty(v)
	}
	return nil
}
