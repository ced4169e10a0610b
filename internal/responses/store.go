package responses

import (
	"container/list"
	"context"
	"sync"
	"time"

	"sluice/internal/memory"
)

// turn is a request and its reply, as items of a conversation: their JSON with commas between
// them and no brackets. Turns are not changed, so that those who go on from one have it in
// common, however many there are: a conversation takes what was said in it, once.
type turn struct {
	before        *turn // nil for the first
	input, output []byte
	size          int64 // bytes, with all before it

	users int // replies that are kept, calls under way, turns after it; guarded by store.mu
}

// What a turn and a reply take beside their texts, in bytes.
const (
	turnRoom  = 160
	replyRoom = 256
)

func newTurn(before *turn, input, output []byte) *turn {
	t := &turn{before: before, input: input, output: output, users: 1}
	t.size = t.own()
	if before != nil {
		t.size += before.size
	}
	return t
}

// own is what it takes by itself, in bytes.
func (t *turn) own() int64 { return int64(len(t.input)+len(t.output)) + turnRoom }

// turns lists t and all before it, the first one first.
func (t *turn) turns() []*turn {
	n := 0
	for u := t; u != nil; u = u.before {
		n++
	}
	all := make([]*turn, n)
	for u := t; u != nil; u = u.before {
		n--
		all[n] = u
	}
	return all
}

// reply is one that is kept. It is not changed.
type reply struct {
	key        key
	head, tail []byte // the object up to the items of its output, and from there on
	turn       *turn  // the last of its conversation
	expires    time.Time
	shared     bool // the second level may have it too
}

func (r *reply) own() int64 { return int64(len(r.head)+len(r.tail)) + replyRoom }

// store is what is kept in memory. What it holds is reserved by whoever puts it in.
type store struct {
	account *memory.Account
	figures figures

	mu    sync.Mutex
	all   map[key]*list.Element // of *reply
	order list.List             // what was used last is in front
	bytes int64
	most  int64
	users int // chains; the last one to go empties it
}

func newStore(account *memory.Account) *store {
	return &store{account: account, all: make(map[key]*list.Element)}
}

// get gives the reply of a key, nil for none. Its turn is the caller's until he lets go of it.
func (s *store) get(k key) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.all[k]
	if at == nil {
		return nil
	}
	r, _ := at.Value.(*reply)
	if !time.Now().Before(r.expires) {
		s.remove(at)
		s.figures.expired.Add(1)
		return nil
	}
	s.order.MoveToFront(at)
	r.turn.users++
	return r
}

// put keeps a reply, with the turn that was its maker's, and lets go of those that were used
// least where there is no room.
func (s *store) put(r *reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += r.turn.own() + r.own()
	if at := s.all[r.key]; at != nil { // another one has brought it from the second level
		s.remove(at)
	}
	s.all[r.key] = s.order.PushFront(r)
	s.shrink()
}

// shrink lets go of replies until there is room.
func (s *store) shrink() {
	for s.bytes > s.most && s.order.Len() > 0 {
		s.remove(s.order.Back())
		s.figures.evicted.Add(1)
	}
}

// bound says how many bytes there may be.
func (s *store) bound(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = bytes
	s.shrink()
}

// drop lets go of the reply of a key, and reports whether there was one.
func (s *store) drop(k key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.all[k]
	if at == nil {
		return false
	}
	s.remove(at)
	s.figures.deleted.Add(1)
	return true
}

// remove lets go of a reply. s.mu is held.
func (s *store) remove(at *list.Element) {
	r, _ := s.order.Remove(at).(*reply)
	delete(s.all, r.key)
	s.less(r.own())
	s.release(r.turn)
}

// letGo gives a turn back.
func (s *store) letGo(t *turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(t)
}

// release is letGo while s.mu is held. The last user of a turn gives back the one before it.
func (s *store) release(t *turn) {
	for ; t != nil; t = t.before {
		if t.users--; t.users > 0 {
			return
		}
		s.less(t.own())
	}
}

func (s *store) less(n int64) {
	s.bytes -= n
	s.account.Give(n)
}

// sweep lets go of what has expired.
func (s *store) sweep(ctx context.Context) (n int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, before := time.Now(), s.bytes
	for at := s.order.Front(); at != nil && ctx.Err() == nil; {
		next := at.Next()
		if r, _ := at.Value.(*reply); !now.Before(r.expires) {
			s.remove(at)
			n++
		}
		at = next
	}
	s.figures.expired.Add(uint64(n))
	return n, before - s.bytes
}

// held is how much there is.
func (s *store) held() (replies int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.bytes
}

// enter and leave count the chains that use the store.
func (s *store) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
}

func (s *store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	for s.order.Len() > 0 {
		s.remove(s.order.Back())
	}
}
