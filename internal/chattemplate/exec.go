package chattemplate

import (
	"fmt"
	"time"
)

// exec runs a template for one chat. What is wrong ends it by a panic with an *Error.
type exec struct {
	frame *frame
	out   []byte
	now   time.Time
	line  int
	depth int
	steps int // that are left
	bytes int

	reserve func(n int) error // nil is without bound
	spent   int               // bytes
	asked   int               // of them, that are reserved
}

// lacking is the error of who was asked for memory, as a panic.
type lacking struct{ error }

// unasked is how many bytes are spent at most that are not reserved.
const unasked = 32 << 10

// frame holds what names stand for in a part of a template, within another one.
type frame struct {
	names  []string
	values []value
	parent *frame
}

// turnFrame makes the frame of a turn of a loop, with room for its variable and loop.
func turnFrame(parent *frame) *frame {
	f := &struct {
		frame

		names  [2]string
		values [2]value
	}{}
	f.frame = frame{f.names[:0], f.values[:0], parent}
	return &f.frame
}

func (f *frame) set(name string, v value) {
	for i, n := range f.names {
		if n == name {
			f.values[i] = v
			return
		}
	}
	f.names, f.values = append(f.names, name), append(f.values, v)
}

func (e *exec) lookup(name string) value {
	for f := e.frame; f != nil; f = f.parent {
		for i, n := range f.names {
			if n == name {
				return f.values[i]
			}
		}
	}
	if f, ok := globals(name); ok {
		return f
	}
	return undefined{name}
}

func (e *exec) fail(msg string, args ...any) {
	panic(&Error{Line: e.line, Msg: fmt.Sprintf(msg, args...)})
}

// maxDepth is how deep values, calls and blocks may be inside each other.
const maxDepth = 200

func (e *exec) enter() {
	if e.depth++; e.depth > maxDepth {
		panic(&Error{Line: e.line, Msg: "values or calls are nested too deep", Limit: true})
	}
}

func (e *exec) leave() { e.depth-- }

// step counts work.
func (e *exec) step(n int) {
	if e.steps -= n; e.steps < 0 {
		panic(&Error{Line: e.line, Msg: "it takes more steps than the limit allows", Limit: true})
	}
}

// spend counts memory, in bytes.
func (e *exec) spend(n int) {
	if e.bytes -= n; e.bytes < 0 || n < 0 {
		panic(&Error{Line: e.line, Msg: "it takes more memory than the limit allows", Limit: true})
	}
	e.spent += n
	if more := e.spent - e.asked; e.reserve != nil && more > unasked {
		more += unasked // so that it is not asked each time
		if err := e.reserve(more); err != nil {
			panic(lacking{err})
		}
		e.asked += more
	}
}

// settle has n bytes be reserved, and no more.
func (e *exec) settle(n int) {
	if over := e.asked - n; over > 0 {
		_ = e.reserve(-over) // giving back does not fail
	}
}

// made counts a string that was put together.
func (e *exec) made(s string) string {
	e.spend(len(s))
	return s
}

func (e *exec) print(s string) {
	e.step(len(s) / copied)
	if n := len(e.out) + len(s); n > cap(e.out) {
		n = max(n, 2*cap(e.out))
		e.spend(n)
		e.out = append(make([]byte, 0, n), e.out...)
	}
	e.out = append(e.out, s...)
}

// perItem is what an item takes of a list that grows by one after the other, in bytes.
const perItem = 64

// How many bytes of a text are a step: where they are copied or compared, where they are
// looked through, and where they are looked at one by one.
const (
	copied  = 1 << 12
	scanned = 64
	walked  = 16
)

// flow is how a statement ended.
type flow uint8

const (
	goOn flow = iota
	breakLoop
	nextTurn
)

type (
	expr func(e *exec) value
	stmt func(e *exec) flow
)

func (e *exec) run(body []stmt) flow {
	for _, s := range body {
		e.step(1)
		if f := s(e); f != goOn {
			return f
		}
	}
	return goOn
}

// within runs a body in a frame of its own.
func (e *exec) within(f *frame, body []stmt) flow {
	e.enter()
	old := e.frame
	e.frame = f
	how := e.run(body)
	e.frame = old
	e.leave()
	return how
}

// capture gives what a body prints.
func (e *exec) capture(f *frame, body []stmt) string {
	mark := len(e.out)
	e.within(f, body)
	s := e.made(string(e.out[mark:]))
	e.out = e.out[:mark]
	return s
}

// loop runs a body for each item for which cond holds.
func (e *exec) loop(targets []string, over, cond expr, body, els []stmt) flow {
	items := e.items(over(e))
	scope := e.frame
	if cond != nil {
		var kept []value
		for _, item := range items {
			e.step(1)
			f := turnFrame(scope)
			e.assign(f, targets, item)
			e.frame = f
			if truth(cond(e)) {
				e.spend(perItem)
				kept = append(kept, item)
			}
			e.frame = scope
		}
		items = kept
	}
	if len(items) == 0 {
		return e.run(els)
	}
	at := &turn{items: items}
	for i, item := range items {
		at.i = i
		e.step(1)
		f := turnFrame(scope)
		e.assign(f, targets, item)
		f.set("loop", at)
		if e.within(f, body) == breakLoop {
			break
		}
	}
	return goOn
}

// turn is the variable loop.
type turn struct {
	items   []value
	i       int
	changed value
	seen    bool
}

func (t *turn) member(name string) (value, bool) {
	n := len(t.items)
	switch name {
	case "index":
		return int64(t.i + 1), true
	case "index0":
		return int64(t.i), true
	case "revindex":
		return int64(n - t.i), true
	case "revindex0":
		return int64(n - t.i - 1), true
	case "first":
		return t.i == 0, true
	case "last":
		return t.i == n-1, true
	case "length":
		return int64(n), true
	case "previtem":
		if t.i > 0 {
			return t.items[t.i-1], true
		}
	case "nextitem":
		if t.i < n-1 {
			return t.items[t.i+1], true
		}
	case "cycle":
		return function(func(e *exec, a arguments) value {
			if len(a.list) == 0 {
				e.fail("loop.cycle takes values")
			}
			return a.list[t.i%len(a.list)]
		}), true
	case "changed":
		return function(func(e *exec, a arguments) value {
			now := &list{items: a.list}
			if t.seen && e.equal(t.changed, now) {
				return false
			}
			t.seen, t.changed = true, now
			return true
		}), true
	}
	return nil, false
}

// assign gives names their values, several by taking a list apart.
func (e *exec) assign(f *frame, targets []string, v value) {
	if len(targets) == 1 {
		f.set(targets[0], v)
		return
	}
	items := e.items(v)
	if len(items) != len(targets) {
		e.fail("%d values for %d names", len(items), len(targets))
	}
	for i, name := range targets {
		f.set(name, items[i])
	}
}
