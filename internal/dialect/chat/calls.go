package chat

import (
	"bytes"

	"sluice/internal/dialect"
)

// calls are the calls of tools that a reply has up to now. Services tell them apart by an
// index, by an id alone, or by an id beside an index that is always the same. Names come whole,
// again with each piece, in pieces, or after arguments: a call is told when its name is there
// and something else comes than more of it.
type calls struct {
	list    []call
	waiting int // of the list, that were not told
	held    int // bytes of those
}

// call is one of a choice.
type call struct {
	choice, index       int    // it is the choice's call of that index
	number              int    // the service's index, noNumber for none
	id, name, arguments []byte // texts, empty for none; the last up to when it is told
	told, argued        bool   // argued is that arguments came
}

const (
	noNumber = -1
	// maxHeld bounds what calls that wait for a name hold, in bytes.
	maxHeld = 1 << 20
	// keptCalls bounds the calls whose room is kept for use again.
	keptCalls = 64
)

func (l *calls) reset() {
	list := l.list[:0]
	if cap(list) > keptCalls || l.held > keptRoom {
		list = nil
	}
	*l = calls{list: list}
}

// find gives the call that a piece goes on with, nil where it begins one.
func (l *calls) find(choice int, p *dialect.ToolCall) *call {
	var last *call
	for i := len(l.list) - 1; i >= 0; i-- {
		c := &l.list[i]
		if c.choice != choice || p.Index != noNumber && p.Index != c.number {
			continue
		}
		if last == nil {
			last = c
		}
		if p.ID == nil || bytes.Equal(p.ID, c.id) {
			last = c
			break
		}
	}
	switch {
	case last == nil, p.Name == nil:
		return last
	case p.ID != nil:
		if len(last.id) > 0 && !bytes.Equal(p.ID, last.id) {
			return nil
		}
	case last.argued && (p.Index == noNumber || !bytes.Equal(p.Name, last.name)) && len(last.name) > 0:
		return nil
	}
	return last
}

// add adds a call, with the room of an earlier one.
func (l *calls) add(choice, number int) *call {
	index := 0
	for i := len(l.list) - 1; i >= 0; i-- {
		if l.list[i].choice == choice {
			index = l.list[i].index + 1
			break
		}
	}
	n := len(l.list)
	if n < cap(l.list) {
		l.list = l.list[:n+1]
	} else {
		l.list = append(l.list, call{})
	}
	c := &l.list[n]
	*c = call{choice: choice, index: index, number: number, id: c.id[:0], name: c.name[:0], arguments: c.arguments[:0]}
	l.waiting++
	return c
}

// joined appends a text to one that is held.
func (l *calls) joined(have, more []byte) []byte {
	l.held += len(more)
	if len(have) == 0 {
		return append(have, more...)
	}
	return append(have[:len(have)-1], more[1:]...)
}

// piece reads a piece of a call, or a call that is whole.
func (r *reader) piece(to *dialect.Choice, p *dialect.ToolCall, whole bool) {
	l := &r.calls
	var c *call
	if !whole {
		c = l.find(to.Index, p)
	}
	says := p.Arguments != nil && !dialect.IsEmpty(p.Arguments)
	if c == nil {
		if p.ID == nil && p.Name == nil && !says {
			return
		}
		if len(l.list) == dialect.MaxCalls {
			r.event.Error = dialect.TooManyCalls()
			return
		}
		c = l.add(to.Index, p.Index)
	}
	l.tell(to, c, false)
	c.argued = c.argued || says
	if c.told {
		if says {
			to.ToolCalls = append(to.ToolCalls, dialect.ToolCall{Index: c.index, Arguments: p.Arguments})
		}
		return
	}
	if len(c.id) == 0 {
		c.id = append(c.id, p.ID...)
	}
	if p.Name != nil && !bytes.Equal(p.Name, c.name) { // a few services say it again
		c.name = l.joined(c.name, p.Name)
	}
	if says {
		c.arguments = l.joined(c.arguments, p.Arguments)
	}
	if l.held > maxHeld {
		r.event.Error = &dialect.Failure{Message: []byte(`"A call of the reply has no name."`)}
		return
	}
	if whole || c.argued && len(c.name) > 0 {
		l.told(to, c)
	}
}

// tell tells the calls of a choice that wait but for one: those that have a name, or all.
func (l *calls) tell(to *dialect.Choice, but *call, all bool) {
	if l.waiting == 0 {
		return
	}
	for i := range l.list {
		if c := &l.list[i]; c != but && !c.told && c.choice == to.Index && (all || len(c.name) > 0) {
			l.told(to, c)
		}
	}
}

func (l *calls) told(to *dialect.Choice, c *call) {
	c.told = true
	l.waiting--
	l.held -= len(c.name) + len(c.arguments)
	t := dialect.ToolCall{Index: c.index, Name: c.name}
	if len(c.name) == 0 {
		t.Name = []byte(`""`)
	}
	if len(c.id) > 0 {
		t.ID = c.id
	}
	if len(c.arguments) > 0 {
		t.Arguments = c.arguments
	}
	to.ToolCalls = append(to.ToolCalls, t)
}

// rest tells the calls that wait when the reply ends.
func (r *reader) rest(say func(*dialect.Event) error) error {
	if r.calls.waiting == 0 {
		return nil
	}
	r.event.Reset()
	for i := range r.calls.list {
		if c := &r.calls.list[i]; !c.told {
			r.calls.tell(r.event.Choice(c.choice), nil, true)
		}
	}
	return say(&r.event)
}
