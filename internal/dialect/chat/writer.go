package chat

import (
	"slices"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// writer writes replies. It is used again, with the room of its lists.
type writer struct {
	r       dialect.Reply
	head    []byte // of each chunk, up to its choices
	begun   []begun
	usage   dialect.Usage
	id      []byte
	model   []byte
	created bool
}

// begun is a choice of which something was sent.
type begun struct {
	index, calls int
	thought      bool // something was, that has no signature yet
	thoughts     int  // of which all was told
	told         bool // of the next one some of the text was, in a list with them
	finish       dialect.Finish

	// A signature is told when it is known what comes after it: "" for none.
	signature []byte
	signed    bool // it is of what was thought before it
}

// Reset implements dialect.Writer.
func (w *writer) Reset(r dialect.Reply) {
	r.Request = nil // which is not repeated, and does not hold
	*w = writer{r: r, head: w.head[:0], begun: w.begun[:0], id: w.id[:0], model: w.model[:0]}
}

// Event implements dialect.Writer.
func (w *writer) Event(dst []byte, e *dialect.Event) []byte {
	w.usage.Update(e.Usage)
	if !w.created && e.ID != nil {
		w.id = append(w.id[:0], e.ID...)
	}
	if !w.created && e.Model != nil {
		w.model = append(w.model[:0], e.Model...)
	}
	for i := range e.Choices {
		c := &e.Choices[i]
		if b := w.choice(c.Index); b != nil {
			dst = w.chunk(dst, b, c)
		}
	}
	return dst
}

func (w *writer) choice(index int) *begun {
	for i := range w.begun {
		if w.begun[i].index == index {
			return &w.begun[i]
		}
	}
	if len(w.begun) == dialect.MaxChoices || index < 0 { // more are passed over
		return nil
	}
	w.begun = append(w.begun, begun{index: index, calls: -1})
	return &w.begun[len(w.begun)-1]
}

// chunk appends what a choice says. Why it ended stands in a chunk of its own at the end, since
// a few services say more after that.
func (w *writer) chunk(dst []byte, b *begun, c *dialect.Choice) []byte {
	begins := b.calls < 0
	if begins || c.Text != nil || c.Thinking != nil || c.Signature != nil && len(b.signature) > 0 || c.Refusal != nil || len(c.Citations)+len(c.Images)+len(c.ToolCalls) > 0 || c.Logprobs != nil {
		dst = w.open(dst, b.index)
		dst = w.delta(dst, b, c, begins)
		dst = dialect.AppendLine(append(dst, `,"logprobs":`...), orNull(c.Logprobs))
		dst = w.close(append(dst, `,"finish_reason":null`...))
	} else if c.Signature != nil {
		b.sign(c.Signature)
	}
	if c.Finish != dialect.Going {
		b.finish = c.Finish
	}
	return dst
}

func (w *writer) finish(dst []byte, b *begun) []byte {
	if len(b.signature) > 0 {
		dst = b.detail(append(w.open(dst, b.index), `,"delta":{"reasoning_details":[`...), nil)
		dst = w.close(append(dst, `]},"logprobs":null,"finish_reason":null`...))
	}
	dst = append(w.open(dst, b.index), `,"delta":{},"logprobs":null,"finish_reason":"`...)
	return w.close(append(append(dst, finishName(b.finish, b.calls > 0)...), '"'))
}

// finishName names why a choice ended. Services that say that it stopped where it waits for
// its calls mean them.
func finishName(why dialect.Finish, calls bool) string {
	switch why {
	case dialect.Length:
		return "length"
	case dialect.ContentFilter:
		return "content_filter"
	case dialect.ToolsCalled:
		return "tool_calls"
	}
	if calls {
		return "tool_calls"
	}
	return "stop"
}

// open begins a chunk of a choice.
func (w *writer) open(dst []byte, index int) []byte {
	if !w.created {
		w.created = true
		w.head = append(w.intro(append(w.head[:0], "data: "...), "chat.completion.chunk"), `,"choices":[`...)
	}
	return strconv.AppendInt(append(append(dst, w.head...), `{"index":`...), int64(index), 10)
}

func (w *writer) close(dst []byte) []byte {
	dst = append(dst, "}]"...)
	if w.r.IncludeUsage {
		dst = append(dst, `,"usage":null`...)
	}
	return append(dst, "}\n\n"...)
}

// intro begins a reply, or a part of one.
func (w *writer) intro(dst []byte, object string) []byte {
	dst = append(dst, `{"id":`...)
	if len(w.id) > 0 {
		dst = append(dst, w.id...)
	} else {
		dst = jsonscan.AppendString(dst, "chatcmpl-"+w.r.ID)
	}
	dst = append(append(append(dst, `,"object":"`...), object...), `","created":`...)
	dst = append(strconv.AppendInt(dst, w.r.Created, 10), `,"model":`...)
	if len(w.model) > 0 {
		return append(dst, w.model...)
	}
	return jsonscan.AppendString(dst, w.r.Model)
}

func orNull(v []byte) []byte {
	if v == nil {
		return []byte("null")
	}
	return v
}

// member appends a member to an object that begins at from.
func member(dst []byte, from int, name string, v []byte) []byte {
	if len(dst) > from {
		dst = append(dst, ',')
	}
	return append(append(append(append(dst, '"'), name...), `":`...), v...)
}

func (w *writer) delta(dst []byte, b *begun, c *dialect.Choice, begins bool) []byte {
	dst = append(dst, `,"delta":{`...)
	from := len(dst)
	if begins {
		b.calls = 0
		dst = append(dst, `"role":"assistant"`...)
	}
	switch {
	case c.Text != nil:
		dst = member(dst, from, "content", c.Text)
	case begins && len(c.ToolCalls) > 0:
		dst = append(dst, `,"content":null`...)
	case begins:
		dst = append(dst, `,"content":""`...)
	}
	if c.Thinking != nil {
		dst = member(dst, from, "reasoning_content", c.Thinking)
		b.thought = true
	}
	dst = w.details(dst, from, b, c)
	if c.Refusal != nil {
		dst = member(dst, from, "refusal", c.Refusal)
	}
	if len(c.Citations) > 0 {
		dst = appendCitations(member(dst, from, "annotations", nil), c.Citations)
	}
	if len(c.Images) > 0 {
		dst = member(dst, from, "images", nil)
		for i := range c.Images {
			dst = appendImage(dst, i, &c.Images[i])
		}
		dst = append(dst, ']')
	}
	if len(c.ToolCalls) > 0 {
		dst = append(member(dst, from, "tool_calls", nil), '[')
		for i := range c.ToolCalls {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = w.call(dst, b, &c.ToolCalls[i])
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// details appends the text of thoughts that are to be signed, and the signatures of which it is
// known by now what comes after them, to an object that begins at from.
func (w *writer) details(dst []byte, from int, b *begun, c *dialect.Choice) []byte {
	list := dst
	entry := func() {
		if len(list) > len(dst) {
			list = append(list, ',')
		} else {
			list = append(member(list, from, "reasoning_details", nil), '[')
		}
	}
	if len(b.signature) > 0 && (c.Thinking != nil || c.Signature != nil) {
		entry()
		list = b.detail(list, nil)
	}
	if c.Signs && dialect.FilledText(c.Thinking) != nil {
		entry()
		list = appendDetails(list, c.Thinking, nil, nil, b.thoughts)
		b.told = true
	}
	if c.Signature != nil {
		b.sign(c.Signature)
	}
	says := c.Text != nil || c.Refusal != nil
	calls := len(c.ToolCalls) > 0 && c.ToolCalls[0].Name != nil
	if len(b.signature) > 0 && (says || calls) {
		var id []byte
		if t := c.ToolCalls; !says {
			id = w.appendID(nil, t[0].ID, b.index, t[0].Index)
		}
		entry()
		list = b.detail(list, id)
	}
	if says || calls {
		b.thought = false // what is signed after this is something else
		b.next()
	}
	if len(list) > len(dst) {
		list = append(list, ']')
	}
	return list
}

// sign has a signature wait until it is known what comes after it.
func (b *begun) sign(signature []byte) {
	b.signature, b.signed, b.thought = append(b.signature, signature...), b.thought, false
}

// detail appends the signature that waits, before the call of an id.
func (b *begun) detail(dst, id []byte) []byte {
	var text []byte
	if b.signed { // which stands in chunks before this one
		text = []byte(`""`)
	}
	dst = appendDetails(dst, text, b.signature, id, b.thoughts)
	b.signature, b.told = b.signature[:0], true
	b.next()
	return dst
}

// next has what is thought from now on be another thought than what was told.
func (b *begun) next() {
	if b.told {
		b.thoughts++
		b.told = false
	}
}

// appendDetails appends reasoning with its signature, or that which only its service can
// read, which has no text. That which stands directly before a call has its id, nil for none.
// What is of one thought has one index.
func appendDetails(dst, text, signature, id []byte, index int) []byte {
	if id != nil {
		dst = append(append(append(dst, `{"id":`...), id...), ',')
	} else {
		dst = append(dst, '{')
	}
	if text == nil {
		dst = append(append(dst, `"type":"reasoning.encrypted","data":`...), dialect.OrEmpty(signature)...)
	} else {
		dst = append(append(dst, `"type":"reasoning.text","text":`...), text...)
		if signature != nil {
			dst = append(append(dst, `,"signature":`...), signature...)
		}
	}
	return append(strconv.AppendInt(append(dst, `,"index":`...), int64(index), 10), '}')
}

// appendImage appends one of the images of a message, of which n stand before it: no word of
// OpenAI's, but that of services whose models make images.
func appendImage(dst []byte, n int, m *dialect.Media) []byte {
	sep := byte('[')
	if n > 0 {
		sep = ','
	}
	return append(appendURL(append(append(dst, sep), `{"type":"image_url","image_url":{"url":`...), m), "}}"...)
}

func appendCitations(dst []byte, list []dialect.Citation) []byte {
	dst = append(dst, '[')
	for i := range list {
		c := &list[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, `{"type":"url_citation","url_citation":{"url":`...), dialect.OrEmpty(c.URL)...)
		dst = append(append(dst, `,"title":`...), dialect.OrEmpty(c.Title)...)
		dst = strconv.AppendInt(append(dst, `,"start_index":`...), int64(c.Start), 10)
		dst = strconv.AppendInt(append(dst, `,"end_index":`...), int64(c.End), 10)
		if c.Cited != nil {
			dst = append(append(dst, `,"content":`...), c.Cited...)
		}
		dst = append(dst, "}}"...)
	}
	return append(dst, ']')
}

func (w *writer) call(dst []byte, b *begun, t *dialect.ToolCall) []byte {
	dst = strconv.AppendInt(append(dst, `{"index":`...), int64(t.Index), 10)
	if t.Name != nil {
		b.calls = max(b.calls, t.Index+1, 1)
		dst = w.appendID(append(dst, `,"id":`...), t.ID, b.index, t.Index)
		dst = append(append(dst, `,"type":"function","function":{"name":`...), t.Name...)
		dst = append(dst, ',')
	} else {
		dst = append(dst, `,"function":{`...)
	}
	return append(append(append(dst, `"arguments":`...), dialect.OrEmpty(t.Arguments)...), "}}"...)
}

// appendID appends the id of a call, one of our own where its service has none.
func (w *writer) appendID(dst, id []byte, choice, call int) []byte {
	if id != nil {
		return append(dst, id...)
	}
	return jsonscan.AppendString(dst, "call_"+w.r.ID+"_"+strconv.Itoa(choice)+"_"+strconv.Itoa(call))
}

// End implements dialect.Writer.
func (w *writer) End(dst []byte) []byte {
	if len(w.begun) == 0 { // a reply that says nothing
		dst = w.chunk(dst, w.choice(0), &dialect.Choice{})
	}
	for i := range w.begun {
		dst = w.finish(dst, &w.begun[i])
	}
	if w.r.IncludeUsage {
		dst = append(append(dst, w.head...), `],"usage":`...)
		dst = append(appendUsage(dst, w.usage), "}\n\n"...)
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// Fail implements dialect.Writer.
func (w *writer) Fail(dst []byte, e *llm.Error) []byte {
	return Dialect{}.AppendErrorEvent(dst, e, 0)
}

func appendUsage(dst []byte, u dialect.Usage) []byte {
	dst = strconv.AppendInt(append(dst, `{"prompt_tokens":`...), u.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"completion_tokens":`...), u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), u.Prompt+u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"prompt_tokens_details":{"cached_tokens":`...), u.Cached, 10)
	dst = strconv.AppendInt(append(dst, `},"completion_tokens_details":{"reasoning_tokens":`...), u.Reasoning, 10)
	return append(dst, "}}"...)
}

// Whole implements dialect.Writer.
func (w *writer) Whole(dst []byte, s *dialect.Said) []byte {
	w.id, w.model = append(w.id[:0], s.ID...), append(w.model[:0], s.Model...)
	dst = append(w.intro(dst, "chat.completion"), `,"choices":[`...)
	for i := range s.Choices {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = w.message(dst, &s.Choices[i])
	}
	if len(s.Choices) == 0 {
		dst = w.message(dst, &dialect.SaidChoice{})
	}
	return append(appendUsage(append(dst, `],"usage":`...), s.Usage), '}')
}

// message appends a choice. Texts between calls become one.
func (w *writer) message(dst []byte, c *dialect.SaidChoice) []byte {
	var texts, thoughts, refusals [][]byte
	var citations []dialect.Citation
	calls, images, signed := 0, 0, false
	for i := range c.Parts {
		switch p := &c.Parts[i]; p.Kind {
		case dialect.Text:
			texts = append(texts, dialect.OrEmpty(p.Text))
			citations = append(citations, p.Citations...)
		case dialect.Refusal:
			refusals = append(refusals, dialect.OrEmpty(p.Text))
		case dialect.Thinking:
			if p.Text != nil {
				thoughts = append(thoughts, p.Text)
			}
			signed = signed || p.Signature != nil
		case dialect.Image:
			images++
		case dialect.ToolUse:
			calls++
		}
	}
	dst = strconv.AppendInt(append(dst, `{"index":`...), int64(c.Index), 10)
	dst = append(dst, `,"message":{"role":"assistant","content":`...)
	if len(texts) == 0 && calls+len(refusals) > 0 {
		dst = append(dst, "null"...)
	} else {
		dst = dialect.AppendJoined(dst, texts, "")
	}
	dst = append(dst, `,"refusal":`...)
	if len(refusals) == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = dialect.AppendJoined(dst, refusals, "")
	}
	if len(thoughts) > 0 {
		dst = dialect.AppendJoined(append(dst, `,"reasoning_content":`...), thoughts, "")
	}
	if signed {
		dst = w.allDetails(dst, c)
	}
	if len(citations) > 0 {
		dst = appendCitations(append(dst, `,"annotations":`...), citations)
	}
	if images > 0 {
		dst, images = append(dst, `,"images":`...), 0
		for i := range c.Parts {
			if p := &c.Parts[i]; p.Kind == dialect.Image {
				dst = appendImage(dst, images, &p.Media)
				images++
			}
		}
		dst = append(dst, ']')
	}
	if calls > 0 {
		dst = w.calls(dst, c)
	}
	dst = append(append(dst, `},"logprobs":`...), orNull(c.Logprobs)...)
	dst = append(append(dst, `,"finish_reason":"`...), finishName(c.Finish, calls > 0)...)
	return append(dst, `"}`...)
}

func (w *writer) allDetails(dst []byte, c *dialect.SaidChoice) []byte {
	dst = append(dst, `,"reasoning_details":[`...)
	from, thoughts, calls := len(dst), 0, 0
	for i := range c.Parts {
		p := &c.Parts[i]
		if p.Kind == dialect.ToolUse {
			calls++
		}
		if p.Kind != dialect.Thinking {
			continue
		}
		if len(dst) > from {
			dst = append(dst, ',')
		}
		var id []byte
		next := i + 1
		for next < len(c.Parts) && c.Parts[next].Kind == dialect.Thinking {
			next++
		}
		if next < len(c.Parts) && c.Parts[next].Kind == dialect.ToolUse {
			id = w.appendID(nil, c.Parts[next].ID, c.Index, calls)
		}
		dst = appendDetails(dst, p.Text, p.Signature, id, thoughts)
		thoughts++
	}
	return append(dst, ']')
}

func (w *writer) calls(dst []byte, c *dialect.SaidChoice) []byte {
	dst = append(dst, `,"tool_calls":[`...)
	n := 0
	for p := range slices.Values(c.Parts) {
		if p.Kind != dialect.ToolUse {
			continue
		}
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = w.appendID(append(dst, `{"id":`...), p.ID, c.Index, n)
		n++
		dst = append(append(dst, `,"type":"function","function":{"name":`...), dialect.OrEmpty(p.Name)...)
		dst = append(dialect.AppendArguments(append(dst, `,"arguments":`...), p.Arguments), "}}"...)
	}
	return append(dst, ']')
}
