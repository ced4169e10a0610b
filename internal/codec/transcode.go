package codec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"

	"sluice/internal/llm"
	"sluice/internal/protobuf"
)

// Direction is which way messages go.
type Direction uint8

// The directions.
const (
	Encode Direction = iota // JSON to protobuf
	Decode                  // protobuf to JSON

	directions
)

// String gives the direction's name in figures.
func (d Direction) String() string {
	if d == Encode {
		return "encode"
	}
	return "decode"
}

// plan turns the messages of one type into the other form. *protobuf.Plan is one.
type plan interface {
	AppendJSON(dst, wire []byte, o protobuf.Options, l protobuf.Limits) ([]byte, error)
	AppendWire(dst, json []byte, o protobuf.Options, l protobuf.Limits) ([]byte, error)
}

// target is a message type that was found.
type target struct {
	plan   plan
	digest [32]byte // of its schema
	name   string   // its full name
}

// message is a message to be turned into the other form. Unless the one that is
// binary is bare, it is a JSON string of base64.
type message struct {
	target
	direction             Direction
	options               protobuf.Options
	data                  []byte
	bareInput, bareOutput bool
	limit                 int   // bytes of what it becomes, before base64
	room                  *room // of the buffer that it goes to; nil is without bound
}

// scratch is memory for binary messages that come or go as base64.
type scratch struct {
	input, output         []byte
	inputRoom, outputRoom room
}

func (s *scratch) size() int { return cap(s.input) + cap(s.output) }

func (s *scratch) begin(g *grant) {
	s.input, s.output = s.inputRoom.adopt(g, s.input), s.outputRoom.adopt(g, s.output)
}

// hold reserves what it has become.
func (s *scratch) hold() {
	s.inputRoom.hold(cap(s.input))
	s.outputRoom.hold(cap(s.output))
}

// kept is what is used again.
func (s *scratch) kept() scratch { return scratch{input: s.input, output: s.output} }

// convert appends what a message becomes. Its errors are *llm.Error except for a
// fault of the transcoder's own.
func (c *Codec) convert(dst []byte, s *scratch, m *message) ([]byte, error) {
	n := len(dst)
	dst, err := c.unwrap(dst, s, m)
	c.count(m, len(dst)-n, err)
	return dst, err
}

// count counts a message of which size bytes were made.
func (c *Codec) count(m *message, size int, err error) {
	f := &c.figures
	f.messages[m.direction][outcomeOf(err)].Add(1)
	if err == nil {
		f.in[m.direction].Add(uint64(len(m.data)))
		f.out[m.direction].Add(uint64(size))
	}
}

// unwrap takes base64 off the input and puts it on the output.
func (c *Codec) unwrap(dst []byte, s *scratch, m *message) (_ []byte, err error) {
	input := m.data
	if m.direction == Decode && !m.bareInput {
		if s.input, err = s.inputRoom.least(s.input[:0], len(m.data)); err != nil {
			return dst, err
		}
		if s.input, err = appendBase64(s.input, m.data); err != nil {
			return dst, err
		}
		input = s.input
	}
	if m.direction == Decode || m.bareOutput {
		return c.transcode(dst, input, m)
	}
	inner := *m
	inner.room = &s.outputRoom
	if s.output, err = c.transcode(s.output[:0], input, &inner); err != nil {
		return dst, err
	}
	if dst, err = m.room.least(dst, base64.StdEncoding.EncodedLen(len(s.output))+smallBuffer/8); err != nil {
		return dst, err
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, s.output)
	return append(dst, '"'), nil
}

// transcode appends what input becomes, from the results that are kept if it can.
func (c *Codec) transcode(dst, input []byte, m *message) ([]byte, error) {
	q := question{direction: m.direction, options: m.options, digest: m.digest, typeName: m.name, input: input}
	output, key, ok := c.results.get(&q)
	if ok {
		if len(output) > m.limit {
			return dst, errOutput(m.limit)
		}
		dst, err := m.room.least(dst, len(output))
		if err != nil {
			return dst, err
		}
		return append(dst, output...), nil
	}
	n := len(dst)
	dst, err := c.transcodeAnew(dst, input, m)
	if err == nil {
		c.results.put(key, &q, dst[n:])
	}
	return dst, err
}

// transcodeAnew has the plan do it. A panic there is a fault of this message.
func (c *Codec) transcodeAnew(dst, input []byte, m *message) (out []byte, err error) {
	n := len(dst)
	defer func() {
		if p := recover(); p != nil {
			out, err = dst[:n], c.caught(p, m.name)
		}
	}()
	limits := protobuf.Limits{MaxOutput: m.limit, MaxDepth: c.cfg.MaxDepth, MaxFields: c.cfg.MaxFields}
	if m.room != nil && m.room.grant != nil {
		limits.Memory = m.room
	}
	if m.direction == Encode {
		out, err = m.plan.AppendWire(dst, input, m.options, limits)
	} else {
		out, err = m.plan.AppendJSON(dst, input, m.options, limits)
	}
	if err != nil {
		return dst[:n], c.errData(err, m)
	}
	return out, nil
}

// caught logs a panic and gives what it becomes: a fault of one message.
func (c *Codec) caught(p any, typeName string) error {
	c.log.Error("transcoder panicked", "type", typeName, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("transcoder panicked: %v", p)
}

// errData is what the client is told of a message that is refused.
func (c *Codec) errData(err error, m *message) error {
	fault, ok := errors.AsType[*protobuf.Error](err)
	if !ok {
		return err
	}
	if m.direction == Decode {
		if fault.Limit {
			return errLimit("data", "The %s goes beyond a limit: byte %d: %s (%s).", m.name, fault.Offset, fault.Msg, c.limits(m))
		}
		return errParam("invalid_data", "data", "The bytes are not a %s: byte %d: %s.", m.name, fault.Offset, fault.Msg)
	}
	param, place := "data", ""
	if fault.Path != "" {
		param, place = "data."+fault.Path, fault.Path+": "
	}
	if fault.Limit {
		return errLimit(param, "The %s goes beyond a limit: %sbyte %d: %s (%s).", m.name, place, fault.Offset, fault.Msg, c.limits(m))
	}
	return errParam("invalid_data", param, "The JSON is not a %s: %s%s (byte %d of the message).", m.name, place, fault.Msg, fault.Offset)
}

func (c *Codec) limits(m *message) string {
	return fmt.Sprintf("taken are %d messages inside each other, %d fields, and %d bytes of output", c.cfg.MaxDepth, c.cfg.MaxFields, m.limit)
}

func errOutput(limit int) *llm.Error {
	return errLimit("data", "The message becomes more than %d bytes.", limit)
}
