package messages

import (
	"bytes"
	"slices"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/sse"
)

// reader reads replies. It is used again, with the room of its lists.
type reader struct {
	event dialect.Event
	usage counts

	args  []byte // arguments made into a text
	calls []openCall
	made  int  // calls that began
	signs bool // the thought that is told began with a place for its signature

	// Of a text with citations, which come before it, they are told when it has ended and
	// its place is known: the characters from begun to chars of what Said makes one text.
	begun, chars int
	held         []dialect.Citation
	text         []byte // of those
}

// openCall is a block that is a call of a tool.
type openCall struct {
	index int64 // of the block
	call  int
	said  bool // arguments came
	whole bool // with the block itself, so that what comes later is no more of them
}

// maxHeld bounds the citations that are held, in entries and in bytes.
const (
	maxHeld      = 256
	maxHeldBytes = keptBytes
)

// Reset implements dialect.Reader.
func (r *reader) Reset() {
	held, calls := r.held, r.calls
	if clear(held); cap(held) > 2*maxHeld {
		held = nil
	}
	if cap(calls) > keptCalls {
		calls = nil
	}
	*r = reader{event: r.event, args: kept(r.args), calls: calls[:0], held: held[:0], text: kept(r.text)}
	r.event.Reset()
}

// counts are numbers of tokens as the API has them: of the input without what came from a
// cache or went to one.
type counts struct {
	input, cached, written, output, thought int64
}

// update takes over what a later usage tells. Some services repeat as 0 what they told.
func (n *counts) update(v []byte) {
	for name, v := range jsonscan.MembersOf(v) {
		var to *int64
		switch string(name) {
		case "input_tokens":
			to = &n.input
		case "cache_read_input_tokens":
			to = &n.cached
		case "cache_creation_input_tokens":
			to = &n.written
		case "output_tokens":
			to = &n.output
		case "output_tokens_details":
			v, to = jsonscan.Member(v, "thinking_tokens"), &n.thought
		default:
			continue
		}
		if k := dialect.Int(v); k > 0 {
			*to = k
		}
	}
}

func (n *counts) usage() dialect.Usage {
	return dialect.Usage{
		Prompt: n.input + n.cached + n.written, Completion: n.output,
		Cached: n.cached, CacheWritten: n.written, Reasoning: n.thought,
	}
}

// message is an event, or a whole reply, member by member.
type message struct {
	kind, index, block, delta, message, usage, fault []byte
	id, model, content, stopReason, stopped          []byte
}

func membersOf(v []byte) (m message) {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		switch string(name) {
		case "type":
			m.kind = v
		case "index":
			m.index = v
		case "content_block":
			m.block = v
		case "delta":
			m.delta = v
		case "message":
			m.message = v
		case "usage":
			m.usage = v
		case "error":
			m.fault = v
		case "id":
			m.id = dialect.LabelOf(v)
		case "model":
			m.model = dialect.LabelOf(v)
		case "content":
			m.content = v
		case "stop_reason":
			m.stopReason = v
		case "stop_sequence":
			m.stopped = dialect.FilledText(v)
		}
	}
	return m
}

// Event implements dialect.Reader.
func (r *reader) Event(raw []byte, say func(*dialect.Event) error) error {
	data, ok := sse.Data(raw, nil)
	if !ok {
		return nil
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || sse.IsDone(data) {
		return nil
	}
	if jsonscan.Validate(data, 0) != nil {
		return dialect.ErrBroken
	}
	e := &r.event
	e.Reset()
	m := membersOf(data)
	says := false
	switch string(m.kind) {
	case `"message_start"`:
		says = r.start(m.message)
	case `"content_block_start"`:
		says = r.begin(dialect.Int(m.index), m.block)
	case `"content_block_delta"`:
		says = r.delta(dialect.Int(m.index), m.delta)
	case `"content_block_stop"`:
		says = r.stop(dialect.Int(m.index))
	case `"message_delta"`:
		says = r.end(&m)
	case `"error"`:
		e.Error, says = failure(m.fault), true
	}
	if !says {
		return nil
	}
	return say(e)
}

func failure(v []byte) *dialect.Failure {
	if dialect.IsText(v) {
		return &dialect.Failure{Message: v}
	}
	return &dialect.Failure{Message: dialect.FilledText(jsonscan.Member(v, "message")), Type: dialect.FilledText(jsonscan.Member(v, "type"))}
}

func (r *reader) start(v []byte) bool {
	m := membersOf(v)
	r.usage.update(m.usage)
	r.event.ID, r.event.Model, r.event.Usage = m.id, m.model, r.usage.usage()
	return true
}

// begin reads the start of a block, which seldom says anything of it yet.
func (r *reader) begin(index int64, v []byte) bool {
	b := open(v)
	switch string(b.kind) {
	case `"text"`:
		r.begun = r.chars
		r.holdAll(b.citations)
		return r.say(dialect.FilledText(b.text))
	case `"thinking"`:
		c := r.other()
		r.signs = b.signature != nil
		c.Thinking, c.Signs, c.Signature = dialect.OrEmpty(b.thinking), r.signs, dialect.FilledText(b.signature)
	case `"redacted_thinking"`:
		c := r.other()
		c.Signature = dialect.FilledText(b.data)
	case `"tool_use"`:
		if r.made == dialect.MaxCalls {
			r.event.Error = dialect.TooManyCalls()
			return true
		}
		one := openCall{index: index, call: r.made}
		t := dialect.ToolCall{Index: one.call, ID: dialect.FilledText(b.id), Name: dialect.OrEmpty(b.name)}
		for range jsonscan.MembersOf(b.input) {
			r.args = dialect.AppendQuoted(r.args[:0], b.input)
			t.Arguments, one.said, one.whole = r.args, true, true
			break
		}
		r.calls = append(r.calls, one)
		r.made++
		c := r.other()
		c.ToolCalls = append(c.ToolCalls, t)
	default: // what the service did by itself
		return false
	}
	return true
}

// other gives the choice for something that is no text, after which another one begins.
func (r *reader) other() *dialect.Choice {
	r.begun, r.chars = 0, 0
	return r.choice()
}

// choice gives the one of the event.
func (r *reader) choice() *dialect.Choice {
	if len(r.event.Choices) > 0 {
		return &r.event.Choices[0]
	}
	return r.event.Choice(0)
}

// say adds a piece of a text, if there is one.
func (r *reader) say(text []byte) bool {
	if text == nil {
		return false
	}
	r.chars += characters(text)
	r.event.Choice(0).Text = text
	return true
}

// characters counts those of a JSON string.
func characters(text []byte) (n int) {
	for i := 1; i < len(text)-1; i++ {
		switch c := text[i]; {
		case c == '\\' && text[i+1] == 'u':
			if !isSecondHalf(text[i+2 : i+6]) {
				n++
			}
			i += 5
		case c == '\\':
			n++
			i++
		case c&0xc0 != 0x80:
			n++
		}
	}
	return n
}

// isSecondHalf reports whether four hexadecimal digits are the second half of a surrogate
// pair.
func isSecondHalf(digits []byte) bool {
	second := digits[1] | 0x20
	return digits[0]|0x20 == 'd' && 'c' <= second && second <= 'f'
}

func (r *reader) delta(index int64, v []byte) bool {
	var kind, text, thought, signature, arguments, citation []byte
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "type":
			kind = v
		case "text":
			text = dialect.FilledText(v)
		case "thinking":
			thought = dialect.FilledText(v)
		case "signature":
			signature = dialect.FilledText(v)
		case "partial_json":
			arguments = dialect.FilledText(v)
		case "citation":
			citation = v
		}
	}
	switch string(kind) {
	case `"text_delta"`:
		return r.say(text)
	case `"thinking_delta"`:
		if thought != nil {
			c := r.other()
			c.Thinking, c.Signs = thought, r.signs
		}
		return thought != nil
	case `"signature_delta"`:
		if signature != nil {
			r.other().Signature = signature
		}
		return signature != nil
	case `"input_json_delta"`:
		i := r.call(index)
		if i < 0 || arguments == nil || r.calls[i].whole {
			return false
		}
		r.calls[i].said = true
		c := r.event.Choice(0)
		c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: r.calls[i].call, Arguments: arguments})
		return true
	case `"citations_delta"`:
		r.hold(citation)
		if len(r.held) >= maxHeld || len(r.text) > maxHeldBytes {
			return r.release()
		}
	}
	return false
}

// call finds the call that a block is, from the last one on; -1 for none.
func (r *reader) call(index int64) int {
	for i := len(r.calls) - 1; i >= 0; i-- {
		if r.calls[i].index == index {
			return i
		}
	}
	return -1
}

// hold keeps a citation until its text has ended.
func (r *reader) hold(v []byte) {
	c := citationOf(v)
	c.URL, c.Title, c.Cited = r.keep(c.URL), r.keep(c.Title), r.keep(c.Cited)
	r.held = append(r.held, c)
}

// holdAll keeps those of a list, as many as are told at a time.
func (r *reader) holdAll(list []byte) {
	for c := range jsonscan.ElementsOf(list) {
		if len(r.held) == dialect.MaxCitations {
			return
		}
		r.hold(c)
	}
}

func (r *reader) keep(v []byte) []byte {
	if v == nil {
		return nil
	}
	from := len(r.text)
	r.text = append(r.text, v...)
	return r.text[from:len(r.text):len(r.text)]
}

// release tells of the citations that are held.
func (r *reader) release() bool {
	if len(r.held) == 0 {
		return false
	}
	c := r.choice()
	for _, one := range r.held {
		one.Start, one.End = r.begun, r.chars
		c.Citations = append(c.Citations, one)
	}
	r.held, r.text = r.held[:0], r.text[:0]
	return true
}

// stop reads the end of a block. A call for which no arguments came has none.
func (r *reader) stop(index int64) bool {
	says := r.release()
	i := r.call(index)
	if i < 0 {
		return says
	}
	one := r.calls[i]
	r.calls = slices.Delete(r.calls, i, i+1)
	if one.said {
		return says
	}
	c := r.choice()
	c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: one.call, Arguments: []byte(noArguments)})
	return true
}

const noArguments = `"{}"`

// end reads how the reply ended, and what it took.
func (r *reader) end(m *message) bool {
	r.usage.update(m.usage)
	r.event.Usage = r.usage.usage()
	r.release()
	d := membersOf(m.delta)
	if dialect.IsText(d.stopReason) {
		c := r.choice()
		c.Finish, c.Stopped = finishOf(d.stopReason), d.stopped
	}
	return true
}

func finishOf(v []byte) dialect.Finish {
	switch string(v) {
	case `"max_tokens"`, `"model_context_window_exceeded"`:
		return dialect.Length
	case `"tool_use"`:
		return dialect.ToolsCalled
	case `"refusal"`:
		return dialect.ContentFilter
	case `"pause_turn"`, `"compaction"`:
		return dialect.Paused
	default:
		return dialect.Stop
	}
}

// Whole implements dialect.Reader.
func (r *reader) Whole(body []byte, say func(*dialect.Event) error) error {
	m := membersOf(body)
	e := &r.event
	e.Reset()
	if m.fault != nil {
		e.Error = failure(m.fault)
		return say(e)
	}
	if m.content == nil {
		return nil
	}
	e.ID, e.Model = m.id, m.model
	if err := say(e); err != nil {
		return err
	}
	for v := range jsonscan.ElementsOf(m.content) {
		e.Reset()
		if !r.whole(v) {
			continue
		}
		if err := say(e); err != nil {
			return err
		}
	}
	e.Reset()
	r.usage.update(m.usage)
	e.Usage = r.usage.usage()
	if dialect.IsText(m.stopReason) { // which what is no message has not
		c := e.Choice(0)
		c.Finish, c.Stopped = finishOf(m.stopReason), m.stopped
	}
	return say(e)
}

// whole reads a block that is whole.
func (r *reader) whole(v []byte) bool {
	b := open(v)
	switch string(b.kind) {
	case `"text"`:
		r.begun = r.chars
		says := r.say(dialect.FilledText(b.text))
		r.holdAll(b.citations)
		return r.release() || says
	case `"thinking"`:
		c := r.other()
		c.Thinking, c.Signature = dialect.OrEmpty(b.thinking), dialect.FilledText(b.signature)
	case `"redacted_thinking"`:
		r.other().Signature = dialect.FilledText(b.data)
	case `"tool_use"`:
		if r.args = append(r.args[:0], noArguments...); dialect.IsObject(b.input) {
			r.args = dialect.AppendQuoted(r.args[:0], b.input)
		}
		if r.made == dialect.MaxCalls {
			r.event.Error = dialect.TooManyCalls()
			return true
		}
		c := r.other()
		c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: r.made, ID: dialect.FilledText(b.id), Name: dialect.OrEmpty(b.name), Arguments: r.args})
		r.made++
	default:
		return false
	}
	return true
}
