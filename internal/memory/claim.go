package memory

import "context"

// Claim is what one request has reserved for what it holds whole, such as its body. It
// is used by one goroutine at a time.
type Claim struct{ held int64 }

// The sizes in bytes that decide how a Claim comes by more: up to Small it is given at
// once or not at all, up to middling it seldom waits, and beyond that it has its turn.
const (
	Small    = 32 << 10
	middling = 256 << 10
)

// Reserve reserves n bytes more, of an Account that is always the same. What is large may
// have to wait for them; see Account.Wait for how long, and for the error.
func (c *Claim) Reserve(ctx context.Context, a *Account, n int64) error {
	var err error
	switch all := c.held + n; {
	case all <= Small:
		err = a.Begin(n)
	case all <= middling:
		err = a.Middling(ctx, n, c.held)
	default:
		err = a.Wait(ctx, n, c.held)
	}
	if err == nil {
		c.held += n
	}
	return err
}

// Give gives n bytes back.
func (c *Claim) Give(a *Account, n int64) {
	a.Give(n)
	c.held -= n
}

// GiveAll gives back what is reserved.
func (c *Claim) GiveAll(a *Account) { c.Give(a, c.held) }

// Held is what is reserved, in bytes.
func (c *Claim) Held() int64 { return c.held }

// Raise has at least n bytes be reserved, whether there is room or not: they are held.
func (c *Claim) Raise(a *Account, n int64) {
	if n > c.held {
		a.Hold(n - c.held)
		c.held = n
	}
}

// Extend is Reserve for work that has begun, holds others up and cannot wait: there is
// room now, within the same marks, or there is none.
func (c *Claim) Extend(a *Account, n int64) error {
	share := 1.0
	switch all := c.held + n; {
	case all > middling:
		share = largeShare
	case all > Small:
		share = middlingShare
	}
	if a.reserve(n, share) {
		c.held += n
		return nil
	}
	most := a.budget.most(share)
	if a.most > 0 {
		most = min(most, a.budget.most(a.most))
	}
	if n > most-c.held {
		return tooLarge(n+c.held, most)
	}
	return lacking(n)
}
