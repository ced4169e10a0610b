package front

import (
	"io"
	"time"

	"sluice/internal/llm"
	"sluice/internal/memory"
)

const (
	// callBytes is what a call takes beside its body and its buffers: its state here
	// and at the upstream, stacks, heads. TestStreamsAlloc measures it.
	callBytes = 16 << 10
	// unannounced is the room that a body of unknown length gets at first, in bytes.
	unannounced = 16 << 10
)

// begin says whether there is memory for another call, and reserves it.
func (in *request) begin() error {
	if err := in.s.memory.Admit(in.req.Priority); err != nil {
		return err
	}
	if err := in.share(callBytes); err != nil {
		return err
	}
	if err := in.s.held.Begin(callBytes); err != nil {
		return err
	}
	in.reserved = callBytes
	return nil
}

// keyShare is how much of the memory budget the requests of one key may hold where there
// are others: who asks for too much, or sends too slowly, is in no other's way.
const keyShare = 0.5

// share counts n bytes for the request's key, which has to have room for them.
func (in *request) share(n int64) error {
	t, size := in.tenant, in.s.memory.Budget.Size()
	if t == nil || t.held == nil || size == 0 {
		return nil
	}
	if t.held.Add(n) > int64(float64(size)*keyShare) {
		t.held.Add(-n)
		in.s.stats.overShare.Add(1)
		e := llm.Errorf(429, "key_over_memory_share", "The requests of this API key hold half of the gateway's memory, which is what one key may have. Wait until some of them have ended.")
		e.Fault, e.RetryAfter = llm.Limited, time.Second
		return e
	}
	in.shared += n
	return nil
}

// unshare counts n bytes less.
func (in *request) unshare(n int64) {
	if in.shared > 0 {
		in.tenant.held.Add(-n)
		in.shared -= n
	}
}

// hold reads the whole body, at most limit bytes. What it takes is reserved before
// anything is read: of the announced length all of it, so that bodies which all have
// come in part do not wait for each other.
func (in *request) hold(limit int64) error {
	in.body.limit = limit
	defer in.s.uploads.remove(&in.body)
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
	var err error
	if in.buf, err = in.s.buffers.GetPaid(memory.Owner{Part: "request_body", ID: in.req.ID}, room); err != nil {
		return in.refuseBody(err)
	}
	for {
		if n := len(in.buf.B); n == cap(in.buf.B) {
			if err := in.grow(n); err != nil {
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
func (in *request) grow(n int) error {
	size, was := int(in.q.Length)+1, int64(memory.Largest) // which that was reserved beside
	if in.q.Length < 0 {
		size, was = roomier(n, n+1), in.bodyRoom.Held()
		if err := in.reserve(int64(memory.Room(size))); err != nil {
			return err
		}
	}
	var err error
	if in.buf, err = in.s.buffers.Grow(in.buf, size); err != nil {
		return err
	}
	in.bodyRoom.Give(in.s.held, was)
	in.unshare(was)
	return nil
}

// reserve has memory for n bytes more of the body. Where it is a large one it may have
// to wait for that, with nothing read.
func (in *request) reserve(n int64) error {
	if err := in.share(n); err != nil {
		return err
	}
	err := in.await(n)
	if err != nil {
		in.unshare(n)
	}
	return err
}

func (in *request) await(n int64) error {
	if in.body.large = in.bodyRoom.Held()+n > memory.Small; !in.body.large {
		return in.bodyRoom.Reserve(in.e.Context(), in.s.held, n)
	}
	began := time.Now()
	err := in.bodyRoom.Reserve(in.e.Context(), in.s.held, n)
	in.body.began = in.body.began.Add(time.Since(began)) // which is not the client's doing
	in.s.uploads.add(&in.body)
	return err
}

// dropBody lets go of a body that nobody needs any more. A stream may go on for minutes
// after that.
func (in *request) dropBody() {
	in.s.buffers.Put(in.buf)
	in.unshare(in.bodyRoom.Held())
	in.bodyRoom.GiveAll(in.s.held)
	in.buf, in.req.Body, in.req.ModelSpan = nil, nil, llm.Span{}
}
