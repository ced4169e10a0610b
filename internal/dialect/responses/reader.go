package responses

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/sse"
)

// Reader reads replies. What the service did by itself, such as a search, is passed over.
type Reader struct {
	event   dialect.Event
	buf     []byte // of data in several fields
	text    []byte // of a text that is made here, while it is said
	items   []outItem
	calls   int
	begun   bool // the reply's id is known
	counted bool // an item was told of
	thought bool // the last that was said was thought, and has no signature
}

// outItem is an item of a streamed reply.
type outItem struct {
	index  int64 // in the output
	call   int   // which call it is
	kind   itemKind
	opened bool // of a call: it has been named
	said   bool // something of it has come
	ended  bool
	cited  bool // of a message: what it cites too
	inner  bool // of thoughts: the last part was of the content
	part   int64
}

type itemKind uint8

const (
	otherItem itemKind = iota
	messageItem
	reasoningItem
	functionItem
	customItem
	shellItem // of writers alone
	imageItem
)

func kindOf(v []byte) itemKind {
	switch {
	case dialect.Is(v, "message"):
		return messageItem
	case dialect.Is(v, "reasoning"):
		return reasoningItem
	case dialect.Is(v, "function_call"):
		return functionItem
	case dialect.Is(v, "custom_tool_call"):
		return customItem
	case dialect.Is(v, "image_generation_call"):
		return imageItem
	}
	return otherItem
}

// Reset implements dialect.Reader.
func (r *Reader) Reset() {
	r.event.Reset()
	items := r.items[:0]
	if cap(items)*64 > keptRoom {
		items = nil
	}
	*r = Reader{event: r.event, buf: emptied(r.buf), text: emptied(r.text), items: items}
}

// fields are the members of an event.
type fields struct {
	kind, delta, item, response, annotation []byte
	logprobs                                []byte
	code, message, fault                    []byte
	output, index                           int64
	summary                                 bool
}

func fieldsOf(data []byte) (f fields) {
	for name, v := range jsonscan.MembersOf(data) {
		switch string(name) {
		case "type":
			f.kind = v
		case "delta":
			f.delta = dialect.TextOf(v)
		case "item":
			f.item = v
		case "response":
			f.response = v
		case "annotation":
			f.annotation = v
		case "logprobs":
			f.logprobs = v
		case "output_index":
			f.output = dialect.Int(v)
		case "content_index":
			f.index = dialect.Int(v)
		case "summary_index":
			f.index, f.summary = dialect.Int(v), true
		case "code":
			f.code = dialect.TextOf(v)
		case "message":
			f.message = dialect.TextOf(v)
		case "error":
			f.fault = dialect.OrNil(v)
		}
	}
	return f
}

// Event implements dialect.Reader.
func (r *Reader) Event(raw []byte, say func(*dialect.Event) error) error {
	data, ok := sse.Data(raw, r.buf[:0])
	if !ok || sse.IsDone(data) {
		return nil
	}
	if _, n := sse.DataFields(raw); n > 1 {
		r.buf = data
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || sse.IsDone(data) {
		return nil
	}
	if jsonscan.Validate(data, maxDepth) != nil {
		return dialect.ErrBroken
	}
	f := fieldsOf(data)
	kind := f.kind
	if dialect.IsText(kind) {
		kind = bare(kind)
	} else {
		kind = sse.Name(raw)
	}
	r.event.Reset()
	switch string(kind) {
	case "response.output_text.delta":
		return r.delta(&f, messageItem, dialect.Text, say)
	case "response.refusal.delta":
		return r.delta(&f, messageItem, dialect.Refusal, say)
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		return r.delta(&f, reasoningItem, dialect.Thinking, say)
	case "response.function_call_arguments.delta":
		return r.delta(&f, functionItem, dialect.ToolUse, say)
	case "response.custom_tool_call_input.delta":
		return r.delta(&f, customItem, dialect.ToolUse, say)
	case "response.output_text.annotation.added":
		return r.annotation(&f, say)
	case "response.output_item.added":
		return r.added(&f, say)
	case "response.output_item.done":
		return r.done(&f, say)
	case "response.created", "response.in_progress", "response.queued":
		if r.open(f.response) {
			return say(&r.event)
		}
		return nil
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		return r.end(f.response, say)
	case "error":
		return r.failed(&f, say)
	}
	if f.fault != nil && f.kind == nil {
		return r.failed(&f, say)
	}
	return nil
}

func (r *Reader) failed(f *fields, say func(*dialect.Event) error) error {
	e := &dialect.Failure{Message: f.message, Code: f.code}
	if f.fault != nil {
		e = failure(f.fault)
	}
	r.event.Error = e
	return say(&r.event)
}

func failure(v []byte) *dialect.Failure {
	f := new(dialect.Failure)
	if dialect.IsText(v) {
		f.Message = v
	}
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "message":
			f.Message = dialect.TextOf(v)
		case "type":
			f.Type = dialect.TextOf(v)
		case "code":
			f.Code = dialect.TextOf(v)
		}
	}
	return f
}

// open takes over what a response says of itself, once, and reports whether there is anything.
func (r *Reader) open(response []byte) bool {
	if r.begun {
		return false
	}
	for name, v := range jsonscan.MembersOf(response) {
		switch string(name) {
		case "id":
			r.event.ID = dialect.LabelOf(v)
		case "model":
			r.event.Model = dialect.LabelOf(v)
		}
	}
	r.begun = r.event.ID != nil
	return r.begun || r.event.Model != nil
}

// filled is v where that is a text that says something, else nil.
func filled(v []byte) []byte {
	if !dialect.IsText(v) || dialect.IsEmpty(v) {
		return nil
	}
	return v
}

// find gives the item of an index, nil for none. The last one is usual.
func (r *Reader) find(index int64) *outItem {
	for i := len(r.items) - 1; i >= 0; i-- {
		if r.items[i].index == index {
			return &r.items[i]
		}
	}
	return nil
}

// item gives the item of an index, which may be new; nil where there are too many.
func (r *Reader) item(index int64, kind itemKind) *outItem {
	r.counted = true
	if i := r.find(index); i != nil {
		return i
	}
	if len(r.items) == maxItems {
		return nil
	}
	r.items = append(r.items, outItem{index: index, kind: kind})
	i := &r.items[len(r.items)-1]
	if kind == functionItem || kind == customItem {
		i.call = r.calls
		r.calls++
	}
	return i
}

func (r *Reader) tooMany(say func(*dialect.Event) error) error {
	r.event.Reset()
	r.event.Error = &dialect.Failure{Message: []byte(`"The reply has more items than are taken of one."`)}
	return say(&r.event)
}

// delta reads a piece of an item of a kind. That of a call whose name is not known yet comes
// with the end of the call.
func (r *Reader) delta(f *fields, kind itemKind, as dialect.Kind, say func(*dialect.Event) error) error {
	i := r.item(f.output, kind)
	switch {
	case i == nil:
		return r.tooMany(say)
	case i.kind != kind, i.ended, f.delta == nil, dialect.IsEmpty(f.delta), as == dialect.ToolUse && !i.opened:
		return nil
	}
	c := r.event.Choice(0)
	switch as {
	case dialect.Thinking:
		c.Thinking = r.thinking(i, f)
	case dialect.ToolUse:
		c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: i.call, Arguments: r.arguments(kind, f.delta)})
	case dialect.Refusal:
		c.Refusal = f.delta
	default:
		c.Text, c.Logprobs = f.delta, r.logprobs(f.logprobs)
	}
	i.said = true
	r.thought = as == dialect.Thinking
	return say(&r.event)
}

// thinking is a piece of thoughts, of which another part is another paragraph.
func (r *Reader) thinking(i *outItem, f *fields) []byte {
	same := i.part == f.index && i.inner == !f.summary
	i.part, i.inner = f.index, !f.summary
	if same && i.said || !i.said && !r.thought {
		return f.delta
	}
	return r.another(f.delta)
}

// another is a text as another paragraph.
func (r *Reader) another(text []byte) []byte {
	r.text = append(append(append(append(r.text[:0], '"'), paragraph...), bare(text)...), '"')
	return r.text
}

// arguments is a piece of the arguments of a call. The input of a custom tool is a string
// inside of the object that they are.
func (r *Reader) arguments(kind itemKind, piece []byte) []byte {
	if kind != customItem {
		return piece
	}
	r.text = dialect.AppendQuoted(r.text[:0], bare(piece))
	return r.text
}

// logprobs are those of a piece as Chat Completions have them, nil for none.
func (r *Reader) logprobs(list []byte) []byte {
	for range jsonscan.ElementsOf(list) {
		r.text = append(appendLogprobs(append(r.text[:0], `{"content":`...), list), `,"refusal":null}`...)
		return r.text
	}
	return nil
}

func (r *Reader) annotation(f *fields, say func(*dialect.Event) error) error {
	i := r.item(f.output, messageItem)
	if i == nil {
		return r.tooMany(say)
	}
	c := r.event.Choice(0)
	if c.Citations = citation(c.Citations, f.annotation); len(c.Citations) == 0 {
		return nil
	}
	i.cited = true
	return say(&r.event)
}

// custom arguments begin and end so.
const (
	customStart = `"{\"input\":\""`
	customEnd   = `"\"}"`
)

// added reads that an item begins.
func (r *Reader) added(f *fields, say func(*dialect.Event) error) error {
	kind := kindOf(jsonscan.Member(f.item, "type"))
	i := r.item(f.output, kind)
	if i == nil {
		return r.tooMany(say)
	}
	if kind != functionItem && kind != customItem || i.kind != kind || i.opened || i.ended {
		return nil
	}
	c := r.event.Choice(0)
	c.ToolCalls = append(c.ToolCalls, r.named(i, f.item))
	return say(&r.event)
}

// named is the first piece of a call.
func (r *Reader) named(i *outItem, item []byte) dialect.ToolCall {
	i.opened, r.thought = true, false
	t := dialect.ToolCall{Index: i.call}
	t.ID, t.Name = callOf(item)
	if i.kind == customItem {
		t.Arguments = []byte(customStart)
	}
	return t
}

func callOf(item []byte) (id, name []byte) {
	for n, v := range jsonscan.MembersOf(item) {
		switch string(n) {
		case "call_id":
			if v = filled(v); v != nil {
				id = v
			}
		case "id":
			if id == nil {
				id = filled(v)
			}
		case "name":
			name = dialect.TextOf(v)
		}
	}
	return id, name
}

// done reads that an item has ended, and whatever of it has not come before.
func (r *Reader) done(f *fields, say func(*dialect.Event) error) error {
	kind := kindOf(jsonscan.Member(f.item, "type"))
	i := r.item(f.output, kind)
	if i == nil {
		return r.tooMany(say)
	}
	return r.rest(i, f.item, say)
}

// rest says whatever of an item was not said before.
func (r *Reader) rest(i *outItem, item []byte, say func(*dialect.Event) error) error {
	if i.ended {
		return nil
	}
	i.ended = true
	switch i.kind {
	case messageItem:
		return r.restOfMessage(i, jsonscan.Member(item, "content"), say)
	case reasoningItem:
		return r.restOfThoughts(i, item, say)
	case functionItem, customItem:
		return r.restOfCall(i, item, say)
	case imageItem:
		return r.image(item, say)
	}
	return nil
}

func (r *Reader) restOfMessage(i *outItem, content []byte, say func(*dialect.Event) error) error {
	for p := range jsonscan.ElementsOf(content) {
		r.event.Reset()
		c := r.event.Choice(0)
		if !i.said {
			r.messagePart(c, p)
		}
		if !i.cited {
			c.Citations = citations(c.Citations, jsonscan.Member(p, "annotations"))
		}
		if c.Text == nil && c.Refusal == nil && len(c.Citations) == 0 {
			continue
		}
		r.thought = false
		if err := say(&r.event); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) messagePart(c *dialect.Choice, p []byte) {
	for name, v := range jsonscan.MembersOf(p) {
		switch string(name) {
		case "text":
			c.Text = filled(v)
		case "refusal":
			c.Refusal = filled(v)
		case "logprobs":
			c.Logprobs = r.logprobs(v)
		}
	}
}

func (r *Reader) restOfThoughts(i *outItem, item []byte, say func(*dialect.Event) error) error {
	var summary, content []byte
	c := r.event.Choice(0)
	for name, v := range jsonscan.MembersOf(item) {
		switch string(name) {
		case "summary":
			summary = v
		case "content":
			content = v
		case "encrypted_content":
			c.Signature = filled(v)
		}
	}
	if !i.said {
		if c.Thinking = paragraphs(summary, content); c.Thinking != nil && r.thought {
			c.Thinking = r.another(c.Thinking)
		}
	}
	if c.Thinking == nil && c.Signature == nil {
		return nil
	}
	r.thought = c.Signature == nil
	return say(&r.event)
}

func (r *Reader) restOfCall(i *outItem, item []byte, say func(*dialect.Event) error) error {
	c := r.event.Choice(0)
	if !i.opened {
		c.ToolCalls = append(c.ToolCalls, r.named(i, item))
	}
	if !i.said {
		member := "arguments"
		if i.kind == customItem {
			member = "input"
		}
		if v := filled(jsonscan.Member(item, member)); v != nil {
			c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: i.call, Arguments: r.arguments(i.kind, v)})
		}
	}
	if i.kind == customItem {
		c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: i.call, Arguments: []byte(customEnd)})
	}
	if len(c.ToolCalls) == 0 {
		return nil
	}
	return say(&r.event)
}

// Whole implements dialect.Reader.
func (r *Reader) Whole(body []byte, say func(*dialect.Event) error) error {
	r.event.Reset()
	return r.end(body, say)
}

// end reads a response that has ended: of one that was streamed, what did not come before.
func (r *Reader) end(response []byte, say func(*dialect.Event) error) error {
	if r.open(response) {
		if err := say(&r.event); err != nil {
			return err
		}
	}
	if !r.counted {
		if err := r.output(jsonscan.Member(response, "output"), say); err != nil {
			return err
		}
	}
	r.event.Reset()
	var status, details []byte
	for name, v := range jsonscan.MembersOf(response) {
		switch string(name) {
		case "status":
			status = v
		case "incomplete_details":
			details = v
		case "error":
			if v = dialect.OrNil(v); v != nil {
				r.event.Error = failure(v)
			}
		case "usage":
			r.event.Usage = usage(v)
		}
	}
	if r.counted || dialect.IsText(status) || r.event.Error != nil { // else it is no response
		r.finish(status, details)
	}
	r.close()
	return say(&r.event)
}

func (r *Reader) output(list []byte, say func(*dialect.Event) error) error {
	index := int64(0)
	for one := range jsonscan.ElementsOf(list) {
		i := r.item(index, kindOf(jsonscan.Member(one, "type")))
		if i == nil {
			return r.tooMany(say)
		}
		r.event.Reset()
		if err := r.rest(i, one, say); err != nil {
			return err
		}
		index++
	}
	return nil
}

// close ends the arguments of calls whose end did not come.
func (r *Reader) close() {
	for k := range r.items {
		i := &r.items[k]
		if i.kind == customItem && i.opened && !i.ended && r.event.Error == nil {
			i.ended = true
			c := &r.event.Choices[0]
			c.ToolCalls = append(c.ToolCalls, dialect.ToolCall{Index: i.call, Arguments: []byte(customEnd)})
		}
	}
}

// finish reads why a response ended.
func (r *Reader) finish(status, details []byte) {
	e := &r.event
	if e.Error != nil {
		return
	}
	why := dialect.Stop
	switch dialect.String(status) {
	case "failed", "cancelled", "queued", "in_progress":
		e.Error = &dialect.Failure{Message: []byte(`"The response did not complete: its status is ` + dialect.String(status) + `."`)}
		return
	case "incomplete":
		switch reason := jsonscan.Member(details, "reason"); {
		case dialect.Is(reason, "content_filter"):
			why = dialect.ContentFilter
		default:
			why = dialect.Length
		}
	default:
		if r.calls > 0 {
			why = dialect.ToolsCalled
		}
	}
	e.Choice(0).Finish = why
}

func usage(v []byte) (u dialect.Usage) {
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "input_tokens":
			u.Prompt = dialect.Int(v)
		case "output_tokens":
			u.Completion = dialect.Int(v)
		case "input_tokens_details":
			u.Cached = dialect.Int(jsonscan.Member(v, "cached_tokens"))
			u.CacheWritten = dialect.Int(jsonscan.Member(v, "cache_write_tokens"))
		case "output_tokens_details":
			u.Reasoning = dialect.Int(jsonscan.Member(v, "reasoning_tokens"))
		}
	}
	return u
}
