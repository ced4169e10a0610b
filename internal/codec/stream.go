package codec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"sluice/internal/llm"
)

const (
	// readBytes is how much of a stream is read at once.
	readBytes = 16 << 10
	// sendBytes is how much may be made of it before it is sent on.
	sendBytes = 64 << 10
	// keepEvents is how many events a stream that waits may have the room of.
	keepEvents = 256
	// eventBytes is what one takes beside its bytes.
	eventBytes = int(unsafe.Sizeof(llm.Event{}) + unsafe.Sizeof(0))
)

// source cuts what it is given into messages.
type source interface {
	put(piece []byte) error
	// next returns the next whole message; ok is false when there is none yet.
	next() (data []byte, ok bool, err error)
	// trim lets go of what is not needed until more comes. What next returned is gone.
	trim() error
	// ended reports whether the stream said that it is at its end.
	ended() bool
	// rest is an error when the stream ends within a message.
	rest() error
}

// stream is one request to decode messages as they come.
type stream struct {
	c      *Codec
	m      message
	source source
	out    llm.Sink

	input  grant // what came and is not decoded
	output grant
	room   room // of text

	started bool
	count   int    // messages that were taken
	text    []byte // events that wait to be sent
	ends    []int  // where each ends
	events  []llm.Event
}

// serveStream answers a request to decode a stream. What is sent does not wait
// for what is read after it, and nothing is read while the client takes nothing.
//
// A read that waits ends when the body does, which front sees to when the client
// leaves.
func (c *Codec) serveStream(ctx context.Context, req *llm.Request, out llm.Sink) error {
	s := &stream{c: c, out: out, input: grant{account: c.streams}, output: grant{account: c.held}}
	s.room.grant = &s.output
	defer s.input.end()
	defer s.output.end()
	if err := s.begin(req); err != nil {
		return err
	}
	body := req.BodyReader
	if body == nil {
		body = bytes.NewReader(req.Body)
	}
	lent, err := c.buffers.Get(readBytes)
	if err != nil {
		return err
	}
	defer c.buffers.Put(lent)
	buf := lent.B[:readBytes]
	for !s.source.ended() {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := body.Read(buf)
		if e := s.feed(ctx, buf[:n]); e != nil {
			return e
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	return s.end()
}

// begin finds out what the stream is.
func (s *stream) begin(req *llm.Request) error {
	var a ask
	if err := a.parseQuery(req.RawQuery); err != nil {
		return err
	}
	if a.wrap != unsaid {
		return errParam("unknown_parameter", "envelope", "A stream has no envelope.")
	}
	if err := checkCoding(req); err != nil {
		return err
	}
	cfg := &s.c.cfg
	switch content := kindOf(req.Get("Content-Type")); {
	case content == eventKind:
		if a.encoding == "" {
			a.encoding = cfg.SSEEncoding
		}
		s.source = newEvents(cfg.MaxInputBytes, a.encoding, &s.input)
	case content != wireKind && content != anyKind:
		return errContent(req, "application/x-protobuf or text/event-stream")
	case a.encoding != "":
		return errParam("unknown_parameter", "encoding", "The query's encoding is for streams of the type text/event-stream.")
	default:
		s.source = &frames{max: cfg.MaxInputBytes, room: room{grant: &s.input}}
	}
	t, err := s.c.find(a.typeName, a.schema)
	if err != nil {
		return err
	}
	s.m = message{target: t, direction: Decode, options: a.options, bareInput: true, bareOutput: true, limit: cfg.MaxOutputBytes, room: &s.room}
	return nil
}

// feed decodes and sends the messages that a piece of the stream completes.
func (s *stream) feed(ctx context.Context, piece []byte) error {
	err := s.source.put(piece)
	for err == nil {
		var ok bool
		if s.m.data, ok, err = s.source.next(); !ok || err != nil {
			break
		}
		if err = ctx.Err(); err == nil {
			err = s.message()
		}
	}
	// What came before a fault is sound.
	if e := s.send(); e != nil {
		return e
	}
	s.m.data = nil
	if err == nil {
		err = s.source.trim()
	}
	if err != nil {
		return s.errAt(err)
	}
	return nil
}

// message decodes one message into an event.
func (s *stream) message() (err error) {
	n := len(s.text)
	s.text = append(s.text, "data: "...)
	// Kept results are for messages that come again.
	s.text, err = s.c.transcodeAnew(s.text, s.m.data, &s.m)
	s.c.count(&s.m, len(s.text)-n-len("data: "), err)
	if err != nil {
		s.text = s.text[:n]
		return err
	}
	s.text = append(s.text, '\n', '\n')
	s.ends = append(s.ends, len(s.text))
	s.count++
	if len(s.text) >= sendBytes {
		return s.send()
	}
	return nil
}

// send hands on the events that wait. The head goes with the first, so that a
// fault up to there still is a whole error reply.
func (s *stream) send() error {
	if len(s.ends) == 0 {
		return nil
	}
	if !s.started {
		s.started = true
		head := &llm.Head{Status: 200, Kind: llm.EventStream, Length: -1, Header: []llm.Field{{Name: "Content-Type", Value: "text/event-stream"}}}
		if err := s.out.Start(head); err != nil {
			return err
		}
	}
	// The client may take its time.
	if err := s.room.fit(cap(s.text) + eventBytes*max(cap(s.ends), cap(s.events))); err != nil {
		return err
	}
	start := 0
	s.events = s.events[:0]
	for _, end := range s.ends {
		s.events = append(s.events, llm.Event{Raw: s.text[start:end]})
		start = end
	}
	err := s.out.Send(s.events)
	s.text, s.ends = s.text[:0], s.ends[:0]
	if cap(s.text) > 2*sendBytes {
		s.text = nil // thousands of streams may be open
	}
	if cap(s.ends) > keepEvents {
		s.ends, s.events = nil, nil
	}
	s.room.hold(cap(s.text) + eventBytes*max(cap(s.ends), cap(s.events)))
	return err
}

// end ends a stream of which all was read.
func (s *stream) end() error {
	if err := s.source.rest(); err != nil {
		return s.errAt(err)
	}
	s.text = append(s.text, "data: [DONE]\n\n"...)
	s.ends = append(s.ends, len(s.text))
	return s.send()
}

// errAt says at which message of the stream an error came.
func (s *stream) errAt(err error) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok {
		return err
	}
	at := *e
	at.Message = fmt.Sprintf("Message %d of the stream: %s", s.count+1, e.Message)
	return &at
}
