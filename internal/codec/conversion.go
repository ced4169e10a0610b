package codec

import (
	"context"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// conversion is one request to encode or decode. It is kept for use again.
type conversion struct {
	ask
	c         *Codec
	direction Direction
	bareBody  bool // the body is a message and no envelope
	bareReply bool // and so is the reply

	grant   grant
	room    room           // of the reply
	input   *memory.Buffer // backs a body that is not held elsewhere
	reply   []byte         // its own, as scratch is
	scratch scratch

	head   llm.Head
	fields [1]llm.Field
	events [1]llm.Event
	parts  []llm.Event // of the reply to a batch
}

// keepConversion is how much memory in bytes a conversion may keep for use again.
const keepConversion = 1 << 20

func (c *Codec) borrow(d Direction) *conversion {
	k, ok := c.conversions.Get().(*conversion)
	if !ok {
		k = &conversion{}
	}
	k.c, k.direction, k.grant.account = c, d, c.held
	k.reply = k.room.adopt(&k.grant, k.reply)
	k.scratch.begin(&k.grant)
	return k
}

func (c *Codec) release(k *conversion) {
	c.buffers.Put(k.input)
	k.grant.end()
	k.input = nil
	if cap(k.reply)+k.scratch.size() > keepConversion {
		return
	}
	clear(k.parts)
	*k = conversion{reply: k.reply[:0], scratch: k.scratch.kept(), parts: k.parts[:0]}
	c.conversions.Put(k)
}

// serveConversion answers a request to encode or decode.
func (c *Codec) serveConversion(ctx context.Context, req *llm.Request, out llm.Sink, d Direction) error {
	k := c.borrow(d)
	defer c.release(k)
	size, b, err := k.begin(ctx, req)
	defer b.release()
	if err != nil {
		return err
	}
	if b != nil {
		err = k.batch(b)
	} else {
		err = k.single(ctx, size)
	}
	if err != nil {
		return err
	}
	k.settle()
	return k.send(out)
}

// settle gives back what is not needed while the reply is sent.
func (k *conversion) settle() {
	c := k.c
	k.data = nil // of the input
	c.buffers.Put(k.input)
	k.input = nil
	k.room.hold(cap(k.reply))
	k.scratch.hold()
	k.grant.settle()
}

// begin reads the request: its query, its body of size bytes, and what that says.
// The batch, nil for one message, has the items. It is to be released, after an
// error too.
func (k *conversion) begin(ctx context.Context, req *llm.Request) (size int, b *batch, err error) {
	if err := k.parseQuery(req.RawQuery); err != nil {
		return 0, nil, err
	}
	if k.encoding != "" {
		return 0, nil, errParam("unknown_parameter", "encoding", "The query's encoding is for %sdecode/stream.", prefix)
	}
	if k.bareBody, err = k.bare(req); err != nil {
		return 0, nil, err
	}
	body, err := k.read(ctx, req)
	if err != nil {
		return 0, nil, err
	}
	if err := k.reserveResult(ctx, len(body)); err != nil {
		return 0, nil, err
	}
	if k.bareBody {
		k.data = body
	} else if b, err = k.open(ctx, body); err != nil {
		return 0, b, err
	}
	k.bareReply = k.wantsBare(req.Get("Accept"))
	return len(body), b, nil
}

// bare reports whether the body is a message and no envelope.
func (k *conversion) bare(req *llm.Request) (bool, error) {
	if err := checkCoding(req); err != nil {
		return false, err
	}
	named := k.typeName != ""
	switch content := kindOf(req.Get("Content-Type")); {
	case content == anyKind:
		return named, nil
	case content == jsonKind:
		return named && k.direction == Encode, nil
	case content == wireKind && k.direction == Decode:
		return true, nil
	case k.direction == Decode:
		return false, errContent(req, "application/x-protobuf or application/json")
	default:
		return false, errContent(req, "application/json")
	}
}

func checkCoding(req *llm.Request) error {
	if v := req.Get("Content-Encoding"); v != "" && v != "identity" {
		return llm.Errorf(statusUnsupportedMedia, "unsupported_content_encoding", "The body's Content-Encoding %q is not supported. Send it as it is.", v)
	}
	return nil
}

func errContent(req *llm.Request, want string) error {
	return llm.Errorf(statusUnsupportedMedia, "unsupported_content_type", "The Content-Type %q is not supported by %s. Send %s.", req.Get("Content-Type"), req.Path, want)
}

// wantsBare reports whether the reply is to be a message and no envelope.
func (k *conversion) wantsBare(accept string) bool {
	if k.wrap != unsaid {
		return k.wrap == no
	}
	if k.direction == Encode && accept != "" {
		switch preferred(accept) {
		case wireKind:
			return true
		case jsonKind:
			return false
		}
	}
	return k.bareBody
}

// single does the one message of a request whose body has size bytes.
func (k *conversion) single(ctx context.Context, size int) error {
	if k.data == nil && !k.bareBody {
		return errMissing("data", "The request has neither \"data\" nor \"items\".")
	}
	t, err := k.c.find(k.typeName, k.schema)
	if err != nil {
		return err
	}
	if size <= k.c.cfg.InlineBytes {
		return k.message(t)
	}
	return k.aside(ctx, t)
}

// aside has a worker do it. It stands apart so that the variables that it shares
// cost an allocation only here.
func (k *conversion) aside(ctx context.Context, t target) (failed error) {
	if err := k.c.pool.run(ctx, 1, func(int) { failed = k.message(t) }); err != nil {
		return errUndone(err)
	}
	return failed
}

// message makes the reply of the one message.
func (k *conversion) message(t target) (err error) {
	m := message{
		target: t, direction: k.direction, options: k.options, data: k.data,
		bareInput: k.bareBody, bareOutput: k.bareReply, limit: k.c.cfg.MaxOutputBytes, room: &k.room,
	}
	if k.bareReply {
		k.reply, err = k.c.convert(k.reply, &k.scratch, &m)
		return err
	}
	k.reply = append(k.reply, `{"type":`...)
	k.reply = jsonscan.AppendString(k.reply, t.name)
	k.reply = append(k.reply, `,"data":`...)
	k.reply, err = k.c.convert(k.reply, &k.scratch, &m)
	k.reply = append(k.reply, '}')
	return err
}

// send sends the reply.
func (k *conversion) send(out llm.Sink) error {
	k.fields[0] = llm.Field{Name: "Content-Type", Value: "application/json"}
	if k.direction == Encode && k.bareReply && k.items.End == 0 {
		k.fields[0].Value = "application/x-protobuf"
	}
	k.events[0] = llm.Event{Raw: k.reply}
	events := k.events[:]
	if k.items.End > 0 {
		events = k.parts
	}
	k.head = llm.Head{Status: 200, Kind: llm.Unary, Header: k.fields[:]}
	if len(events) > 1 {
		k.head.Kind = llm.Pieces
	}
	for i := range events {
		k.head.Length += int64(len(events[i].Raw))
	}
	if err := out.Start(&k.head); err != nil {
		return err
	}
	return out.Send(events)
}
