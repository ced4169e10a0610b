package chat

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// The places where a chunk can have text.
const (
	inContent = iota
	inReasoningContent
	inReasoning
	inRefusal
	inCompletion
	inArguments
)

// fragment is a chunk that is read as one.
type fragment struct {
	dialect.Fragment
	choices int
}

// Fragment implements dialect.Streamed: a chunk with one choice and no finish reason, usage or
// log probabilities, whose text is one of the delta's content, reasoning_content, reasoning or
// refusal, the choice's text, or the arguments of the only tool call, which must not be the one
// that opens the call by naming its function. What is thought may stand in reasoning_details once
// more.
func (*streams) Fragment(raw []byte) (dialect.Fragment, bool) {
	object, ok := sse.OneField(raw)
	if !ok {
		return dialect.Fragment{}, false
	}
	c := fragment{Fragment: dialect.Fragment{Raw: raw}}
	ok = c.readChunk(object) == nil && c.choices == 1 && c.repeats()
	return c.Fragment, ok
}

func (c *fragment) readChunk(v llm.Span) error {
	return c.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "choices":
			return c.Only(v, c.readChoice)
		case "obfuscation":
			return c.Vary(0, '"', v) // what OpenAI pads chunks with
		case "usage", "error":
			return c.Empty(v)
		default:
			return c.Scalar(v)
		}
	})
}

func (c *fragment) readChoice(v llm.Span) error {
	c.choices++
	return c.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "delta":
			return c.readDelta(v)
		case "text":
			return c.Piece(inCompletion, v)
		case "finish_reason", "logprobs":
			return c.Empty(v)
		case "index":
			return c.Scalar(v)
		case "content_filter_results":
			return nil // a verdict, which holds for the joined text if for both
		default:
			return c.Empty(v)
		}
	})
}

func (c *fragment) readDelta(v llm.Span) error {
	return c.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "content":
			return c.Piece(inContent, v)
		case "reasoning_content":
			return c.Piece(inReasoningContent, v)
		case "reasoning":
			return c.Piece(inReasoning, v)
		case "refusal":
			return c.Piece(inRefusal, v)
		case "reasoning_details":
			if c.Empty(v) == nil {
				return nil
			}
			return c.Only(v, c.readDetail)
		case "tool_calls":
			if c.Empty(v) == nil {
				return nil
			}
			return c.Only(v, c.readCall)
		case "role":
			return c.Scalar(v)
		default:
			return c.Empty(v)
		}
	})
}

// readDetail reads an entry that has a piece of a thought and, since a signature ends it, none.
func (c *fragment) readDetail(v llm.Span) error {
	err := c.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "text":
			if c.Again.End > 0 || c.Raw[v.Start] != '"' {
				return dialect.ErrUnfit
			}
			c.Again = llm.Span{Start: v.Start + 1, End: v.End - 1}
			return nil
		case "type", "index", "id", "format":
			return c.Scalar(v)
		default:
			return c.Empty(v)
		}
	})
	if err == nil && c.Again.End == 0 {
		return dialect.ErrUnfit
	}
	return err
}

// repeats reports whether the text of an entry, if there is one, is that which is thought.
func (c *fragment) repeats() bool {
	if c.Again.End == 0 {
		return true
	}
	place := int(c.Full) - 1
	if place != inReasoningContent && place != inReasoning {
		return false
	}
	text := c.Text[place]
	return text.End < c.Again.Start && bytes.Equal(c.Value(text), c.Value(c.Again))
}

func (c *fragment) readCall(v llm.Span) error {
	return c.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "function":
			return c.readFunction(v)
		case "index", "id", "type":
			return c.Scalar(v)
		default:
			return c.Empty(v)
		}
	})
}

func (c *fragment) readFunction(v llm.Span) error {
	return c.Members(v, func(key []byte, v llm.Span) error {
		if string(key) == "arguments" {
			return c.Piece(inArguments, v)
		}
		return c.Empty(v) // a name opens a call, and a second one another
	})
}
