package gemini

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/sse"
)

// reader reads replies. It is used again, with the room of its lists.
type reader struct {
	event   dialect.Event
	buf     []byte // of data in several fields
	room    []byte // of arguments and logprobs of an event
	opened  bool   // the reply's id and model are known
	ended   bool   // nothing more is read
	seen    []seen
	sources []dialect.Citation
	failure *dialect.Failure // that a candidate ended in
}

// seen is what was read of a candidate.
type seen struct {
	index, calls int
	offsets      offsets
}

const (
	maxCandidates = 64 // of a reply: the API has at most 8
	keepRoom      = 64 << 10
)

// Reset implements dialect.Reader.
func (r *reader) Reset() {
	r.event.Reset()
	r.opened, r.ended, r.failure = false, false, nil
	for i := range r.seen {
		r.seen[i].offsets.reset()
	}
	r.seen = r.seen[:0] // with the room of their lists
	clear(r.sources[:cap(r.sources)])
	if cap(r.buf) > keepRoom {
		r.buf = nil
	}
	if cap(r.room) > keepRoom {
		r.room = nil
	}
}

// Event implements dialect.Reader.
func (r *reader) Event(raw []byte, say func(*dialect.Event) error) error {
	data, ok := sse.Data(raw, r.buf[:0])
	if !ok || r.ended {
		return nil
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || sse.IsDone(data) {
		return nil
	}
	if jsonscan.Validate(data, maxDepth) != nil {
		return dialect.ErrBroken
	}
	return r.say(data, true, say)
}

// Whole implements dialect.Reader.
func (r *reader) Whole(body []byte, say func(*dialect.Event) error) error {
	return r.say(body, false, say)
}

// say says what a reply has, or an event of a stream, which is one too.
func (r *reader) say(body []byte, streamed bool, say func(*dialect.Event) error) error {
	e := &r.event
	e.Reset()
	r.room = r.room[:0]
	says, counted := r.reply(body)
	if streamed && !counted {
		r.goOn()
	}
	if says {
		r.opened = r.opened || e.ID != nil || e.Model != nil
		if err := say(e); err != nil {
			return err
		}
	}
	if r.failure == nil {
		return nil
	}
	e.Reset()
	e.Error, r.failure, r.ended = r.failure, nil, true
	return say(e)
}

// goOn takes back that candidates have stopped: older services say so in each event. The last
// one of all others tells the usage.
func (r *reader) goOn() {
	for i := range r.event.Choices {
		if c := &r.event.Choices[i]; c.Finish == dialect.Stop || c.Finish == dialect.ToolsCalled {
			c.Finish = dialect.Going
		}
	}
}

// reply reads a reply; counted is that it tells the usage, be that nothing.
func (r *reader) reply(v []byte) (says, counted bool) {
	e := &r.event
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "responseId":
			if !r.opened {
				e.ID = dialect.LabelOf(v)
			}
		case "modelVersion":
			if !r.opened {
				e.Model = dialect.LabelOf(v)
			}
		case "candidates":
			n := 0
			for c := range jsonscan.ElementsOf(v) {
				r.candidate(c, n)
				n++
			}
		case "promptFeedback":
			if reason := jsonscan.Member(v, "blockReason"); reason != nil && !dialect.Is(reason, "BLOCK_REASON_UNSPECIFIED") {
				e.Choice(0).Finish = dialect.ContentFilter
			}
		case "usageMetadata":
			e.Usage = usage(v)
			counted = e.Usage.Known() || jsonscan.Member(v, "totalTokenCount") != nil
		case "error":
			r.failure = failure(v)
		}
	}
	return len(e.Choices) > 0 || e.Usage.Known() || e.ID != nil, counted
}

func failure(v []byte) *dialect.Failure {
	f := new(dialect.Failure)
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "message":
			f.Message = dialect.TextOf(v)
		case "status":
			f.Code = dialect.TextOf(v)
		}
	}
	return f
}

func usage(v []byte) (u dialect.Usage) {
	for name, v := range jsonscan.MembersOf(v) {
		switch n := intOf(v); string(name) {
		case "promptTokenCount", "toolUsePromptTokenCount":
			u.Prompt += n
		case "cachedContentTokenCount":
			u.Cached = n
		case "candidatesTokenCount":
			u.Completion += n
		case "thoughtsTokenCount":
			u.Completion += n
			u.Reasoning = n
		}
	}
	return u
}

func (r *reader) find(index int) *seen {
	for i := range r.seen {
		if r.seen[i].index == index {
			return &r.seen[i]
		}
	}
	n := len(r.seen)
	if index < 0 || n == maxCandidates {
		return nil
	}
	if n < cap(r.seen) {
		r.seen = r.seen[:n+1]
	} else {
		r.seen = append(r.seen, seen{})
	}
	s := &r.seen[n]
	s.index, s.calls = index, 0
	s.offsets.reset()
	return s
}

// candidate is what one says: choices of the vocabulary, one after the other where its parts
// are not in the order of their fields.
type candidate struct {
	r     *reader
	s     *seen
	now   *dialect.Choice // nil for none
	order int             // of the fields up to now
}

func (r *reader) candidate(v []byte, index int) {
	var content, reason, message, cites, grounds, logprobs []byte
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); string(name) {
		case "index":
			index = int(intOf(v))
		case "content":
			content = v
		case "finishReason":
			reason = v
		case "finishMessage":
			message = dialect.TextOf(v)
		case "citationMetadata":
			cites = v
		case "groundingMetadata":
			grounds = v
		case "logprobsResult":
			logprobs = v
		}
	}
	s := r.find(index)
	if s == nil {
		return
	}
	c := candidate{r: r, s: s}
	for p := range jsonscan.ElementsOf(jsonscan.Member(content, "parts")) {
		c.part(p)
	}
	if cites != nil || grounds != nil {
		c.citations(cites, grounds)
	}
	if dialect.IsObject(logprobs) {
		from := len(r.room)
		r.room = appendChatLogprobs(r.room, logprobs)
		c.at(inLogprobs).Logprobs = r.room[from:len(r.room):len(r.room)]
	}
	if reason != nil {
		c.finish(reason, message)
	}
}

// The fields of a choice in their order.
const (
	inThinking = iota
	inSignature
	inText
	inCitations
	inImages
	inCalls
	inLogprobs
)

// at gives the choice in which something has its place.
func (c *candidate) at(field int) *dialect.Choice {
	if c.now == nil || field < c.order || field == c.order && field != inCalls && field != inCitations && field != inImages {
		c.now = c.r.event.Choice(c.s.index)
	}
	c.order = field
	return c.now
}

func (c *candidate) part(v []byte) {
	var text, call, signature, media []byte
	thought := false
	for name, v := range jsonscan.MembersOf(v) {
		switch v = dialect.OrNil(v); string(name) {
		case "text":
			text = dialect.FilledText(v)
		case "functionCall":
			call = v
		case "inlineData":
			media = v
		case "thought":
			thought = string(v) == "true"
		case "thoughtSignature":
			signature = dialect.FilledText(v)
		}
	}
	if thought && text != nil {
		c.at(inThinking).Thinking = text
		text = nil
	}
	if signature != nil {
		c.at(inSignature).Signature = signature
	}
	if text != nil {
		c.at(inText).Text = text
		c.s.offsets.add(text)
	}
	if m, ok := imageOf(media); ok && !thought {
		if to := c.at(inImages); len(to.Images) < dialect.MaxImages {
			to.Images = append(to.Images, m)
		}
	}
	if call != nil {
		c.call(call)
	}
}

// imageOf reads an image that a part holds. Media of other kinds have no place elsewhere.
func imageOf(v []byte) (m dialect.Media, ok bool) {
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "mimeType":
			m.Type = dialect.String(dialect.TextOf(v))
		case "data":
			if text := dialect.FilledText(v); text != nil {
				m.Data = text[1 : len(text)-1]
			}
		}
	}
	return m, m.Data != nil && kindOf(m.Type) == dialect.Image
}

func (c *candidate) call(v []byte) {
	r := c.r
	if c.s.calls == dialect.MaxCalls {
		r.failure = dialect.TooManyCalls()
		return
	}
	t := dialect.ToolCall{Index: c.s.calls}
	args := []byte("{}")
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "id":
			t.ID = dialect.FilledText(v)
		case "name":
			t.Name = dialect.FilledText(v)
		case "args":
			if dialect.IsObject(v) {
				args = v
			}
		}
	}
	if t.Name == nil {
		return
	}
	c.s.calls++
	from := len(r.room)
	r.room = dialect.AppendQuoted(r.room, args)
	t.Arguments = r.room[from:len(r.room):len(r.room)]
	to := c.at(inCalls)
	to.ToolCalls = append(to.ToolCalls, t)
}

func (c *candidate) citations(cites, grounds []byte) {
	to := c.at(inCitations)
	c.r.cites(to, &c.s.offsets, cites)
	c.r.grounds(to, &c.s.offsets, grounds)
}

func (c *candidate) finish(reason, message []byte) {
	why := dialect.Stop
	switch dialect.String(reason) {
	case "FINISH_REASON_UNSPECIFIED":
		return
	case "MAX_TOKENS":
		why = dialect.Length
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		why = dialect.ContentFilter
	case "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE":
		// The model wanted something that it did not manage to say.
		if message == nil {
			message = []byte(`"The model's reply was not sound."`)
		}
		c.r.failure = &dialect.Failure{Message: message, Code: reason}
		return
	default:
		if c.s.calls > 0 {
			why = dialect.ToolsCalled
		}
	}
	if c.now == nil {
		c.at(inLogprobs)
	}
	c.now.Finish = why
}
