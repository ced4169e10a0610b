package messages

import (
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// writer writes replies. It is used again, with the room of its lists. The blocks of a
// stream stand one after another, but for calls whose arguments come by turns: those are
// open together until they are whole.
type writer struct {
	r         dialect.Reply
	id, model []byte
	begun     bool

	blocks int        // that began
	text   blockState // the block of text or thinking that is open
	calls  []callState

	usage   dialect.Usage
	finish  dialect.Finish
	stopped []byte
	refused bool // it said why it does not do what it was asked for

	decoded []byte // a piece of arguments
}

// blockState is a block that is no call.
type blockState struct {
	kind   dialect.Kind // Text or Thinking
	open   bool
	signed bool // its signature was sent, so that what is thought next is another block
	index  int
}

// callState is a call that began.
type callState struct {
	call, index int // its number, and its block's
	begun       bool
	whole       bool // its arguments are an object that has ended
	closed      bool
	rest        jsonscan.Skip
}

// Reset implements dialect.Writer.
func (w *writer) Reset(r dialect.Reply) {
	if cap(w.calls) > keptCalls {
		w.calls = nil
	}
	r.Request = nil // which is not repeated, and does not hold
	*w = writer{r: r, id: kept(w.id), model: kept(w.model), calls: w.calls[:0], stopped: kept(w.stopped), decoded: kept(w.decoded)}
}

// Event implements dialect.Writer. Of several choices it has a place for the first.
func (w *writer) Event(dst []byte, e *dialect.Event) []byte {
	w.usage.Update(e.Usage)
	if !w.begun && e.Error == nil {
		w.id, w.model = append(w.id[:0], e.ID...), append(w.model[:0], e.Model...)
		dst = w.start(dst)
	}
	for i := range e.Choices {
		if e.Choices[i].Index == 0 {
			dst = w.choice(dst, &e.Choices[i])
		}
	}
	return dst
}

func (w *writer) start(dst []byte) []byte {
	w.begun = true
	dst = w.intro(append(dst, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":"...))
	dst = append(dst, `,"content":[],"stop_reason":null,"stop_sequence":null,"usage":`...)
	return append(appendUsage(dst, w.usage), "}}\n\n"...)
}

// intro begins a message.
func (w *writer) intro(dst []byte) []byte {
	dst = append(dst, `{"id":`...)
	if len(w.id) > 0 {
		dst = append(dst, w.id...)
	} else {
		dst = jsonscan.AppendString(dst, "msg_"+w.r.ID)
	}
	dst = append(dst, `,"type":"message","role":"assistant","model":`...)
	if len(w.model) > 0 {
		return append(dst, w.model...)
	}
	return jsonscan.AppendString(dst, w.r.Model)
}

// appendUsage appends how many tokens it took: those of the cache are not in the input.
func appendUsage(dst []byte, u dialect.Usage) []byte {
	dst = strconv.AppendInt(append(dst, `{"input_tokens":`...), max(u.Prompt-u.Cached-u.CacheWritten, 0), 10)
	dst = strconv.AppendInt(append(dst, `,"cache_creation_input_tokens":`...), u.CacheWritten, 10)
	dst = strconv.AppendInt(append(dst, `,"cache_read_input_tokens":`...), u.Cached, 10)
	dst = strconv.AppendInt(append(dst, `,"output_tokens":`...), u.Completion, 10)
	if u.Reasoning > 0 {
		dst = append(strconv.AppendInt(append(dst, `,"output_tokens_details":{"thinking_tokens":`...), u.Reasoning, 10), '}')
	}
	return append(dst, '}')
}

func (w *writer) choice(dst []byte, c *dialect.Choice) []byte {
	if c.Thinking != nil {
		dst = w.enter(dst, dialect.Thinking)
		if !dialect.IsEmpty(c.Thinking) {
			dst = w.delta(dst, w.text.index, `thinking_delta","thinking":`, c.Thinking)
		}
	}
	if c.Signature != nil {
		dst = w.sign(dst, c.Signature)
	}
	if dialect.FilledText(c.Text) != nil {
		dst = w.say(dst, c.Text)
	}
	if dialect.FilledText(c.Refusal) != nil {
		w.refused = true
		dst = w.say(dst, c.Refusal)
	}
	for i := range c.Citations {
		if c.Citations[i].URL != nil {
			dst = w.cite(dst, &c.Citations[i])
		}
	}
	if len(c.Images) > 0 {
		w.r.Lost.Add("images")
	}
	for i := range c.ToolCalls {
		dst = w.call(dst, &c.ToolCalls[i])
	}
	if c.Finish != dialect.Going {
		w.finish = c.Finish
	}
	if c.Stopped != nil {
		w.stopped = append(w.stopped[:0], c.Stopped...)
	}
	return dst
}

// enter has a block of a kind be the one that is open.
func (w *writer) enter(dst []byte, kind dialect.Kind) []byte {
	if t := &w.text; t.open && t.kind == kind && !t.signed {
		return dst
	}
	dst = w.leave(dst)
	w.text = blockState{kind: kind, open: true, index: w.blocks}
	if kind == dialect.Thinking {
		return append(w.begin(dst), "thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"...)
	}
	return append(w.begin(dst), "text\",\"text\":\"\"}}\n\n"...)
}

// leave ends the blocks that nothing more comes for.
func (w *writer) leave(dst []byte) []byte {
	if w.text.open {
		dst = w.end(dst, w.text.index)
		w.text.open = false
	}
	// Those before one that is closed are closed, or have pieces to come.
	for i := len(w.calls) - 1; i >= 0 && !w.calls[i].closed; i-- {
		if c := &w.calls[i]; c.whole {
			dst = w.end(dst, c.index)
			c.closed = true
		}
	}
	return dst
}

// begin appends the start of a block up to the name of its type.
func (w *writer) begin(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...), int64(w.blocks), 10)
	w.blocks++
	return append(dst, `,"content_block":{"type":"`...)
}

func (w *writer) end(dst []byte, index int) []byte {
	dst = strconv.AppendInt(append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...), int64(index), 10)
	return append(dst, "}\n\n"...)
}

// delta appends a piece of a block, whose kind is what stands between "type":" and the piece.
func (w *writer) delta(dst []byte, index int, kind string, piece []byte) []byte {
	dst = strconv.AppendInt(append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...), int64(index), 10)
	dst = append(append(append(dst, `,"delta":{"type":"`...), kind...), piece...)
	return append(dst, "}}\n\n"...)
}

// sign appends the signature of what was thought, or a block of what only the service can
// read.
func (w *writer) sign(dst, signature []byte) []byte {
	if t := &w.text; t.open && t.kind == dialect.Thinking && !t.signed {
		t.signed = true
		return w.delta(dst, t.index, `signature_delta","signature":`, signature)
	}
	dst = w.leave(dst)
	index := w.blocks
	dst = append(append(w.begin(dst), `redacted_thinking","data":`...), signature...)
	return w.end(append(dst, "}}\n\n"...), index)
}

func (w *writer) say(dst, text []byte) []byte {
	dst = w.enter(dst, dialect.Text)
	return w.delta(dst, w.text.index, `text_delta","text":`, text)
}

func (w *writer) cite(dst []byte, c *dialect.Citation) []byte {
	dst = w.enter(dst, dialect.Text)
	dst = w.delta(dst, w.text.index, `citations_delta","citation":`, nil)
	return append(appendCitation(dst[:len(dst)-len("}}\n\n")], c), "}}\n\n"...)
}

// appendCitation appends one that has a URL: of the others the API wants to know which of
// the request's documents they are from.
func appendCitation(dst []byte, c *dialect.Citation) []byte {
	dst = append(append(dst, `{"type":"web_search_result_location","url":`...), c.URL...)
	dst = append(append(dst, `,"title":`...), dialect.OrEmpty(c.Title)...)
	dst = append(append(dst, `,"cited_text":`...), dialect.OrEmpty(c.Cited)...)
	return append(dst, `,"encrypted_index":""}`...)
}

// call appends a piece of a call. Beyond dialect.MaxCalls of them there is none.
func (w *writer) call(dst []byte, t *dialect.ToolCall) []byte {
	c := w.find(t.Index)
	if c == nil {
		if len(w.calls) == dialect.MaxCalls {
			return dst
		}
		dst = w.leave(dst)
		w.calls = append(w.calls, callState{call: t.Index, index: w.blocks})
		c = &w.calls[len(w.calls)-1]
		dst = w.appendID(append(w.begin(dst), `tool_use","id":`...), t.ID, len(w.calls))
		dst = append(append(dst, `,"name":`...), dialect.OrEmpty(t.Name)...)
		dst = append(dst, ",\"input\":{}}}\n\n"...)
	}
	if dialect.FilledText(t.Arguments) == nil || c.closed {
		return dst
	}
	w.follow(c, t.Arguments)
	return w.delta(dst, c.index, `input_json_delta","partial_json":`, t.Arguments)
}

func (w *writer) find(call int) *callState {
	for i := len(w.calls) - 1; i >= 0; i-- {
		if w.calls[i].call == call {
			return &w.calls[i]
		}
	}
	return nil
}

// appendID appends the id of a call, one of our own for the nth where its service has none.
func (w *writer) appendID(dst, id []byte, n int) []byte {
	if dialect.FilledText(id) != nil {
		return append(dst, id...)
	}
	return jsonscan.AppendString(dst, "toolu_"+w.r.ID+"_"+strconv.Itoa(n))
}

// follow finds out whether the arguments of a call are whole with another piece.
func (w *writer) follow(c *callState, piece []byte) {
	if c.whole {
		return
	}
	w.decoded = jsonscan.AppendText(w.decoded[:0], piece)
	from := 0
	if !c.begun {
		for from < len(w.decoded) && w.decoded[from] != '{' {
			from++
		}
		if from == len(w.decoded) {
			return
		}
		c.begun, c.rest = true, jsonscan.Skip{Depth: 1}
		from++
	}
	c.whole = c.rest.End(w.decoded, from) >= 0
	w.decoded = kept(w.decoded)
}

// End implements dialect.Writer.
func (w *writer) End(dst []byte) []byte {
	if !w.begun {
		dst = w.start(dst)
	}
	dst = w.leave(dst)
	for i := range w.calls {
		if c := &w.calls[i]; !c.closed {
			dst = w.end(dst, c.index)
			c.closed = true
		}
	}
	dst = append(dst, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"...)
	dst = appendReason(dst, w.finish, w.stopped, len(w.calls) > 0, w.refused)
	dst = appendUsage(append(dst, `},"usage":`...), w.usage)
	return append(dst, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// appendReason appends why a reply ended. Services that say that it stopped where it waits for
// its calls mean them.
func appendReason(dst []byte, why dialect.Finish, stopped []byte, calls, refused bool) []byte {
	reason := "end_turn"
	switch {
	case why == dialect.Length:
		reason = "max_tokens"
	case why == dialect.ContentFilter:
		reason = "refusal"
	case why == dialect.Paused:
		reason = "pause_turn"
	case why == dialect.ToolsCalled || calls:
		reason = "tool_use"
	case refused:
		reason = "refusal"
	case dialect.FilledText(stopped) != nil:
		reason = "stop_sequence"
	}
	dst = append(append(append(dst, `"stop_reason":"`...), reason...), `","stop_sequence":`...)
	if reason != "stop_sequence" {
		return append(dst, "null"...)
	}
	return append(dst, stopped...)
}

// Fail implements dialect.Writer.
func (w *writer) Fail(dst []byte, e *llm.Error) []byte {
	return Dialect{}.AppendErrorEvent(dst, e, 0)
}

// Whole implements dialect.Writer. Of several choices it has a place for the first.
func (w *writer) Whole(dst []byte, s *dialect.Said) []byte {
	w.id, w.model = append(w.id[:0], s.ID...), append(w.model[:0], s.Model...)
	var c dialect.SaidChoice
	for i := range s.Choices {
		if i == 0 || s.Choices[i].Index == 0 {
			c = s.Choices[i]
		}
	}
	dst = append(w.intro(dst), `,"content":[`...)
	from := len(dst)
	calls, refused := 0, false
	for i := range c.Parts {
		p := &c.Parts[i]
		if p.Kind == dialect.Image {
			w.r.Lost.Add("images")
			continue
		}
		before := len(dst)
		if before > from {
			dst = append(dst, ',')
		}
		switch p.Kind {
		case dialect.ToolUse:
			calls++
			dst = w.wholeCall(dst, p, calls)
		case dialect.Thinking:
			dst = appendThought(dst, p)
		default:
			if dialect.FilledText(p.Text) == nil && len(p.Citations) == 0 {
				dst = dst[:before]
				continue
			}
			refused = refused || p.Kind == dialect.Refusal
			dst = appendText(dst, p)
		}
	}
	dst = appendReason(append(dst, "],"...), c.Finish, c.Stopped, calls > 0, refused)
	return append(appendUsage(append(dst, `,"usage":`...), s.Usage), '}')
}

func (w *writer) wholeCall(dst []byte, p *dialect.Part, n int) []byte {
	dst = w.appendID(append(dst, `{"type":"tool_use","id":`...), p.ID, n)
	dst = append(append(dst, `,"name":`...), dialect.OrEmpty(p.Name)...)
	dst, _ = dialect.AppendObject(append(dst, `,"input":`...), p.Arguments)
	return append(dst, '}')
}

func appendThought(dst []byte, p *dialect.Part) []byte {
	if p.Text == nil {
		return append(append(append(dst, `{"type":"redacted_thinking","data":`...), dialect.OrEmpty(p.Signature)...), '}')
	}
	dst = append(append(dst, `{"type":"thinking","thinking":`...), p.Text...)
	return append(append(append(dst, `,"signature":`...), dialect.OrEmpty(p.Signature)...), '}')
}

func appendText(dst []byte, p *dialect.Part) []byte {
	dst = append(append(dst, `{"type":"text","text":`...), dialect.OrEmpty(p.Text)...)
	n := 0
	for i := range p.Citations {
		c := &p.Citations[i]
		if c.URL == nil {
			continue
		}
		if n++; n == 1 {
			dst = append(dst, `,"citations":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendCitation(dst, c)
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}
