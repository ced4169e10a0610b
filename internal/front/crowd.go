package front

import (
	"container/list"
	"sync"

	"sluice/internal/front/engine"
)

// crowd bounds how many replies are on their way at once, so that those who need
// no key to ask cannot hold memory without bound by taking nothing. One more ends
// the one that has gone longest without progress.
type crowd struct {
	mu   sync.Mutex
	list list.List // of *place, by their last progress
}

const (
	// strangerBytes is what a reply on its way takes: goroutines, buffers, the request. In
	// measurements 10,000 of HTTP/2 took 190 MiB.
	strangerBytes = 24 << 10
	// strangersShare is how much of the memory budget replies to those without a key may
	// take, and fewStrangers how many there may be in any case.
	strangersShare, fewStrangers = 0.15, 32
)

// mostStrangers is how many replies may be on their way to those without a key.
func (s *Server) mostStrangers(cfg *Config) int {
	size := s.memory.Budget.Size()
	if size == 0 {
		return cfg.MaxConnections
	}
	return min(cfg.MaxConnections, max(int(float64(size)*strangersShare/strangerBytes), fewStrangers))
}

// place is that of a reply in a crowd. The zero value is in none.
type place struct {
	e     engine.Exchange
	crowd *crowd
	at    *list.Element // nil once it was ended for another
}

// enter has a reply that has not begun go into a crowd of at most that many.
func (p *place) enter(e engine.Exchange, c *crowd, most int) {
	p.e = e
	e.Follow(p)
	p.move(c, most)
}

// move has it go into another crowd.
func (p *place) move(c *crowd, most int) {
	p.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.list.Front(); first != nil && c.list.Len() >= most {
		slow, _ := c.list.Remove(first).(*place)
		slow.at = nil
		slow.e.GiveUp() // it cannot leave while c is locked, so its handler is still there
	}
	p.crowd, p.at = c, c.list.PushBack(p)
}

// Moved implements engine.Follower.
func (p *place) Moved() {
	c := p.crowd
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.at != nil {
		c.list.MoveToBack(p.at)
	}
}

// leave takes the reply out, where it is in a crowd.
func (p *place) leave() {
	c := p.crowd
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.at != nil {
		c.list.Remove(p.at)
	}
	p.crowd, p.at = nil, nil
}
