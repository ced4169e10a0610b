package chat

import "sluice/internal/dialect"

// replayed makes the chunks of a chat or a completion.
type replayed struct {
	dialect.Replay
	chat  bool
	usage bool // was asked for

	head       [5][]byte // the reply's members that every chunk has
	choices    []byte
	tokens     []byte // the reply's usage
	others     bool   // it has other members, which the first chunk tells
	start, end int    // in dst: what every chunk begins with
}

// headNames are the members of a reply that every chunk has.
var headNames = [...]string{"id", "created", "model", "service_tier", "system_fingerprint"}

// reply makes two chunks of each choice: what it says, and why it finished.
func (c *replayed) reply(body []byte) bool {
	if !dialect.EachMember(body, c.read) {
		return false
	}
	c.begin(body)
	count := 0
	if !dialect.EachElement(c.choices, func(n int, raw []byte) bool {
		count++
		return c.choice(n, raw)
	}) || count == 0 {
		return false
	}
	if c.usage && dialect.OrNil(c.tokens) != nil {
		c.again()
		c.Text(`,"choices":[]`)
		c.Field("usage", c.tokens)
		c.Text("}")
		c.EndEvent()
	}
	c.Text("data: [DONE]")
	c.EndEvent()
	return true
}

// read notes a member of the reply.
func (c *replayed) read(key, value []byte) bool {
	switch string(key) {
	case "object":
	case "error":
		return dialect.OrNil(value) == nil
	case "choices":
		c.choices = value
	case "usage":
		c.tokens = value
	default:
		if i := headIndex(key); i >= 0 {
			c.head[i] = value
		} else {
			c.others = true
		}
	}
	return true
}

func headIndex(key []byte) int {
	for i, name := range headNames {
		if string(key) == name {
			return i
		}
	}
	return -1
}

// begin begins the first chunk, which has all that is not about one choice.
func (c *replayed) begin(body []byte) {
	c.start = len(c.Dst)
	c.Text("data: {")
	if c.chat {
		c.Text(`"object":"chat.completion.chunk"`)
	} else {
		c.Text(`"object":"text_completion"`)
	}
	for i, value := range c.head {
		if value != nil {
			c.Field(headNames[i], value)
		}
	}
	c.end = len(c.Dst)
	if !c.others {
		return
	}
	dialect.EachMember(body, func(key, value []byte) bool {
		switch string(key) {
		case "object", "error", "choices", "usage":
		default:
			if headIndex(key) < 0 {
				c.Member(key, value)
			}
		}
		return true
	})
}

// again begins another chunk.
func (c *replayed) again() { c.Dst = append(c.Dst, c.Dst[c.start:c.end]...) }

// choice is a choice of a reply.
type choice struct{ index, content, logprobs, finish []byte }

// choice makes the chunks of the choice at place n.
func (c *replayed) choice(n int, raw []byte) bool {
	var ch choice
	others := false
	if !dialect.EachMember(raw, func(key, value []byte) bool {
		switch string(key) {
		case "index":
			ch.index = value
		case "logprobs":
			ch.logprobs = value
		case "finish_reason":
			ch.finish = value
		case "delta": // some servers send an empty one
		case c.contentName():
			ch.content = value
		default:
			others = true
		}
		return true
	}) || !dialect.IsText(ch.finish) || ch.index != nil && !dialect.IsNumber(ch.index) {
		return false
	}
	if n > 0 {
		c.again()
	}
	c.beginChoice(n, &ch)
	if c.chat && !c.delta(ch.content) || !c.chat && !c.plain(ch.content) {
		return false
	}
	c.Text(`,"logprobs":`)
	c.JSONOr(ch.logprobs, "null")
	c.Text(`,"finish_reason":null`)
	c.endChunk()

	c.again()
	c.beginChoice(n, &ch)
	if c.chat {
		c.Text(`,"delta":{}`)
	} else {
		c.Text(`,"text":""`)
	}
	c.Text(`,"logprobs":null`)
	c.Field("finish_reason", ch.finish)
	if others {
		dialect.EachMember(raw, func(key, value []byte) bool {
			switch string(key) {
			case "index", "logprobs", "finish_reason", "delta", c.contentName():
			default:
				c.Member(key, value)
			}
			return true
		})
	}
	c.endChunk()
	return true
}

func (c *replayed) contentName() string {
	if c.chat {
		return "message"
	}
	return "text"
}

func (c *replayed) beginChoice(n int, ch *choice) {
	c.Text(`,"choices":[{"index":`)
	if ch.index != nil {
		c.JSON(ch.index)
	} else {
		c.Number(n)
	}
}

func (c *replayed) endChunk() {
	c.Text("}]")
	if c.usage {
		c.Text(`,"usage":null`)
	}
	c.Text("}")
	c.EndEvent()
}

// plain appends the text of a completion.
func (c *replayed) plain(text []byte) bool {
	c.Field("text", text)
	return dialect.IsText(text)
}

// delta appends all that a message says as one delta.
func (c *replayed) delta(message []byte) bool {
	c.Text(`,"delta":{"role":`)
	c.JSONOr(dialect.Find(message, "role"), `"assistant"`)
	if !dialect.EachMember(message, func(key, value []byte) bool {
		switch {
		case string(key) == "role":
		case string(key) == "tool_calls" && dialect.OrNil(value) != nil:
			return c.toolCalls(value)
		default:
			c.Member(key, value)
		}
		return true
	}) {
		return false
	}
	c.Text("}")
	return true
}

// toolCalls appends the calls of a message. In a stream each has its index.
func (c *replayed) toolCalls(calls []byte) bool {
	c.Text(`,"tool_calls":[`)
	if !dialect.EachElement(calls, func(n int, call []byte) bool {
		if n > 0 {
			c.Text(",")
		}
		c.Text(`{"index":`)
		if index := dialect.Find(call, "index"); dialect.IsNumber(index) {
			c.JSON(index)
		} else {
			c.Number(n)
		}
		ok := dialect.EachMember(call, func(key, value []byte) bool {
			if string(key) != "index" {
				c.Member(key, value)
			}
			return true
		})
		c.Text("}")
		return ok
	}) {
		return false
	}
	c.Text("]")
	return true
}
