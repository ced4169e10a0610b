package replay

// chunks makes the chunks of a chat or a completion.
type chunks struct {
	writer
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
func (c *chunks) reply(body []byte) bool {
	if !members(body, c.read) {
		return false
	}
	c.begin(body)
	count := 0
	if !elements(c.choices, func(n int, raw []byte) bool {
		count++
		return c.choice(n, raw)
	}) || count == 0 {
		return false
	}
	if c.usage && !null(c.tokens) {
		c.again()
		c.text(`,"choices":[]`)
		c.field("usage", c.tokens)
		c.text("}")
		c.endEvent()
	}
	c.text("data: [DONE]")
	c.endEvent()
	return true
}

// read notes a member of the reply.
func (c *chunks) read(key, value []byte) bool {
	switch string(key) {
	case "object":
	case "error":
		return null(value)
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
func (c *chunks) begin(body []byte) {
	c.start = len(c.dst)
	c.text("data: {")
	if c.chat {
		c.text(`"object":"chat.completion.chunk"`)
	} else {
		c.text(`"object":"text_completion"`)
	}
	for i, value := range c.head {
		if value != nil {
			c.field(headNames[i], value)
		}
	}
	c.end = len(c.dst)
	if !c.others {
		return
	}
	members(body, func(key, value []byte) bool {
		switch string(key) {
		case "object", "error", "choices", "usage":
		default:
			if headIndex(key) < 0 {
				c.member(key, value)
			}
		}
		return true
	})
}

// again begins another chunk.
func (c *chunks) again() { c.dst = append(c.dst, c.dst[c.start:c.end]...) }

// choice is a choice of a reply.
type choice struct{ index, content, logprobs, finish []byte }

// choice makes the chunks of the choice at place n.
func (c *chunks) choice(n int, raw []byte) bool {
	var ch choice
	others := false
	if !members(raw, func(key, value []byte) bool {
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
	}) || !isString(ch.finish) || ch.index != nil && !isNumber(ch.index) {
		return false
	}
	if n > 0 {
		c.again()
	}
	c.beginChoice(n, &ch)
	if c.chat && !c.delta(ch.content) || !c.chat && !c.plain(ch.content) {
		return false
	}
	c.text(`,"logprobs":`)
	c.jsonOr(ch.logprobs, "null")
	c.text(`,"finish_reason":null`)
	c.endChunk()

	c.again()
	c.beginChoice(n, &ch)
	if c.chat {
		c.text(`,"delta":{}`)
	} else {
		c.text(`,"text":""`)
	}
	c.text(`,"logprobs":null`)
	c.field("finish_reason", ch.finish)
	if others {
		members(raw, func(key, value []byte) bool {
			switch string(key) {
			case "index", "logprobs", "finish_reason", "delta", c.contentName():
			default:
				c.member(key, value)
			}
			return true
		})
	}
	c.endChunk()
	return true
}

func (c *chunks) contentName() string {
	if c.chat {
		return "message"
	}
	return "text"
}

func (c *chunks) beginChoice(n int, ch *choice) {
	c.text(`,"choices":[{"index":`)
	if ch.index != nil {
		c.json(ch.index)
	} else {
		c.number(n)
	}
}

func (c *chunks) endChunk() {
	c.text("}]")
	if c.usage {
		c.text(`,"usage":null`)
	}
	c.text("}")
	c.endEvent()
}

// plain appends the text of a completion.
func (c *chunks) plain(text []byte) bool {
	c.field("text", text)
	return isString(text)
}
