package cache

import (
	"context"
	"crypto/sha256"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// An upstream may keep a reply under the id that stands in it. A client that
// deletes, cancels or changes it there does not expect to be given the old one
// again, so what is stored is forgotten with it, by the id alone: those who
// share an upstream's account share its objects.

const (
	// maxID bounds an id, in bytes. A reply with a longer one has none.
	maxID = 256
	// maxBefore is how many events of a stream may come before the one with its id.
	maxBefore = 8
	// forgetting is how long a request that has a reply forgotten waits for the
	// second level.
	forgetting = time.Second
)

// idOf gives what stands for an id; the zero Key for none.
func idOf(id []byte) Key {
	if len(id) == 0 || len(id) > maxID {
		return Key{}
	}
	var b [2 + maxID]byte
	return sha256.Sum256(append(append(b[:0], "id"...), id...))
}

// replyID gives what stands for a reply's id. ends are those of a stream's
// events, nil for a reply held whole, of which said is the outline.
func replyID(body []byte, ends []uint32, said *llm.Outline) Key {
	switch {
	case ends != nil:
	case said.ID != llm.Part{}:
		return idAs(said.ID.Of(body))
	default:
		return idIn(body)
	}
	start := uint32(0)
	for _, end := range ends[:min(len(ends), maxBefore)] {
		data, _ := sse.Data(body[start:end], nil)
		if id := idIn(data); id != (Key{}) {
			return id
		}
		start = end
	}
	return Key{}
}

// idIn reads the id of a reply, a chunk of one, or an event that has one whole.
func idIn(object []byte) Key {
	v, ok := jsonscan.Get(object, "id")
	if !ok {
		if v, ok = jsonscan.Get(object, "response", "id"); !ok {
			return Key{}
		}
	}
	return idAs(object[v.Start:v.End])
}

// idAs reads an id as JSON has it.
func idAs(raw []byte) Key {
	if len(raw) >= 2 && raw[0] == '"' && len(raw) <= maxID {
		if !slices.Contains(raw, '\\') {
			return idOf(raw[1 : len(raw)-1])
		}
		if id, err := jsonscan.String(raw); err == nil {
			return idOf([]byte(id))
		}
	}
	return Key{}
}

// ended gives the id of the reply that a request changes or ends at the upstream,
// the zero Key where it does none of that:
//
//	DELETE /v1/responses/{id}           POST /v1/responses/{id}/cancel
//	DELETE /v1/chat/completions/{id}    POST /v1/chat/completions/{id}
//
// What a conversation holds is in no stored reply.
func ended(req *llm.Request) Key {
	if req.Op != llm.Passthrough || req.Method == "GET" || req.Method == "HEAD" || req.Method == "OPTIONS" {
		return Key{}
	}
	rest, response := strings.CutPrefix(req.Path, "/v1/responses/")
	if !response {
		var chat bool
		if rest, chat = strings.CutPrefix(req.Path, "/v1/chat/completions/"); !chat {
			return Key{}
		}
	}
	id, action, _ := strings.Cut(rest, "/")
	if response && req.Method == "POST" && action == "" { // /v1/responses/compact
		return Key{}
	}
	id, err := url.PathUnescape(id)
	if err != nil {
		return Key{}
	}
	return idOf([]byte(id))
}

// forgetReply forgets the replies with an id, here and on the machines that
// share the second level, and has none that is under way stored. One that is
// down delays nobody: other machines may then have the reply until it expires.
func (c *Cache) forgetReply(ctx context.Context, id Key) {
	places := c.forgetID(id)
	if c.second == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forgetting)
	defer cancel()
	var found [1]Found
	err := c.second.Get(ctx, []Place{{Key: id}}, found[:])
	if err == nil {
		if p, ok := pointed(id, found[0], c.clock.Now()); ok && !slices.Contains(places, p) {
			places = append(places, p)
		}
		err = c.second.Forget(ctx, id, places)
	}
	if err != nil {
		c.log.Debug("a reply that was deleted may stay on other machines until it expires", "error", err)
	}
}

// forgetID is forgetReply for this machine alone. It gives the places of what
// was there.
func (c *Cache) forgetID(id Key) []Place {
	places := c.store.forget(id)
	c.flights.forgetID(id)
	c.discard(func(ids map[Key]struct{}) bool { _, there := ids[id]; return there })
	return places
}

// pointer is what the second level has under an id: the place of its reply.
func pointer(id Key, p Place, e *entry, now time.Duration) []byte {
	return marshal(id, &entry{head: e.head, body: p.Key[:], born: e.born, until: e.until}, now)
}

// pointed reads a pointer, which is not trusted: what it leads to is forgotten
// at worst.
func pointed(id Key, f Found, now time.Duration) (p Place, ok bool) {
	e, err := unmarshal(f.Value, id, now)
	if err != nil || len(e.body) != len(p.Key) {
		return Place{}, false
	}
	return Place{Model: e.head.Value().model, Key: Key(e.body)}, true
}

// ids knows the entries of each id.
type ids struct {
	mu   sync.Mutex
	keys map[Key]places
}

// places are the keys of an id's entries: nearly always one.
type places struct {
	first Key
	more  []Key
}

func (i *ids) add(id, key Key) {
	if id == (Key{}) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys == nil {
		i.keys = make(map[Key]places)
	}
	p, there := i.keys[id]
	if there {
		p.more = append(p.more, key)
	} else {
		p.first = key
	}
	i.keys[id] = p
}

// remove takes back one add.
func (i *ids) remove(id, key Key) {
	if id == (Key{}) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p, there := i.keys[id]
	last := len(p.more) - 1
	switch n := slices.Index(p.more, key); {
	case n >= 0:
		p.more = slices.Delete(p.more, n, n+1)
	case !there || p.first != key:
		return
	case last < 0:
		delete(i.keys, id)
		return
	default:
		p.first, p.more = p.more[last], p.more[:last]
	}
	i.keys[id] = p
}

func (i *ids) of(id Key) []Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, there := i.keys[id]
	if !there {
		return nil
	}
	return append([]Key{p.first}, p.more...)
}

// forgotten remembers the last ids that were forgotten, which are not stored
// again.
type forgotten struct {
	ids   map[Key]struct{}
	order []Key // of ids; once it is full the oldest is at next
	next  int
}

// maxForgotten bounds them. A call that was under way while more were forgotten
// is not stored at all.
const maxForgotten = 4096

func (f *forgotten) has(id Key) bool {
	_, there := f.ids[id]
	return there
}

func (f *forgotten) add(id Key) {
	if f.has(id) {
		return
	}
	if f.ids == nil {
		f.ids = make(map[Key]struct{})
	}
	f.ids[id] = struct{}{}
	if len(f.order) < maxForgotten {
		f.order = append(f.order, id)
		return
	}
	delete(f.ids, f.order[f.next])
	f.order[f.next] = id
	f.next = (f.next + 1) % maxForgotten
}
