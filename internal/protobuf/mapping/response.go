package mapping

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"sluice/internal/cel"
	"sluice/internal/protobuf"
)

// The fields of events, by which Reader finds them.
const (
	idChoices = iota
	idUsage
	idError
	idEmbeddings

	idIndex
	idRole
	idText
	idReasoning
	idRefusal
	idFinish
	idLogprobs
	idToolCalls

	idID
	idName
	idArguments

	idMessage
	idCode

	idPrompt
	idCompletion
	idTotal
	idCached

	idValues
	idWidth
)

// shape makes the target of a part of an event.
func shape(name string, fields ...member) target {
	t := target{kind: messageKind, name: name}
	for _, f := range fields {
		t.names = append(t.names, f.name)
	}
	t.field = func(name string) *member {
		for i := range fields {
			if fields[i].name == name {
				return &fields[i]
			}
		}
		return nil
	}
	return t
}

func listOf(t target) target {
	t.list = true
	return t
}

const usageName = "usage"

var (
	anInt  = target{kind: intKind, bits: 64}                                                                              //nolint:gochecknoglobals // a table that nobody writes
	aText  = target{kind: stringKind}                                                                                     //nolint:gochecknoglobals // a table that nobody writes
	aCause = target{kind: stringKind, words: []string{"stop", "length", "tool_calls", "content_filter", "function_call"}} //nolint:gochecknoglobals // a table that nobody writes

	callShape   = shape("a tool call", member{idIndex, "index", nil, anInt}, member{idID, "id", nil, aText}, member{idName, "name", nil, aText}, member{idArguments, "arguments", nil, aText})  //nolint:gochecknoglobals // a table that nobody writes
	choiceShape = shape("a choice", member{idIndex, "index", nil, anInt}, member{idRole, "role", nil, aText}, member{idText, "text", nil, aText}, member{idReasoning, "reasoning", nil, aText}, //nolint:gochecknoglobals // a table that nobody writes
		member{idRefusal, "refusal", nil, aText}, member{idFinish, "finish", nil, aCause}, member{idLogprobs, "logprobs", nil, target{}}, member{idToolCalls, "tool_calls", nil, listOf(callShape)})
	usageShape = shape(usageName, member{idPrompt, "prompt", nil, anInt}, member{idCompletion, "completion", nil, anInt}, member{idTotal, "total", nil, anInt}, //nolint:gochecknoglobals // a table that nobody writes
		member{idCached, "cached", nil, anInt}, member{idReasoning, "reasoning", nil, anInt})
	errorShape  = shape("error", member{idMessage, "message", nil, aText}, member{idCode, "code", nil, aText})                                                                 //nolint:gochecknoglobals // a table that nobody writes
	vectorShape = shape("an embedding", member{idIndex, "index", nil, anInt}, member{idValues, "values", nil, target{kind: vectorKind}}, member{idWidth, "width", nil, anInt}) //nolint:gochecknoglobals // a table that nobody writes

	chatShape  = shape("response", member{idChoices, "choices", nil, listOf(choiceShape)}, member{idUsage, "usage", nil, usageShape}, member{idError, "error", nil, errorShape})       //nolint:gochecknoglobals // a table that nobody writes
	embedShape = shape("response", member{idEmbeddings, "embeddings", nil, listOf(vectorShape)}, member{idUsage, "usage", nil, usageShape}, member{idError, "error", nil, errorShape}) //nolint:gochecknoglobals // a table that nobody writes
)

// reply is a response section, compiled for one call.
type reply struct {
	root *node
	sum  bool // usage is of each message, and not of all up to it

	spans bool // floats and bytes are looked up in the message
}

func (l *loader) response(n ast.Node, call *Call, path, kind string, t target) *reply {
	c := &compiler{faults: l.faults, types: l.types, call: kind}
	c.vars = []cel.Var{{Name: "r", Type: c.message(call.Method.Output()), Members: new(cel.Members)}}
	r := &reply{}
	if pairs, ok := c.pairs(n, path); ok {
		if usage, ok := c.pairs(find(pairs, "usage"), path+".usage"); ok {
			r.sum = c.sums(find(usage, "$mode"), path+".usage.$mode")
		}
	}
	r.root = c.node(n, t, path)
	r.root.keep = true
	r.spans = call.embedding && !c.decodes
	return r
}

// sums reads $mode.
func (c *compiler) sums(n ast.Node, path string) bool {
	if n == nil {
		return false
	}
	mode, _ := scalar(n)
	if mode != "last" && mode != "sum" {
		c.add(n, path, "must be last or sum")
	}
	return mode == "sum"
}

// Reader reads the messages of one reply, one by one. It is used by one goroutine at a
// time, and for another reply of the same call after Reset.
type Reader struct {
	// Reserve is asked before more than a little is held, with n bytes, and given all back,
	// as -n, by the next Read, or Reset. Its error ends the work; nil is without bound.
	Reserve func(n int) error

	Vectors int // how many are expected of a message at most; 0 for any

	call  *Call
	run   run
	json  []byte
	grown grower // json
	event Event
	wire  []byte // of the message at hand
	usage Usage  // up to now
	calls []ToolCall
	parts []int // for each choice, where its calls begin
}

// NewReader gives a reader for a reply to the call.
func (c *Call) NewReader() *Reader {
	r := &Reader{call: c}
	r.grown.meter = &r.run.meter
	return r
}

// Reset makes ready for another reply, and holds on to nothing of this one.
func (r *Reader) Reset() {
	r.run.release()
	r.clear()
	r.usage, r.wire, r.Reserve, r.Vectors = Usage{}, nil, nil, 0
}

// clear lets go of the last message.
func (r *Reader) clear() {
	r.event = Event{Choices: trimmed(r.event.Choices), Embeddings: trimmed(r.event.Embeddings)}
	r.calls, r.parts = trimmed(r.calls), r.parts[:0]
	if cap(r.json) > maxKept {
		r.json = nil
	}
}

// begin begins with what is left of the last message, if there is memory for that.
func (r *Reader) begin() {
	r.clear()
	m := &r.run.meter
	m.end()
	m.reserve = r.Reserve
	e := &r.event
	r.grown.paid = cap(r.json)
	if m.take(cap(r.json) + cap(e.Choices)*bytesOf(e.Choices) + cap(e.Embeddings)*bytesOf(e.Embeddings) + cap(r.calls)*bytesOf(r.calls)) {
		return
	}
	r.json, r.event, r.calls, r.grown.paid, m.lack = nil, Event{}, nil, 0, nil
}

// Read reads the next message. The event holds until the next call, as long as wire
// does. The error is a *protobuf.Error for what is no message, an *Error, or what Reserve
// says.
func (r *Reader) Read(wire []byte) (*Event, error) {
	r.begin()
	var err error
	options := protobuf.Options{UseProtoNames: true, Spans: r.call.reply.spans}
	if r.json, err = r.call.received.AppendJSON(r.json[:0], wire, options, r.grown.limits()); err != nil {
		return nil, err
	}
	x := &r.run
	if !r.grown.hold(r.json) {
		return nil, x.meter.lack
	}
	x.reset(r.call.mapping, len(r.json))
	x.env.NullIsAbsent, x.reply, x.odds = false, true, false
	x.env.Set(0, cel.JSON(r.json))
	r.wire = wire
	r.each(r.call.reply.root, (*Reader).top)
	if err := x.fault(); err != nil {
		return nil, err
	}
	r.settle()
	return &r.event, nil
}

// Usage is that of the reply up to the message that was read last.
func (r *Reader) Usage() Usage { return r.usage }

// JSON is the message that was read last, with the names of the schema.
func (r *Reader) JSON() []byte { return r.json }

// settle gives each choice its calls: their list grew while they were read.
func (r *Reader) settle() {
	r.event.Usage = r.usage
	for i := range r.event.Choices {
		from, to := r.parts[i], len(r.calls)
		if i+1 < len(r.parts) {
			to = r.parts[i+1]
		}
		r.event.Choices[i].ToolCalls = r.calls[from:to]
	}
}

// each has take called with every object that n makes: elements of a list, or itself.
func (r *Reader) each(n *node, take func(r *Reader, object *node)) {
	if n == nil || r.run.err != nil {
		return
	}
	switch n.op {
	case opObject:
		if r.run.holds(n) {
			take(r, n)
		}
	case opList:
		for _, item := range n.items {
			r.each(item, take)
		}
	case opEach:
		r.loop(n, 0, take)
	case opIf:
		if r.run.holds(n) {
			r.each(n.then, take)
		} else {
			r.each(n.els, take)
		}
	case opAbsent:
	default:
		r.run.fail(n, "a whole value cannot be taken here: name its parts")
	}
}

func (r *Reader) loop(n *node, level int, take func(*Reader, *node)) {
	if level == len(n.loops) {
		if r.run.holds(n) {
			r.each(n.body, take)
		}
		return
	}
	l := &n.loops[level]
	for it := r.run.items(n, l); r.run.next(&it, l); {
		r.loop(n, level+1, take)
	}
}

func (r *Reader) top(n *node) {
	for i := range n.fields {
		f := &n.fields[i]
		switch f.id {
		case idChoices:
			r.each(f.node, (*Reader).choice)
		case idUsage:
			r.each(f.node, (*Reader).tokens)
		case idError:
			r.each(f.node, (*Reader).failure)
		case idEmbeddings:
			r.each(f.node, (*Reader).embedding)
		}
	}
}

func (r *Reader) choice(n *node) {
	c := Choice{}
	r.parts = append(r.parts, len(r.calls))
	x := &r.run
	for i := range n.fields {
		f := &n.fields[i]
		switch f.id {
		case idIndex:
			c.Index = int(x.int(f.node))
		case idRole:
			c.Role = x.text(f.node)
		case idText:
			c.Text = x.text(f.node)
		case idReasoning:
			c.Reasoning = x.text(f.node)
		case idRefusal:
			c.Refusal = x.text(f.node)
		case idFinish:
			c.Finish = x.text(f.node)
		case idLogprobs:
			x.odds = true
			c.Logprobs = x.json(f.node)
			x.odds = false
		case idToolCalls:
			r.each(f.node, (*Reader).toolCall)
		}
	}
	if c.Index < 0 || c.Index >= maxChoices || len(r.event.Choices) >= maxChoices || len(r.calls) > maxCalls {
		x.fail(n, tooMany)
		return
	}
	var ok bool
	if r.event.Choices, ok = extended(&x.meter, r.event.Choices); !ok {
		x.lacking()
		return
	}
	r.event.Choices = append(r.event.Choices, c)
}

// What no reply has more of.
const (
	maxChoices = 1024
	maxCalls   = 4096 // of tools, in all choices

	tooMany = "more choices, or calls of tools, than anybody asks for"
)

func (r *Reader) toolCall(n *node) {
	c := ToolCall{Index: -1}
	x := &r.run
	for i := range n.fields {
		f := &n.fields[i]
		switch f.id {
		case idIndex:
			c.Index = int(x.int(f.node))
		case idID:
			c.ID = x.text(f.node)
		case idName:
			c.Name = x.text(f.node)
		case idArguments:
			c.Arguments = x.text(f.node)
		}
	}
	if len(r.calls) >= maxCalls {
		x.fail(n, tooMany)
		return
	}
	var ok bool
	if r.calls, ok = extended(&x.meter, r.calls); !ok {
		x.lacking()
		return
	}
	r.calls = append(r.calls, c)
}

// tokens takes the usage that a message tells. One that tells none leaves what was.
func (r *Reader) tokens(n *node) {
	u := &r.usage
	for i := range n.fields {
		f := &n.fields[i]
		var to *int64
		switch f.id {
		case idPrompt:
			to = &u.Prompt
		case idCompletion:
			to = &u.Completion
		case idTotal:
			to = &u.Total
		case idCached:
			to = &u.Cached
		case idReasoning:
			to = &u.Reasoning
		}
		switch v := max(r.run.int(f.node), 0); {
		case r.call.reply.sum:
			*to += min(v, 1<<62-*to) // no sum of tokens is beyond
		case v > 0:
			*to = v
		}
	}
}

func (r *Reader) failure(n *node) {
	var message, code []byte
	for i := range n.fields {
		f := &n.fields[i]
		switch f.id {
		case idMessage:
			message = r.run.text(f.node)
		case idCode:
			code = r.run.text(f.node)
		}
	}
	if message != nil || code != nil {
		r.event.Error = &Failure{message, code}
	}
}

// embedding takes a vector, or as many as there are of a width in a row.
func (r *Reader) embedding(n *node) {
	e := Embedding{Index: len(r.event.Embeddings)}
	width := int64(0)
	var values *node
	for i := range n.fields {
		f := &n.fields[i]
		switch f.id {
		case idIndex:
			e.Index = int(r.run.int(f.node))
		case idWidth:
			if width = r.run.int(f.node); width <= 0 {
				r.run.fail(n, "the width of vectors is above 0")
			}
		case idValues:
			values = f.node
		}
	}
	r.vector(values, &e)
	if r.run.err == nil && (e.Packed != nil || e.List != nil) {
		r.rows(n, e, width)
	}
}

// vector finds the numbers of an embedding.
func (r *Reader) vector(n *node, e *Embedding) {
	raw := r.run.json(n)
	switch {
	case raw == nil:
		return
	case raw[0] == '"':
		e.Packed = r.bytes(n, raw)
	case raw[0] == '[':
		if len(raw) < 3 || raw[1] != '"' || noNumber(raw[1:]) {
			e.List = raw
			return
		}
		it := cel.JSON(raw).Items(nil)
		one, _ := it.Next()
		e.Packed = slices.Clip(r.bytes(n, one.Raw())) // so that the message stays as it is
		for v, ok := it.Next(); ok && r.run.err == nil; v, ok = it.Next() {
			e.Packed = r.join(e.Packed, r.bytes(n, v.Raw()))
		}
	default:
		r.run.fail(n, "expected a list of numbers")
	}
	if len(e.Packed)%4 != 0 {
		r.run.fail(n, strconv.Itoa(len(e.Packed))+" bytes are no floats of four bytes each")
	}
}

// noNumber reports whether JSON begins with what ProtoJSON has for a number that JSON does
// not have.
func noNumber(raw []byte) bool {
	for _, word := range [...]string{`"NaN"`, `"Infinity"`, `"-Infinity"`} {
		if len(raw) >= len(word) && string(raw[:len(word)]) == word {
			return true
		}
	}
	return false
}

// join appends more to what is packed.
func (r *Reader) join(have, more []byte) []byte {
	if size := len(have) + len(more); size > cap(have) {
		size = max(size, 2*cap(have))
		if !r.run.meter.take(size) {
			r.run.lacking()
			return have
		}
		have = append(make([]byte, 0, size), have...)
	}
	return append(have, more...)
}

// bytes gives what a place in the message, base64 or a single number says, as floats.
func (r *Reader) bytes(n *node, raw []byte) []byte {
	if start, end, ok := protobuf.ParseSpan(raw); ok && end <= len(r.wire) {
		return r.wire[start:end:end]
	}
	if raw[0] == '"' {
		if !r.run.meter.take(len(raw)) {
			r.run.lacking()
			return nil
		}
		if b, err := base64.StdEncoding.AppendDecode(nil, raw[1:len(raw)-1]); err == nil {
			return b
		}
		r.run.fail(n, "the string is no base64 of floats")
		return nil
	}
	f, err := strconv.ParseFloat(string(raw), 32)
	if err != nil {
		r.run.fail(n, "expected a list of numbers")
	}
	return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f)))
}

// rows adds a vector, or cuts it into those that it consists of.
func (r *Reader) rows(n *node, e Embedding, width int64) {
	if width == 0 {
		r.add(n, e)
		return
	}
	if e.List == nil {
		if len(e.Packed) == 0 {
			return
		}
		if int64(len(e.Packed)/4)%width != 0 {
			r.run.fail(n, "the numbers are not a multiple of the width")
			return
		}
		for row := range slices.Chunk(e.Packed, int(width)*4) {
			if !r.add(n, Embedding{Index: e.Index, Packed: row}) {
				return
			}
			e.Index++
		}
		return
	}
	it := cel.JSON(e.List).Items(nil)
	for {
		if !r.run.room(0) {
			return
		}
		mark := len(r.run.out)
		r.run.out = append(r.run.out, '[')
		for k := int64(0); k < width; k++ {
			v, ok := it.Next()
			if !ok {
				if k > 0 {
					r.run.fail(n, "the numbers are not a multiple of the width")
				}
				r.run.out = r.run.out[:mark]
				return
			}
			if !r.run.room(v.Room()) {
				return
			}
			if k > 0 {
				r.run.out = append(r.run.out, ',')
			}
			r.run.out = v.AppendJSON(r.run.out)
		}
		r.run.out = append(r.run.out, ']')
		if !r.add(n, Embedding{Index: e.Index, List: r.run.out[mark:len(r.run.out):len(r.run.out)]}) {
			return
		}
		e.Index++
	}
}

// add adds a vector.
func (r *Reader) add(n *node, e Embedding) (ok bool) {
	if r.Vectors > 0 && len(r.event.Embeddings) >= r.Vectors {
		return r.run.fail(n, "more than the "+strconv.Itoa(r.Vectors)+" vectors that are expected")
	}
	if r.event.Embeddings, ok = extended(&r.run.meter, r.event.Embeddings); !ok {
		return r.run.lacking()
	}
	r.event.Embeddings = append(r.event.Embeddings, e)
	return true
}
