package responses

import (
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
