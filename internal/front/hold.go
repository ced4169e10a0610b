package front

import (
	"io"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

const (
	// callBytes is what a call takes beside its body and its buffers: its state here
	// and at the upstream, stacks, heads. TestMemoryOfStreams measures it.
	callBytes = 16 << 10
	// unannounced is the room that a body of unknown length gets at first, in bytes. What
	// fits into it never waits for memory.
	unannounced = 16 << 10
	// middlingBody is the size up to which one seldom does, in bytes.
	middlingBody = 256 << 10
	// scarceRate is how fast a large body has to arrive on average while others wait
	// for memory, in bytes a second: who holds much must not be slow.
	scarceRate = 128 << 10
)

// begin says whether there is memory for another call, and reserves it.
func (in *request) begin() error {
	if err := in.s.memory.Admit(in.req.Priority); err != nil {
		return err
	}
	if err := in.s.held.Begin(callBytes); err != nil {
		return err
	}
	in.reserved = callBytes
	return nil
}

// hold reads the whole body, at most limit bytes. What it takes is reserved before
// anything is read: of the announced length all of it, so that bodies which all have
// come in part do not wait for each other.
func (in *request) hold(limit int64) error {
	in.body.limit = limit
	length := in.q.Length
	if length > limit {
		return in.refuseBody(errTooLarge(limit))
	}
	// One byte more, so that the end is seen without another buffer; and no more
	// than is kept, since what a client announces is not what it sends.
	room := int(min(length+1, memory.Largest))
	if length < 0 {
		room = unannounced
	}
	all := int64(memory.Room(room))
	if length >= memory.Largest {
		all += length + 1
	}
	if err := in.reserve(all); err != nil {
		return in.refuseBody(err)
	}
	owner := memory.Owner{Part: "request_body", ID: in.req.ID}
	var err error
	if in.buf, err = in.s.buffers.GetPaid(owner, room); err != nil {
		return in.refuseBody(err)
	}
	for {
		if n := len(in.buf.B); n == cap(in.buf.B) {
			if err := in.grow(owner, n); err != nil {
				return in.refuseBody(err)
			}
		}
		b := in.buf.B
		n, err := in.body.Read(b[len(b):cap(b)])
		in.buf.B = b[:len(b)+n]
		if err == io.EOF { //nolint:errorlint // body.Read returns it unwrapped
			break
		}
		if err != nil {
			return err
		}
	}
	in.req.Body, in.req.BodyLen = in.buf.B, int64(len(in.buf.B))
	return nil
}

// grow makes room for more than the n bytes that have come.
func (in *request) grow(owner memory.Owner, n int) error {
	size, was := int(in.q.Length)+1, int64(0)
	if in.q.Length < 0 {
		size, was = roomier(n, n+1), in.bodyRoom
		if err := in.reserve(int64(memory.Room(size))); err != nil {
			return err
		}
	} else if n == memory.Largest {
		was = memory.Largest
	}
	larger, err := in.s.buffers.GetPaid(owner, size)
	if err != nil {
		return err
	}
	larger.B = append(larger.B, in.buf.B...)
	in.s.buffers.Put(in.buf)
	in.buf = larger
	in.s.held.Give(was)
	in.bodyRoom -= was
	return nil
}

// reserve has memory for n bytes more of the body. Where it is a large one it may have
// to wait for that, with nothing read.
func (in *request) reserve(n int64) error {
	var err error
	began := time.Now()
	switch all := in.bodyRoom + n; {
	case all <= 2*unannounced:
		err = in.s.held.Begin(n)
	case all <= middlingBody:
		err = in.s.held.Middling(in.e.Context(), n, in.bodyRoom)
	default:
		err = in.s.held.Wait(in.e.Context(), n, in.bodyRoom)
	}
	in.body.began = in.body.began.Add(time.Since(began)) // which is not the client's doing
	in.body.large = in.bodyRoom+n > 2*unannounced
	if err == nil {
		in.bodyRoom += n
	}
	return err
}

// dropBody lets go of a body that nobody needs any more. A stream may go on for minutes
// after that.
func (in *request) dropBody() {
	in.s.buffers.Put(in.buf)
	in.s.held.Give(in.bodyRoom)
	in.buf, in.bodyRoom, in.req.Body, in.req.ModelSpan = nil, 0, nil, llm.Span{}
}
