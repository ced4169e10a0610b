package front

import (
	"sync"
	"time"
)

const (
	// scarceRate is how fast a large body has to arrive on average while others wait
	// for memory, in bytes a second, and scarceGrace how long it has before that: who
	// holds much must not be slow. It is less than those wait (memory.Patience).
	scarceRate  = 128 << 10
	scarceGrace = 2500 * time.Millisecond
)

// uploads are the large bodies that are being read.
type uploads struct {
	mu  sync.Mutex
	all map[*body]struct{}
}

func (u *uploads) add(b *body) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = make(map[*body]struct{})
	}
	u.all[b] = struct{}{}
}

func (u *uploads) remove(b *body) {
	if !b.large {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, b)
}

// hurry gives up those that are slow. It is called while somebody waits for memory.
func (u *uploads) hurry() {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	for b := range u.all {
		b.pace.hurry(b, now)
	}
}

// pace is what hurrying needs to know of a Read that may be under way.
type pace struct {
	mu  sync.Mutex
	due time.Time // until when the Read may last where somebody waits; zero when there is none
}

// begin begins a Read that may last until due.
func (p *pace) begin(b *body, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = b.began.Add(min(b.timeout, scarceGrace) + time.Duration(b.n)*time.Second/scarceRate)
	if p.due.Before(due) && b.memory.Budget.Waiting() {
		due = p.due
	}
	b.e.SetReadDeadline(due)
}

// end ends it. After that its deadline is not changed from outside: it would end the
// engine's watch for the client's leaving.
func (p *pace) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = time.Time{}
}

func (p *pace) hurry(b *body, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.due.IsZero() && now.After(p.due) {
		b.e.SetReadDeadline(time.Unix(1, 0))
	}
}
