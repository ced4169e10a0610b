package dialect

// bytesPerToken is about how many bytes of a text in JSON are a token of a large model's
// tokenizer.
const bytesPerToken = 3.8

// perMessage is about how many tokens a message or a tool has around its texts, and
// perImage how many an image of usual size is.
const (
	perMessage = 4
	perImage   = 1500
)

// EstimateTokens is about how many tokens the conversation is, for services that do not
// count. It is an estimate: within a fifth for English text and programs.
func (c *Conversation) EstimateTokens() int64 {
	bytes, tokens := 0, 0
	for i := range c.Messages {
		tokens += perMessage
		b, t := size(c.Messages[i].Parts)
		bytes, tokens = bytes+b, tokens+t
	}
	for i := range c.Tools {
		t := &c.Tools[i]
		tokens += perMessage
		bytes += len(t.Name) + len(t.Description) + len(t.Schema) + len(t.Raw)
	}
	return int64(float64(bytes)/bytesPerToken) + int64(tokens)
}

func size(parts []Part) (bytes, tokens int) {
	for i := range parts {
		p := &parts[i]
		bytes += len(p.Text) + len(p.Name) + len(p.Arguments)
		switch p.Kind {
		case Image:
			tokens += perImage
		case Document, Audio:
			bytes += len(p.Media.Data)
		}
		b, t := size(p.Result)
		bytes, tokens = bytes+b, tokens+t
	}
	return bytes, tokens
}
