package gemini

import (
	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// writer writes replies. It is used again, with the room of its lists.
type writer struct {
	r      dialect.Reply
	tail   []byte // of each chunk, after its candidates
	begun  []begun
	usage  dialect.Usage
	id     []byte
	model  []byte
	known  bool // id and model: tail is written
	failed bool // nothing more is
	held   int  // bytes of calls that wait
}

// begun is a candidate of which something was sent, and what of it is not sent yet.
type begun struct {
	index     int
	signature []byte // for the part that comes next: "" for none
	calls     []gathered
	waiting   int // the first call that was not sent
	broken    bool
	finish    dialect.Finish
	offsets   offsets
	grounding grounding
}

// gathered is a call, whose arguments come in pieces: the API has them whole.
type gathered struct {
	index                          int
	id, name, signature, arguments []byte // texts; the last without the quote that ends it
	tried                          bool   // whether they are whole, which they were not
}

const (
	maxHeld = 16 << 20 // bytes of calls that wait
	// keepCalls bounds the calls whose room is kept for use again.
	keepCalls = 64
)

// Reset implements dialect.Writer.
func (w *writer) Reset(r dialect.Reply) {
	r.Request = nil // which is not repeated, and does not hold
	for i := range w.begun[:cap(w.begun)] {
		w.begun[:cap(w.begun)][i].reset()
	}
	*w = writer{r: r, tail: w.tail[:0], begun: w.begun[:0], id: w.id[:0], model: w.model[:0]}
}

func (b *begun) reset() {
	calls := b.calls[:0]
	room := cap(b.signature)
	for i := range calls[:cap(calls)] {
		g := &calls[:cap(calls)][i]
		room += cap(g.id) + cap(g.name) + cap(g.signature) + cap(g.arguments)
	}
	if cap(calls) > keepCalls || room > keepRoom {
		calls, b.signature = nil, nil
	}
	b.offsets.reset()
	b.grounding.reset()
	*b = begun{signature: b.signature[:0], calls: calls, offsets: b.offsets, grounding: b.grounding}
}

// Event implements dialect.Writer.
func (w *writer) Event(dst []byte, e *dialect.Event) []byte {
	w.usage.Update(e.Usage)
	if !w.known {
		w.id, w.model = replaced(w.id, e.ID), replaced(w.model, e.Model)
	}
	for i := range e.Choices {
		c := &e.Choices[i]
		if b := w.choice(c.Index); b != nil && !w.failed {
			dst = w.chunk(dst, b, c)
		}
	}
	return dst
}

// replaced puts a text in another's place, if there is one.
func replaced(have, v []byte) []byte {
	if v == nil {
		return have
	}
	return append(have[:0], v...)
}

func (w *writer) choice(index int) *begun {
	for i := range w.begun {
		if w.begun[i].index == index {
			return &w.begun[i]
		}
	}
	n := len(w.begun)
	if n == maxCandidates || index < 0 {
		return nil
	}
	if n < cap(w.begun) {
		w.begun = w.begun[:n+1]
	} else {
		w.begun = append(w.begun, begun{})
	}
	w.begun[n].index = index
	return &w.begun[n]
}

// open begins a chunk of a candidate.
func (w *writer) open(dst []byte) partList {
	dst = append(dst, `data: {"candidates":[{"content":{"parts":[`...)
	return partList{b: dst, from: len(dst)}
}

// chunk appends what a choice says. Why it ends is told at the end, with the usage.
func (w *writer) chunk(dst []byte, b *begun, c *dialect.Choice) []byte {
	before := len(dst)
	p := w.open(dst)
	if len(b.signature) > 0 {
		p.signature = b.signature
	}
	if c.Thinking != nil {
		w.whole(&p, b)
		p.thought(c.Thinking)
	}
	if c.Signature != nil {
		w.whole(&p, b)
		p.sign(c.Signature)
	}
	if c.Text != nil {
		w.whole(&p, b)
		p.text(c.Text)
		b.offsets.add(c.Text)
	}
	if c.Refusal != nil {
		w.whole(&p, b)
		p.text(c.Refusal)
		b.offsets.add(c.Refusal)
	}
	for i := range c.Citations {
		b.grounding.add(&c.Citations[i], &b.offsets)
	}
	for i := range c.Images {
		w.whole(&p, b)
		w.image(&p, &c.Images[i])
	}
	for i := range c.ToolCalls {
		w.call(&p, b, &c.ToolCalls[i])
	}
	if p.signature == nil {
		b.signature = b.signature[:0]
	} else {
		b.signature = append(b.signature[:0], p.signature...)
	}
	if c.Finish != dialect.Going {
		b.finish = c.Finish
	}
	if w.held > w.most() {
		return w.tooMuch(p.b[:before])
	}
	if p.empty() && c.Logprobs == nil {
		return p.b[:before]
	}
	return append(w.close(p.b, b, c.Logprobs, ""), w.finishChunk()...)
}

// most is how much may wait, in bytes.
func (w *writer) most() int {
	if w.r.Max > 0 {
		return min(w.r.Max, maxHeld)
	}
	return maxHeld
}

// Full implements dialect.Holder. What is held are calls alone.
func (w *writer) Full() bool { return w.failed }

// tooMuch ends a stream whose calls are larger than is held.
func (w *writer) tooMuch(dst []byte) []byte {
	w.failed = true
	return w.Fail(dst, llm.Errorf(502, "upstream_reply_too_large", "The reply's calls of tools are larger than is held to be translated."))
}

// close ends the candidate of a chunk.
func (w *writer) close(dst []byte, b *begun, logprobs []byte, reason string) []byte {
	dst = append(dst, `],"role":"model"}`...)
	if reason != "" {
		dst = append(append(append(dst, `,"finishReason":"`...), reason...), '"')
		dst = b.grounding.append(dst)
	}
	dst = appendLogprobs(dst, logprobs)
	return append(appendInt(append(dst, `,"index":`...), int64(b.index)), '}')
}

// finishChunk gives what ends a chunk.
func (w *writer) finishChunk() []byte {
	if !w.known {
		w.known = true
		w.tail = append(w.identity(append(w.tail[:0], ']')), "}\n\n"...)
	}
	return w.tail
}

// identity appends the members that say which reply it is.
func (w *writer) identity(dst []byte) []byte {
	dst = append(dst, `,"modelVersion":`...)
	if len(w.model) > 0 {
		dst = append(dst, w.model...)
	} else {
		dst = jsonscan.AppendString(dst, w.r.Model)
	}
	dst = append(dst, `,"responseId":`...)
	if len(w.id) > 0 {
		return append(dst, w.id...)
	}
	return jsonscan.AppendString(dst, w.r.ID)
}

// call takes a piece of a call. A signature before its first piece is the call's.
func (w *writer) call(p *partList, b *begun, t *dialect.ToolCall) {
	g := b.find(t.Index)
	if g == nil {
		w.whole(p, b)
		if len(b.calls) == dialect.MaxCalls {
			w.held = maxHeld + 1
			return
		}
		g = b.add(t.Index)
		if p.signature != nil {
			g.signature, p.signature = append(g.signature, p.signature...), nil
		}
	}
	if t.Signature != nil && isBase64(t.Signature) {
		g.signature = append(g.signature[:0], t.Signature...)
	}
	if len(g.id) == 0 {
		g.id = append(g.id, t.ID...)
	}
	if len(g.name) == 0 {
		g.name = append(g.name, t.Name...)
	}
	if t.Arguments != nil {
		w.held += len(t.Arguments) - len(`""`)
		g.arguments = append(g.arguments, t.Arguments[1:len(t.Arguments)-1]...)
	}
}

// find gives the call that goes on, nil where there is none that waits.
func (b *begun) find(index int) *gathered {
	for i := len(b.calls) - 1; i >= b.waiting; i-- {
		if b.calls[i].index == index {
			return &b.calls[i]
		}
	}
	return nil
}

// add adds a call, with the room of an earlier one.
func (b *begun) add(index int) *gathered {
	n := len(b.calls)
	if n < cap(b.calls) {
		b.calls = b.calls[:n+1]
	} else {
		b.calls = append(b.calls, gathered{})
	}
	g := &b.calls[n]
	*g = gathered{index: index, id: g.id[:0], name: g.name[:0], signature: g.signature[:0], arguments: append(g.arguments[:0], '"')}
	return g
}

// whole sends the calls that are whole when something else begins. One that is not may go
// on, since pieces of calls may come in any order: it and those after it wait for the end.
func (w *writer) whole(p *partList, b *begun) {
	for ; b.waiting < len(b.calls); b.waiting++ {
		g := &b.calls[b.waiting]
		if g.tried || len(g.arguments) == 1 {
			return
		}
		if !w.send(p, b, g) {
			g.tried = true
			return
		}
	}
}

// send appends a call, unless its arguments are no object.
func (w *writer) send(p *partList, b *begun, g *gathered) bool {
	before, signature := len(p.b), p.signature
	p.signature = nil
	if len(g.signature) > 0 {
		p.signature = g.signature
	}
	text := append(g.arguments, '"')
	g.arguments = text[:len(text)-1]
	ok := p.call(g.id, dialect.OrEmpty(g.name), text)
	p.signature = signature
	if !ok {
		p.b = p.b[:before]
		return false
	}
	w.held -= len(g.arguments) - len(`"`)
	return true
}

// End implements dialect.Writer. Usage is told always, be that nothing: that a candidate has
// stopped is the reply's end only together with it, to readers of this dialect.
func (w *writer) End(dst []byte) []byte {
	if w.failed {
		return dst
	}
	if len(w.begun) == 0 { // a reply that says nothing
		w.choice(0)
	}
	dst = append(dst, `data: {"candidates":[`...)
	for i := range w.begun {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = w.last(dst, &w.begun[i])
	}
	dst = w.identity(appendUsage(append(dst, ']'), w.usage))
	return append(dst, "}\n\n"...)
}

// last appends a candidate with what waits and why it ended.
func (w *writer) last(dst []byte, b *begun) []byte {
	dst = append(dst, `{"content":{"parts":[`...)
	p := partList{b: dst, from: len(dst)}
	for ; b.waiting < len(b.calls); b.waiting++ {
		b.broken = !w.send(&p, b, &b.calls[b.waiting]) || b.broken
	}
	if len(b.signature) > 0 {
		p.signature = b.signature
		p.flush()
	}
	if p.empty() {
		p.b = append(p.b, `{"text":""}`...)
	}
	return w.close(p.b, b, nil, reasonOf(b.finish, b.broken))
}

// reasonOf names why a candidate ended. A call of which only a part came is not told.
func reasonOf(why dialect.Finish, broken bool) string {
	switch {
	case why == dialect.Length:
		return "MAX_TOKENS"
	case why == dialect.ContentFilter:
		return "SAFETY"
	case broken:
		return "MALFORMED_FUNCTION_CALL"
	default:
		return "STOP"
	}
}

// Fail implements dialect.Writer.
func (w *writer) Fail(dst []byte, e *llm.Error) []byte { return Dialect{}.AppendErrorEvent(dst, e, 0) }

func appendUsage(dst []byte, u dialect.Usage) []byte {
	dst = appendInt(append(dst, `,"usageMetadata":{"promptTokenCount":`...), u.Prompt)
	dst = appendInt(append(dst, `,"candidatesTokenCount":`...), max(u.Completion-u.Reasoning, 0))
	dst = appendInt(append(dst, `,"totalTokenCount":`...), u.Prompt+u.Completion)
	if u.Cached > 0 {
		dst = appendInt(append(dst, `,"cachedContentTokenCount":`...), u.Cached)
	}
	if u.Reasoning > 0 {
		dst = appendInt(append(dst, `,"thoughtsTokenCount":`...), u.Reasoning)
	}
	return append(dst, '}')
}

// Whole implements dialect.Writer.
func (w *writer) Whole(dst []byte, s *dialect.Said) []byte {
	w.id, w.model = replaced(w.id, s.ID), replaced(w.model, s.Model)
	dst = append(dst, `{"candidates":[`...)
	for i := range s.Choices {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = w.candidate(dst, &s.Choices[i])
	}
	if len(s.Choices) == 0 {
		dst = w.candidate(dst, &dialect.SaidChoice{})
	}
	return append(w.identity(appendUsage(append(dst, ']'), s.Usage)), '}')
}

func (w *writer) candidate(dst []byte, c *dialect.SaidChoice) []byte {
	dst = append(dst, `{"content":{"parts":[`...)
	p := partList{b: dst, from: len(dst)}
	var b begun
	b.index = c.Index
	for i := range c.Parts {
		one := &c.Parts[i]
		switch one.Kind {
		case dialect.Text, dialect.Refusal:
			p.text(one.Text)
			if one.Text != nil {
				b.offsets.add(one.Text)
			}
		case dialect.Thinking:
			p.thought(one.Text)
			if one.Signature != nil {
				p.sign(one.Signature)
			}
		case dialect.Image:
			w.image(&p, &one.Media)
		case dialect.ToolUse:
			b.broken = !called(&p, one) || b.broken
		}
		for k := range one.Citations {
			b.grounding.add(&one.Citations[k], &b.offsets)
		}
	}
	p.flush()
	if p.empty() {
		p.b = append(p.b, `{"text":""}`...)
	}
	return w.close(p.b, &b, c.Logprobs, reasonOf(c.Finish, b.broken))
}

// image appends an image that is there. One elsewhere has no place: its type is not known.
func (w *writer) image(p *partList, m *dialect.Media) {
	if m.Data == nil {
		w.r.Lost.Add("images")
		return
	}
	p.data(typeOf(&dialect.Part{Kind: dialect.Image, Media: *m}), m.Data)
}

// called appends a call, unless its arguments are no object.
func called(p *partList, one *dialect.Part) bool {
	before, signature := len(p.b), p.signature
	if one.Signature != nil && isBase64(one.Signature) {
		p.signature = one.Signature
	}
	if p.call(one.ID, one.Name, one.Arguments) {
		return true
	}
	p.b, p.signature = p.b[:before], signature
	return false
}
