package mapping

import (
	"errors"
	"sync"

	"sluice/internal/cel"
	"sluice/internal/jsonscan"
	"sluice/internal/protobuf"
)

// Input is what a message is made of.
type Input struct {
	Body          []byte // the client's, valid JSON
	UpstreamModel string // the model's name at the upstream
	RequestID     string
	Stream        bool
	Prompt        []byte // what a chat template made; nil for none

	// Reserve is asked before more than a little is held, with n bytes, of which it is
	// given all back but what the message outgrew its buffer by, as -n. Its error ends the
	// work; nil is without bound.
	Reserve func(n int) error
}

var runs = sync.Pool{New: func() any { return new(run) }}

func giveBack(x *run) {
	x.release()
	runs.Put(x)
}

// AppendMessage appends the message to send, as it stands on the wire. What is wrong
// with the request is an *Error, where an expression or a value failed, or a
// *protobuf.Error, where a value does not fit its field; dst then comes back as it was.
// What Input.Reserve says is returned as it is.
func (c *Call) AppendMessage(dst []byte, in *Input) ([]byte, error) {
	x := runs.Get().(*run)
	defer giveBack(x)
	if err := c.build(x, in); err != nil {
		return dst, err
	}
	x.sent, x.grown.paid = meter{reserve: in.Reserve}, 0
	out, err := c.sent.AppendWire(dst, x.out, protobuf.Options{}, x.grown.limits())
	if err != nil {
		x.sent.end()
		out = dst
	}
	x.sent = meter{} // what it has stays reserved with the message
	return out, err
}

// AppendJSON appends the message to send as ProtoJSON, for people to look at.
func (c *Call) AppendJSON(dst []byte, in *Input) ([]byte, error) {
	x := runs.Get().(*run)
	defer giveBack(x)
	if err := c.build(x, in); err != nil {
		return dst, err
	}
	return append(dst, x.out...), nil
}

// AppendReply appends a message of the reply, given as ProtoJSON, as it stands on the
// wire: for people who try a mapping.
func (c *Call) AppendReply(dst, json []byte) ([]byte, error) {
	return c.received.AppendWire(dst, json, protobuf.Options{}, protobuf.Limits{})
}

func (c *Call) build(x *run, in *Input) error {
	x.meter.reserve = in.Reserve
	x.reset(c.mapping, len(in.Body))
	x.env.Set(0, cel.JSON(in.Body))
	x.names = append(append(x.names[:0], in.UpstreamModel...), in.RequestID...)
	x.env.Set(1, cel.Text(x.names[:len(in.UpstreamModel)]))
	x.env.Set(2, cel.Text(x.names[len(in.UpstreamModel):]))
	x.env.Set(3, cel.Boolean(in.Stream))
	if in.Prompt != nil {
		x.env.Set(4, cel.Text(in.Prompt))
	} else {
		x.env.Set(4, cel.Value{})
	}
	if in.Prompt == nil && c.prompts {
		if _, chat := jsonscan.Get(in.Body, "messages"); chat {
			return errNoPrompt
		}
	}
	x.refuse(c.refuse)
	there := x.append(c.request)
	if err := x.fault(); err != nil {
		return err
	}
	if !there {
		return errAbsent
	}
	return nil
}

// refuse fails with the first reason not to answer the request, if there is one.
func (x *run) refuse(reasons *node) {
	if reasons == nil {
		return
	}
	if list := cel.JSON(x.json(reasons)); list.Kind() == cel.List {
		it := list.Items(nil)
		if reason, ok := it.Next(); ok {
			x.say(reasons, string(jsonscan.AppendText(nil, reason.Raw())))
		}
	}
	x.out = x.out[:0]
}

// errNoPrompt is for a chat where the service takes a prompt.
var errNoPrompt = &Error{Said: true, Msg: "the service takes a prompt, and no chat template makes one of this chat; ask for a completion"}

// errAbsent is for a request whose $if does not hold at the top.
var errAbsent = errors.New("the mapping makes no message of the request")
