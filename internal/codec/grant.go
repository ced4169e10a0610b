package codec

import (
	"context"
	"sync"

	"sluice/internal/memory"
)

// grant is what one request has reserved: what its body takes, by the claim itself, and
// what that becomes, by rooms. Its methods after accept are safe for concurrent use.
type grant struct {
	account *memory.Account // nil is without bound
	claim   memory.Claim

	mu     sync.Mutex
	credit int64 // bytes that stay reserved, used or not
	have   int64 // bytes that the claim has for rooms
	used   int64 // bytes of them that rooms hold
}

// accept reserves n bytes of what is to be held in rooms. It may wait for them.
func (g *grant) accept(ctx context.Context, n int64) error {
	if err := g.claim.Reserve(ctx, g.account, n); err != nil {
		return err
	}
	g.credit, g.have = n, n
	return nil
}

func (g *grant) reserve(n int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	used := g.used + int64(n)
	if used > g.have {
		if err := g.claim.Extend(g.account, used-g.have); err != nil {
			return err
		}
		g.have = used
	}
	g.used = used
	return nil
}

// hold is reserve for what is held already.
func (g *grant) hold(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used += int64(n)
	if more := g.used - g.have; more > 0 {
		g.claim.Raise(g.account, g.claim.Held()+more)
		g.have = g.used
	}
}

func (g *grant) give(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used -= int64(n)
	g.trim()
}

// settle gives back all but what the rooms hold: the body is not needed any more, and
// nothing more becomes of it.
func (g *grant) settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.credit = 0
	g.trim()
	g.claim.Give(g.account, g.claim.Held()-g.have)
}

func (g *grant) trim() {
	if over := g.have - max(g.used, g.credit); over > 0 {
		g.claim.Give(g.account, over)
		g.have -= over
	}
}

// end gives all back.
func (g *grant) end() {
	g.claim.GiveAll(g.account)
	g.credit, g.have, g.used = 0, 0, 0
}

// room is what a grant has for one buffer. It is a protobuf.Memory. Without a grant it
// is without bound, and buffers grow by themselves. It is used by one goroutine at a time.
type room struct {
	grant *grant
	paid  int
}

// smallBuffer is how large a buffer may be, in bytes, before room is asked for it: what
// is smaller is counted once it is there.
const smallBuffer = 32 << 10

// Grow implements protobuf.Memory. Until the new buffer is filled both are reserved.
func (r *room) Grow(b []byte, n int) ([]byte, error) {
	size := len(b) + n
	if err := r.grant.reserve(size); err != nil {
		return b, err
	}
	larger := make([]byte, len(b), size)
	copy(larger, b)
	r.grant.give(r.paid)
	r.paid = size
	return larger, nil
}

// Scratch implements protobuf.Memory.
func (r *room) Scratch(n int) error {
	if n <= 0 {
		r.grant.give(-n)
		return nil
	}
	return r.grant.reserve(n)
}

// least is Grow for a buffer in which there may be room for n bytes more.
func (r *room) least(b []byte, n int) ([]byte, error) {
	if r == nil || r.grant == nil || n <= cap(b)-len(b) || len(b)+n <= smallBuffer {
		return b, nil
	}
	return r.Grow(b, n)
}

// fit has size bytes be reserved, no more and no less.
func (r *room) fit(size int) error {
	if r.grant == nil || size == r.paid {
		return nil
	}
	if more := size - r.paid; more < 0 {
		r.grant.give(-more)
	} else if err := r.grant.reserve(more); err != nil {
		return err
	}
	r.paid = size
	return nil
}

// hold is fit for what is held already.
func (r *room) hold(size int) {
	if r.grant == nil || size <= r.paid {
		_ = r.fit(size) // giving back does not fail
		return
	}
	r.grant.hold(size - r.paid)
	r.paid = size
}

// adopt begins with a buffer that was kept, if there is room for one of its size.
func (r *room) adopt(g *grant, kept []byte) []byte {
	*r = room{grant: g}
	if cap(kept) > smallBuffer && r.fit(cap(kept)) != nil {
		return nil
	}
	return kept[:0]
}
