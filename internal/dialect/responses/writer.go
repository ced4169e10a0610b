package responses

import (
	"bytes"
	"strconv"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Writer writes replies. Of a streamed one it holds everything that it has said, at most
// Reply.Max bytes, since each item is told again when it ends, and all of them at the end.
//
// What is thought is written as a summary, which is what clients show, and its signature as
// the encrypted content. A call ends when the next item begins if its arguments are whole by
// then, else with the reply, so that pieces of several calls may come in any order.
//
// A reply that fails ends in "response.failed" with the items that are whole, which OpenAI's
// SDKs and Codex know; before "response.created" was sent, in "error".
type Writer struct {
	max       int
	lost      *dialect.Losses
	base      []byte // of ids, without a prefix
	own       bool   // the id is the gateway's, whatever the service's is
	id, model []byte // texts
	createdAt int64
	echo      []byte
	others    []otherTool

	begun, ended, full bool
	silent             bool // no events are written: the reply is one that is whole
	sequence           int  // of the next event
	held               int  // bytes
	usage              dialect.Usage
	finish             dialect.Finish

	output []byte // items that are whole, as they stand in the reply
	whole  []span // where, by their index; empty for one that goes on
	open   openItem
	calls  []call
	text   []byte // scratch
}

type span struct{ from, to int }

// openItem is a message or thoughts that go on.
type openItem struct {
	kind  itemKind // otherItem for none
	index int

	// Of a message: parts that are whole, how many, and which kind the one is that goes on.
	parts []byte
	count int
	part  dialect.Kind
	going bool

	text        []byte // of the part, or what was thought, without quotes
	annotations []byte
	cited       int
	logprobs    []byte
	signature   []byte
}

// call is a call of a tool.
type call struct {
	index     int // among the calls
	output    int // among the items
	kind      itemKind
	id, name  []byte // texts
	arguments []byte // a text without the quote at its end
	checked   bool   // it was asked whether they are whole
	ended     bool
}

const (
	// prefix begins the id of a reply.
	prefix = "resp_"
	// itemRoom is what an item takes beside its texts, in bytes.
	itemRoom = 256
	// callRoom is what a call takes beside its texts, in bytes.
	callRoom = 128
	// maxBase bounds an id without its prefix: OpenAI takes ids of items of 64 characters.
	maxBase = 48
	// maxID bounds an id of a service's that is handed on.
	maxID = 128
)

// Reset implements dialect.Writer.
func (w *Writer) Reset(r dialect.Reply) {
	calls, whole := w.calls[:0], w.whole[:0]
	if roomOf(calls[:cap(calls)]) > keptRoom {
		calls = nil
	}
	if cap(whole)*16 > keptRoom {
		whole = nil
	}
	o := &w.open
	open := openItem{
		parts: emptied(o.parts), text: emptied(o.text), annotations: emptied(o.annotations), logprobs: emptied(o.logprobs), signature: emptied(o.signature),
	}
	clear(w.others)
	*w = Writer{
		max: r.Max, lost: r.Lost, createdAt: r.Created, base: w.base[:0], id: w.id[:0], model: w.model[:0],
		echo: emptied(w.echo), others: w.others[:0], output: emptied(w.output), whole: whole, open: open, calls: calls, text: emptied(w.text),
	}
	if w.own = r.Thread.ID != ""; w.own {
		w.base = appendBase(w.base, strings.TrimPrefix(r.Thread.ID, prefix))
	} else {
		w.base = appendBase(w.base, r.ID)
	}
	w.model = jsonscan.AppendString(w.model, r.Model)
	var tools []byte
	w.echo, tools = appendEcho(w.echo, r.Request, &r.Thread)
	w.others = otherTools(w.others, tools)
}

// roomOf is what some calls take, in bytes.
func roomOf(calls []call) (n int) {
	for i := range calls {
		c := &calls[i]
		n += callRoom + cap(c.id) + cap(c.name) + cap(c.arguments)
	}
	return n
}

// appendBase appends what of an id others can be made of.
func appendBase(dst []byte, id string) []byte {
	for i := 0; i < len(id) && i < maxBase; i++ {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
			dst = append(dst, c)
		}
	}
	return dst
}

// Full implements dialect.Holder.
func (w *Writer) Full() bool { return w.full }

// Event implements dialect.Writer.
func (w *Writer) Event(dst []byte, e *dialect.Event) []byte {
	if w.ended {
		return dst
	}
	w.usage.Update(e.Usage)
	if f := e.Error; f != nil {
		return w.Fail(dst, &llm.Error{Code: dialect.String(f.Code), Message: dialect.String(f.Message)})
	}
	dst = w.begin(dst, e.ID, e.Model)
	for i := range e.Choices {
		if e.Choices[i].Index == 0 {
			dst = w.choice(dst, &e.Choices[i])
		}
	}
	if w.max > 0 && w.held > w.max || len(w.whole) > maxItems {
		w.full = true
		return w.fail(dst, "upstream_reply_too_large", "The reply is larger than is held to be told again at its end.")
	}
	return dst
}

func (w *Writer) choice(dst []byte, c *dialect.Choice) []byte {
	if c.Thinking != nil {
		dst = w.think(dst, c.Thinking)
	}
	if c.Signature != nil {
		dst = w.sign(dst, c.Signature)
	}
	if c.Text != nil {
		dst = w.say(dst, dialect.Text, c.Text, jsonscan.Member(c.Logprobs, "content"))
	}
	if c.Refusal != nil {
		dst = w.say(dst, dialect.Refusal, c.Refusal, nil)
	}
	for i := range c.Citations {
		dst = w.cite(dst, &c.Citations[i])
	}
	for i := range c.Images {
		dst = w.image(dst, &c.Images[i])
	}
	for i := range c.ToolCalls {
		dst = w.call(dst, &c.ToolCalls[i])
	}
	if c.Finish != dialect.Going {
		w.finish = c.Finish
	}
	return dst
}

// begin tells that the reply begins, once.
func (w *Writer) begin(dst, id, model []byte) []byte {
	if w.begun {
		return dst
	}
	w.begun = true
	if w.own {
		id = nil
	}
	s := dialect.String(id)
	if from := len(w.base); s != "" {
		w.base = appendBase(w.base, strings.TrimPrefix(s, prefix))
		if len(w.base) > from {
			w.base = append(w.base[:0], w.base[from:]...)
		}
	}
	if strings.HasPrefix(s, prefix) && len(s) <= maxID {
		w.id = append(w.id, id...)
	} else {
		w.id = append(append(append(w.id, `"`+prefix...), w.base...), '"')
	}
	if model != nil {
		w.model = append(w.model[:0], model...)
	}
	dst = w.change(dst, "response.created", "in_progress", "", nil)
	return w.change(dst, "response.in_progress", "in_progress", "", nil)
}

// newItem gives the index of an item that begins, and ends what cannot go on beside it.
func (w *Writer) newItem(dst []byte) ([]byte, int) {
	dst = w.close(dst, "completed")
	if n := len(w.calls); n > 0 {
		if c := &w.calls[n-1]; !c.ended && !c.checked {
			// Once, so that one that stays open is not read again with each item.
			if c.checked = true; w.complete(c) {
				dst = w.endCall(dst, c, "completed")
			}
		}
	}
	w.held += itemRoom
	w.whole = append(w.whole, span{})
	return dst, len(w.whole) - 1
}

// complete reports whether a call has all of its arguments.
func (w *Writer) complete(c *call) bool {
	text := w.argumentsOf(c)
	return dialect.IsObject(bytes.TrimSpace(text)) && jsonscan.Validate(text, maxDepth) == nil
}

// argumentsOf is what the arguments of a call say, until w.text is used again.
func (w *Writer) argumentsOf(c *call) []byte {
	w.text = jsonscan.AppendText(w.text[:0], append(c.arguments, '"'))
	return w.text
}

// hold adds the inside of a text to what is held.
func (w *Writer) hold(to, text []byte) []byte {
	w.held += len(text)
	return append(to, bare(text)...)
}

// think writes a piece of what is thought. What comes after a signature is another thought.
func (w *Writer) think(dst, piece []byte) []byte {
	if dialect.IsEmpty(piece) {
		return dst
	}
	dst = w.beThinking(dst)
	o := &w.open
	if !o.going {
		o.going = true
		dst = w.ofPart(dst, "response.reasoning_summary_part.added", "summary_index")
		dst = w.endEvent(w.raw(dst, `,"part":{"type":"summary_text","text":""}`))
	}
	o.text = w.hold(o.text, piece)
	dst = w.ofPart(dst, "response.reasoning_summary_text.delta", "summary_index")
	return w.endEvent(w.value(dst, "delta", piece))
}

// beThinking begins thoughts where none go on.
func (w *Writer) beThinking(dst []byte) []byte {
	o := &w.open
	if o.kind == reasoningItem && len(o.signature) == 0 {
		return dst
	}
	dst, index := w.newItem(dst)
	o.kind, o.index = reasoningItem, index
	if w.silent {
		return dst
	}
	return w.endEvent(w.thoughts(w.itemEvent(dst, "response.output_item.added", index), false))
}

func (w *Writer) sign(dst, signature []byte) []byte {
	if dialect.IsEmpty(signature) {
		return dst
	}
	dst = w.beThinking(dst)
	w.held += len(signature)
	w.open.signature = append(w.open.signature, signature...)
	return dst
}

// thoughts appends the item that they are.
func (w *Writer) thoughts(dst []byte, whole bool) []byte {
	o := &w.open
	dst = append(dst, `{"id":"`...)
	dst = w.itemID(dst, reasoningItem, o.index)
	dst = append(dst, `","type":"reasoning","summary":[`...)
	if whole && o.going {
		dst = append(append(append(dst, `{"type":"summary_text","text":"`...), o.text...), `"}`...)
	}
	dst = append(dst, ']')
	if whole && len(o.signature) > 0 {
		dst = append(append(dst, `,"encrypted_content":`...), o.signature...)
	}
	return append(dst, '}')
}

// say writes a piece of a message.
func (w *Writer) say(dst []byte, kind dialect.Kind, piece, logprobs []byte) []byte {
	if dialect.IsEmpty(piece) {
		return dst
	}
	dst = w.bePart(dst, kind)
	o := &w.open
	o.text = w.hold(o.text, piece)
	if kind == dialect.Refusal {
		dst = w.ofPart(dst, "response.refusal.delta", "content_index")
		return w.endEvent(w.value(dst, "delta", piece))
	}
	w.text = appendLogprobs(w.text[:0], logprobs)
	if inner := w.text[1 : len(w.text)-1]; len(inner) > 0 {
		if len(o.logprobs) > 0 {
			o.logprobs = append(o.logprobs, ',')
		}
		o.logprobs = append(o.logprobs, inner...)
		w.held += len(inner)
	}
	dst = w.value(w.ofPart(dst, "response.output_text.delta", "content_index"), "delta", piece)
	return w.endEvent(w.value(dst, "logprobs", w.text))
}

// bePart begins a part of a message where none of its kind goes on.
func (w *Writer) bePart(dst []byte, kind dialect.Kind) []byte {
	o := &w.open
	if o.kind != messageItem {
		var index int
		dst, index = w.newItem(dst)
		o.kind, o.index = messageItem, index
		if !w.silent {
			dst = w.endEvent(w.message(w.itemEvent(dst, "response.output_item.added", index), "in_progress"))
		}
	}
	if o.going && o.part == kind {
		return dst
	}
	dst = w.closePart(dst)
	o.going, o.part = true, kind
	w.held += itemRoom
	dst = w.value(w.ofPart(dst, "response.content_part.added", "content_index"), "part", nil)
	return w.endEvent(w.partNow(dst))
}

// partNow appends the part that goes on, as it is by now.
func (w *Writer) partNow(dst []byte) []byte {
	if w.silent {
		return dst
	}
	return w.appendPart(dst)
}

func (w *Writer) appendPart(dst []byte) []byte {
	o := &w.open
	if o.part == dialect.Refusal {
		return append(append(append(dst, `{"type":"refusal","refusal":"`...), o.text...), `"}`...)
	}
	dst = append(append(dst, `{"type":"output_text","annotations":[`...), o.annotations...)
	dst = append(append(dst, `],"logprobs":[`...), o.logprobs...)
	return append(append(append(dst, `],"text":"`...), o.text...), `"}`...)
}

// message appends the item that a message is.
func (w *Writer) message(dst []byte, status string) []byte {
	dst = append(dst, `{"id":"`...)
	dst = w.itemID(dst, messageItem, w.open.index)
	dst = append(append(dst, `","type":"message","status":"`...), status...)
	return append(append(append(dst, `","role":"assistant","content":[`...), w.open.parts...), "]}"...)
}

func (w *Writer) cite(dst []byte, c *dialect.Citation) []byte {
	if c.URL == nil {
		return dst
	}
	dst = w.bePart(dst, dialect.Text)
	o := &w.open
	from := len(o.annotations)
	if from > 0 {
		o.annotations = append(o.annotations, ',')
		from++
	}
	o.annotations = appendAnnotation(o.annotations, c)
	w.held += len(o.annotations) - from
	dst = w.number(w.ofPart(dst, "response.output_text.annotation.added", "content_index"), "annotation_index", o.cited)
	o.cited++
	return w.endEvent(w.value(dst, "annotation", o.annotations[from:]))
}

// closePart ends the part of a message that goes on.
func (w *Writer) closePart(dst []byte) []byte {
	o := &w.open
	if !o.going {
		return dst
	}
	if o.part == dialect.Refusal {
		dst = w.ofPart(dst, "response.refusal.done", "content_index")
		dst = w.endEvent(w.quoted(dst, "refusal", o.text))
	} else {
		dst = w.ofPart(dst, "response.output_text.done", "content_index")
		dst = w.quoted(dst, "text", o.text)
		dst = w.endEvent(w.raw(w.raw(w.raw(dst, `,"logprobs":[`), string(o.logprobs)), "]"))
	}
	dst = w.value(w.ofPart(dst, "response.content_part.done", "content_index"), "part", nil)
	dst = w.endEvent(w.partNow(dst))
	if o.count > 0 {
		o.parts = append(o.parts, ',')
	}
	o.parts = w.appendPart(o.parts)
	o.count++
	o.going, o.text, o.annotations, o.logprobs, o.cited = false, o.text[:0], o.annotations[:0], o.logprobs[:0], 0
	return dst
}

// close ends the message or the thoughts that go on.
func (w *Writer) close(dst []byte, status string) []byte {
	o := &w.open
	from := len(w.output)
	switch o.kind {
	case messageItem:
		dst = w.closePart(dst)
		w.output = w.message(w.output, status)
	case reasoningItem:
		if o.going {
			dst = w.ofPart(dst, "response.reasoning_summary_text.done", "summary_index")
			dst = w.endEvent(w.quoted(dst, "text", o.text))
			dst = w.ofPart(dst, "response.reasoning_summary_part.done", "summary_index")
			dst = w.endEvent(w.raw(w.raw(w.raw(dst, `,"part":{"type":"summary_text","text":"`), string(o.text)), `"}`))
		}
		w.output = w.thoughts(w.output, true)
	default:
		return dst
	}
	dst = w.itemDone(dst, o.index, from)
	*o = openItem{parts: o.parts[:0], text: o.text[:0], annotations: o.annotations[:0], logprobs: o.logprobs[:0], signature: o.signature[:0]}
	return dst
}

// itemDone tells that the item of an index is whole, which stands in the output from there on.
func (w *Writer) itemDone(dst []byte, index, from int) []byte {
	w.whole[index] = span{from, len(w.output)}
	if w.silent {
		return dst
	}
	return w.endEvent(append(w.itemEvent(dst, "response.output_item.done", index), w.output[from:]...))
}

// call writes a piece of a call.
func (w *Writer) call(dst []byte, from *dialect.ToolCall) []byte {
	c := w.find(from.Index)
	if c == nil {
		if from.Name == nil && from.ID == nil && from.Arguments == nil {
			return dst
		}
		var output int
		dst, output = w.newItem(dst)
		c = w.newCall(from, output)
		if !w.silent {
			dst = w.endEvent(w.callItem(w.itemEvent(dst, "response.output_item.added", output), c, "in_progress", false))
		}
	}
	if c.ended || from.Arguments == nil || dialect.IsEmpty(from.Arguments) {
		return dst
	}
	c.arguments = w.hold(c.arguments, from.Arguments)
	if c.kind != functionItem {
		return dst
	}
	dst = w.ofItem(dst, "response.function_call_arguments.delta", functionItem, c.output)
	return w.endEvent(w.value(dst, "delta", from.Arguments))
}

func (w *Writer) find(index int) *call {
	for i := len(w.calls) - 1; i >= 0; i-- {
		if w.calls[i].index == index {
			return &w.calls[i]
		}
	}
	return nil
}

func (w *Writer) newCall(from *dialect.ToolCall, output int) *call {
	n := len(w.calls)
	if n < cap(w.calls) {
		w.calls = w.calls[:n+1]
	} else {
		w.calls = append(w.calls, call{})
	}
	c := &w.calls[n]
	*c = call{index: from.Index, output: output, kind: functionItem, id: append(c.id[:0], from.ID...), name: append(c.name[:0], from.Name...), arguments: append(c.arguments[:0], '"')}
	if len(c.id) == 0 {
		c.id = append(w.itemID(append(c.id, `"call_`...), otherItem, output), '"')
	}
	if len(c.name) == 0 {
		c.name = append(c.name, `""`...)
	}
	w.held += len(c.id) + len(c.name)
	for i := range w.others {
		if sameText(w.others[i].name, c.name) {
			c.kind = w.others[i].kind
		}
	}
	return c
}

// callItem appends the item that a call is; its arguments are empty until it is whole.
func (w *Writer) callItem(dst []byte, c *call, status string, whole bool) []byte {
	dst = append(dst, `{"id":"`...)
	dst = w.itemID(dst, c.kind, c.output)
	dst = append(dst, `","type":"`...)
	switch c.kind {
	case customItem:
		dst = append(dst, `custom_tool_call","input":`...)
		if whole {
			dst = w.customInput(dst, c)
		} else {
			dst = append(dst, `""`...)
		}
	case shellItem:
		dst = append(append(append(dst, `local_shell_call","status":"`...), status...), `","action":`...)
		dst = w.shellAction(dst, c)
		return append(append(append(dst, `,"call_id":`...), c.id...), '}')
	default:
		dst = append(append(dst, `function_call","status":"`...), status...)
		dst = append(dst, `","arguments":`...)
		if whole {
			dst = append(append(dst, c.arguments...), '"')
		} else {
			dst = append(dst, `""`...)
		}
	}
	dst = append(append(dst, `,"call_id":`...), c.id...)
	return append(append(append(dst, `,"name":`...), c.name...), '}')
}

// customInput appends the input of a custom tool, as a text: what the arguments give for it,
// or all of them where they do not.
func (w *Writer) customInput(dst []byte, c *call) []byte {
	if text := w.argumentsOf(c); jsonscan.Validate(text, maxDepth) == nil {
		if input := dialect.TextOf(jsonscan.Member(text, "input")); input != nil {
			return append(dst, input...)
		}
	}
	return append(append(dst, c.arguments...), '"')
}

// shellAction appends the action that the arguments of a shell's call give.
func (w *Writer) shellAction(dst []byte, c *call) []byte {
	var command []byte
	env := []byte("{}")
	dst = append(dst, `{"type":"exec"`...)
	if text := w.argumentsOf(c); jsonscan.Validate(text, maxDepth) == nil {
		for name, v := range jsonscan.MembersOf(text) {
			switch string(name) {
			case "command":
				command = v
			case "env":
				if dialect.IsObject(v) {
					env = v
				}
			case "timeout_ms":
				if dialect.IsNumber(v) {
					dst = append(append(dst, `,"timeout_ms":`...), v...)
				}
			case "working_directory":
				if dialect.IsText(v) {
					dst = append(append(dst, `,"working_directory":`...), v...)
				}
			case "user":
				if dialect.IsText(v) {
					dst = append(append(dst, `,"user":`...), v...)
				}
			}
		}
	}
	switch {
	case dialect.IsText(command): // a line, which only a shell can part
		dst = append(append(append(dst, `,"command":["bash","-lc",`...), command...), ']')
	case dialect.IsList(command):
		dst = dialect.AppendLine(append(dst, `,"command":`...), command)
	default:
		dst = append(dst, `,"command":[]`...)
	}
	return append(dialect.AppendLine(append(dst, `,"env":`...), env), '}')
}

// endCall ends a call.
func (w *Writer) endCall(dst []byte, c *call, status string) []byte {
	c.ended = true
	if len(c.arguments) == len(`"`) && c.kind == functionItem && status == "completed" { // clients parse them
		c.arguments = w.hold(c.arguments, []byte(`"{}"`))
		dst = w.ofItem(dst, "response.function_call_arguments.delta", functionItem, c.output)
		dst = w.endEvent(w.value(dst, "delta", []byte(`"{}"`)))
	}
	from := len(w.output)
	w.output = w.callItem(w.output, c, status, true)
	switch c.kind {
	case customItem:
		if !w.silent {
			input := jsonscan.Member(w.output[from:], "input")
			if !dialect.IsEmpty(input) {
				dst = w.ofItem(dst, "response.custom_tool_call_input.delta", customItem, c.output)
				dst = w.endEvent(w.value(dst, "delta", input))
			}
			dst = w.ofItem(dst, "response.custom_tool_call_input.done", customItem, c.output)
			dst = w.endEvent(w.value(dst, "input", input))
		}
	case functionItem:
		dst = w.ofItem(dst, "response.function_call_arguments.done", functionItem, c.output)
		dst = w.quoted(dst, "arguments", c.arguments[1:])
		dst = w.endEvent(w.value(dst, "name", c.name))
	}
	return w.itemDone(dst, c.output, from)
}

// End implements dialect.Writer.
func (w *Writer) End(dst []byte) []byte {
	if w.ended {
		return dst
	}
	dst = w.begin(dst, nil, nil)
	dst, status, reason := w.conclude(dst)
	w.ended = true
	return w.change(dst, "response."+status, status, reason, nil)
}

// conclude ends all items, and gives what became of the reply and why.
func (w *Writer) conclude(dst []byte) (out []byte, status, reason string) {
	status = "completed"
	switch w.finish {
	case dialect.Length:
		status, reason = "incomplete", "max_output_tokens"
	case dialect.ContentFilter:
		status, reason = "incomplete", "content_filter"
	}
	for i := range w.calls {
		c := &w.calls[i]
		if w.open.kind != otherItem && w.open.index < c.output {
			dst = w.close(dst, status)
		}
		if c.ended {
			continue
		}
		if status == "incomplete" && w.complete(c) {
			dst = w.endCall(dst, c, "completed")
		} else {
			dst = w.endCall(dst, c, status)
		}
	}
	return w.close(dst, status), status, reason
}

// Fail implements dialect.Writer.
func (w *Writer) Fail(dst []byte, e *llm.Error) []byte {
	if w.ended {
		return dst
	}
	if w.begun {
		code := e.Code
		if code == "" && e.Status == 429 {
			code = "rate_limit_exceeded"
		}
		return w.fail(dst, code, e.Message)
	}
	w.ended = true
	dst = jsonscan.AppendStringOrNull(append(w.event(dst, "error"), `,"code":`...), e.Code)
	dst = jsonscan.AppendString(append(dst, `,"message":`...), e.Message)
	dst = jsonscan.AppendStringOrNull(append(dst, `,"param":`...), e.Param)
	return w.endEvent(dst)
}

func (w *Writer) fail(dst []byte, code, message string) []byte {
	w.ended = true
	return w.change(dst, "response.failed", "failed", "", appendFailure(nil, code, message))
}

func appendFailure(dst []byte, code, message string) []byte {
	if code == "" {
		code = "server_error"
	}
	if message == "" {
		message = "The model's service failed."
	}
	dst = jsonscan.AppendString(append(dst, `{"code":`...), code)
	return append(jsonscan.AppendString(append(dst, `,"message":`...), message), '}')
}

// Whole implements dialect.Writer.
func (w *Writer) Whole(dst []byte, s *dialect.Said) []byte {
	w.silent = true
	w.begin(nil, s.ID, s.Model)
	w.usage.Update(s.Usage)
	for i := range s.Choices {
		if s.Choices[i].Index == 0 {
			w.parts(&s.Choices[i])
		}
	}
	_, status, reason := w.conclude(nil)
	w.ended = true
	if s.Error != nil {
		return w.response(dst, "failed", "", appendFailure(nil, dialect.String(s.Error.Code), dialect.String(s.Error.Message)))
	}
	return w.response(dst, status, reason, nil)
}

// parts takes the parts of a choice that is whole.
func (w *Writer) parts(c *dialect.SaidChoice) {
	logprobs := c.Logprobs
	for i := range c.Parts {
		p := &c.Parts[i]
		one := dialect.Choice{Citations: p.Citations}
		if p.Kind == dialect.Image {
			one.Images = []dialect.Media{p.Media}
		}
		switch p.Kind {
		case dialect.Thinking:
			one.Thinking, one.Signature = p.Text, p.Signature
		case dialect.Text:
			one.Text, one.Logprobs, logprobs = p.Text, logprobs, nil
		case dialect.Refusal:
			one.Refusal = p.Text
		case dialect.ToolUse:
			one.ToolCalls = []dialect.ToolCall{{Index: i, ID: p.ID, Name: p.Name, Arguments: argumentsText(p.Arguments)}}
		}
		w.choice(nil, &one)
	}
	w.finish = c.Finish
}

// argumentsText are arguments as a text, nil for none.
func argumentsText(v []byte) []byte {
	if v == nil || dialect.IsText(v) {
		return v
	}
	return dialect.AppendQuoted(nil, v)
}

// response appends the reply as it is by now: with the items that are whole where it has
// ended. failure is an object, nil for none.
func (w *Writer) response(dst []byte, status, reason string, failure []byte) []byte {
	dst = append(append(dst, `{"id":`...), w.id...)
	dst = strconv.AppendInt(append(dst, `,"object":"response","created_at":`...), w.createdAt, 10)
	dst = append(append(append(dst, `,"status":"`...), status...), `","error":`...)
	dst = append(orNull(dst, failure), `,"incomplete_details":`...)
	if reason != "" {
		dst = append(append(append(dst, `{"reason":"`...), reason...), `"}`...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(append(append(dst, `,"model":`...), w.model...), `,"output":[`...)
	n := 0
	for _, at := range w.whole {
		if at.to == 0 {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, w.output[at.from:at.to]...)
	}
	dst = append(dst, `],"usage":`...)
	if w.ended && w.usage.Known() {
		dst = appendUsage(dst, &w.usage)
	} else {
		dst = append(dst, "null"...)
	}
	return append(append(dst, w.echo...), '}')
}

func orNull(dst, v []byte) []byte {
	if v == nil {
		return append(dst, "null"...)
	}
	return append(dst, v...)
}

func appendUsage(dst []byte, u *dialect.Usage) []byte {
	dst = strconv.AppendInt(append(dst, `{"input_tokens":`...), u.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"input_tokens_details":{"cached_tokens":`...), u.Cached, 10)
	dst = strconv.AppendInt(append(dst, `,"cache_write_tokens":`...), u.CacheWritten, 10)
	dst = strconv.AppendInt(append(dst, `},"output_tokens":`...), u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"output_tokens_details":{"reasoning_tokens":`...), u.Reasoning, 10)
	return append(strconv.AppendInt(append(dst, `},"total_tokens":`...), u.Prompt+u.Completion, 10), '}')
}

// change appends an event that tells of the whole reply.
func (w *Writer) change(dst []byte, name, status, reason string, failure []byte) []byte {
	if w.silent {
		return dst
	}
	dst = append(w.event(dst, name), `,"response":`...)
	return w.endEvent(w.response(dst, status, reason, failure))
}

// What follows appends events, or nothing where the reply is one that is whole.

// event begins an event.
func (w *Writer) event(dst []byte, name string) []byte {
	if w.silent {
		return dst
	}
	dst = append(append(dst, "event: "...), name...)
	dst = append(append(dst, "\ndata: {\"type\":\""...), name...)
	dst = strconv.AppendInt(append(dst, `","sequence_number":`...), int64(w.sequence), 10)
	w.sequence++
	return dst
}

func (w *Writer) endEvent(dst []byte) []byte { return w.raw(dst, "}\n\n") }

// raw appends some of an event.
func (w *Writer) raw(dst []byte, s string) []byte {
	if w.silent {
		return dst
	}
	return append(dst, s...)
}

// value appends a member of an event; a nil value follows.
func (w *Writer) value(dst []byte, name string, v []byte) []byte {
	if w.silent {
		return dst
	}
	return append(append(append(append(dst, ',', '"'), name...), `":`...), v...)
}

// quoted appends a member that is a text, of which the inside is given.
func (w *Writer) quoted(dst []byte, name string, inner []byte) []byte {
	if w.silent {
		return dst
	}
	return append(append(w.value(dst, name, []byte{'"'}), inner...), '"')
}

func (w *Writer) number(dst []byte, name string, n int) []byte {
	if w.silent {
		return dst
	}
	return strconv.AppendInt(w.value(dst, name, nil), int64(n), 10)
}

// ofItem begins an event about the item of an index.
func (w *Writer) ofItem(dst []byte, name string, kind itemKind, index int) []byte {
	if w.silent {
		return dst
	}
	dst = w.itemID(append(w.event(dst, name), `,"item_id":"`...), kind, index)
	return w.number(append(dst, '"'), "output_index", index)
}

// ofPart begins an event about the part of the open item that goes on.
func (w *Writer) ofPart(dst []byte, name, index string) []byte {
	o := &w.open
	return w.number(w.ofItem(dst, name, o.kind, o.index), index, o.count)
}

// itemEvent begins an event that holds the item of an index, which follows.
func (w *Writer) itemEvent(dst []byte, name string, index int) []byte {
	return w.value(w.number(w.event(dst, name), "output_index", index), "item", nil)
}

// itemID appends the id of the item of an index.
func (w *Writer) itemID(dst []byte, kind itemKind, index int) []byte {
	switch kind {
	case messageItem:
		dst = append(dst, "msg_"...)
	case reasoningItem:
		dst = append(dst, "rs_"...)
	case functionItem:
		dst = append(dst, "fc_"...)
	case customItem:
		dst = append(dst, "ctc_"...)
	case shellItem:
		dst = append(dst, "lsh_"...)
	case imageItem:
		dst = append(dst, "ig_"...)
	}
	return strconv.AppendInt(append(append(dst, w.base...), '_'), int64(index), 10)
}
