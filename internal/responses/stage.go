package responses

import (
	"bytes"
	"context"
	"strings"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/memory"
)

// Stage puts the keeping of replies in front of next.
func (r *Responses) Stage(next llm.Handler) llm.Handler { return &stage{r, next} }

type stage struct {
	r    *Responses
	next llm.Handler
}

// Answers reports whether requests for a path, which is not decoded, are answered here: those
// for replies that have an id from here.
func (s *stage) Answers(path string) bool { return strings.HasPrefix(path, objects+ownID) }

// Serve implements llm.Handler. It has next to nothing on the stack, where it stands for as
// long as a stream does.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	switch {
	case req.Op == llm.Response && req.BodyReader == nil:
		c, err := s.r.begin(req, out)
		switch {
		case err != nil:
			return err
		case c != nil:
			return c.serve(ctx, s.next)
		}
	case req.Op == llm.Passthrough && s.Answers(req.Path):
		return s.r.object(req, out)
	}
	return s.next.Serve(ctx, req, out)
}

// call is a request whose reply may be kept, or which goes on from one that is. It is the sink
// of its reply.
type call struct {
	r      *Responses
	out    llm.Sink
	req    llm.Request // what is sent on
	thread llm.Thread
	buffer *memory.Buffer // of its body, where that is another
	before *turn          // that it goes on from, nil for none
	others []*turn        // that it refers to
	edits  []llm.Replacement
	inside int // bytes of its input that were said before

	keeps    bool // the reply is to be kept, under thread.ID
	stream   bool
	input    []byte // its own items
	reserved int64
}

// keptEdits is how much room for edits a call keeps for use again.
const keptEdits = 256

func (c *call) serve(ctx context.Context, next llm.Handler) error {
	defer c.end() // also where a stage behind it panics
	return next.Serve(ctx, &c.req, c)
}

// end forgets the call.
func (c *call) end() {
	r := c.r
	if c.keeps {
		r.store.figures.unfinished.Add(1)
	}
	r.account.Give(c.reserved)
	c.letGo()
	if c.before != nil {
		r.store.letGo(c.before)
	}
	r.buffers.Put(c.buffer)
	clear(c.edits)
	edits, others := c.edits[:0], c.others[:0]
	if max(cap(edits), cap(others)) > keptEdits {
		edits, others = nil, nil
	}
	*c = call{r: r, others: others, edits: edits}
	r.calls.Put(c)
}

// letGo gives back what the request referred to.
func (c *call) letGo() {
	for i, t := range c.others {
		c.r.store.letGo(t)
		c.others[i] = nil
	}
	c.others = c.others[:0]
}

// Start implements llm.Sink. A reply is kept where the gateway made it of another dialect's.
func (c *call) Start(h *llm.Head) error {
	if c.keeps = h.Kept && c.thread.ID != ""; c.keeps {
		c.stream = h.Kind == llm.EventStream
		c.takeInput()
	}
	err := c.out.Start(h)
	if err == nil && h.Sent && h.Kind == llm.EventStream {
		c.r.buffers.Put(c.buffer)
		c.buffer, c.req.Body = nil, nil
	}
	return err
}

// takeInput copies what the request itself says, for the request's memory may be another's
// before the reply ends.
func (c *call) takeInput() {
	at, _ := jsonscan.Get(c.req.Body, "input")
	value := c.req.Body[at.Start:at.End]
	n := int64(len(value) - c.inside + messageRoom)
	if !c.r.account.More(n) {
		c.keeps = false
		c.r.store.figures.noMemory.Add(1)
		return
	}
	c.reserved = n
	c.input = make([]byte, 0, n)
	if value[0] == '"' {
		c.input = append(append(append(c.input, messageHead...), value...), messageTail...)
		return
	}
	c.input = append(c.input, bytes.TrimSpace(value[1+c.inside:len(value)-1])...)
}

// Send implements llm.Sink. What ends the reply is kept before the client has it, so that it
// can be gone on from at once, with another machine too.
func (c *call) Send(events []llm.Event) error {
	if c.keeps {
		for i := range events {
			if object := c.whole(events[i].Raw); object != nil {
				c.keep(object)
			}
		}
	}
	return c.out.Send(events)
}

// whole gives the reply that an event has as a whole, nil for none.
func (c *call) whole(raw []byte) []byte {
	if !c.stream {
		return raw
	}
	const event = "event: response."
	if len(raw) < len(event)+2 || string(raw[:len(event)]) != event {
		return nil
	}
	name, data, ok := bytes.Cut(raw[len(event):], []byte("\ndata: "))
	if !ok || string(name) != "completed" && string(name) != "incomplete" {
		return nil
	}
	return jsonscan.Member(data, "response")
}

// keep keeps the reply that an object is, if it came to its end: that one came to a limit is
// no failure.
func (c *call) keep(object []byte) {
	status, _ := jsonscan.Get(object, "status")
	output, ok := jsonscan.Get(object, "output")
	switch string(object[status.Start:status.End]) {
	case `"completed"`, `"incomplete"`:
	default:
		return
	}
	if !ok || output.End-output.Start < 2 {
		return
	}
	c.keeps = false
	r := c.r
	// One room for all: input, the object around its output, output.
	n := int64(len(c.input)+len(object)) + turnRoom + replyRoom
	size := n
	if c.before != nil {
		size += c.before.size
	}
	if size > r.cfg.MaxEntryBytes {
		r.store.figures.tooLarge.Add(1)
		return
	}
	if !r.account.More(n) {
		r.store.figures.noMemory.Add(1)
		return
	}
	b := make([]byte, 0, len(c.input)+len(object))
	part := func(text []byte) []byte {
		from := len(b)
		b = append(b, text...)
		return b[from:len(b):len(b)]
	}
	kept := &reply{
		key: keyOf(c.req.Tenant, c.thread.ID), expires: time.Now().Add(r.cfg.TTL),
		head: part(object[:output.Start+1]), tail: part(object[output.End-1:]),
	}
	kept.turn = newTurn(c.before, part(c.input), part(bytes.TrimSpace(object[output.Start+1:output.End-1])))
	c.before = nil // the turn has it
	r.account.Give(n - kept.own() - kept.turn.own())
	r.keep(kept)
}
