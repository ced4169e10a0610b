package cel

import "bytes"

// What turns looks for in a message, in a call of a tool, and in what that calls.
var (
	turnNames = []string{"role", "tool_call_id", "name", "content", "tool_calls"} //nolint:gochecknoglobals // a table that nobody writes
	callNames = []string{"id", "function"}                                        //nolint:gochecknoglobals // a table that nobody writes
	nameNames = []string{"name"}                                                  //nolint:gochecknoglobals // a table that nobody writes
)

// calledAs is a call of a tool: its id and the name that was called.
type calledAs struct {
	id   []byte
	name Value
}

// result is what a message of a tool tells.
type result struct{ id, name, content Value }

// turns gives the messages of a chat for services that want all results of an assistant's
// calls in one turn: messages of tools that follow each other become one of the role
// tool, whose results have tool_call_id, name, as the call had it, and content. All
// others stay as they are.
func turns(e *Env, pos int, args []Value) Value {
	e.called, e.results = e.called[:0], e.results[:0]
	start := len(e.values)
	it := args[0].Items(nil)
	for {
		var in [5]Value // of turnNames
		m, more := e.pickNext(pos, &it, turnNames, in[:])
		if !more {
			break
		}
		if in[0].Equal("tool") {
			if !e.take(pos, in[1], in[2], in[3]) {
				return Value{head: head{kind: failed}}
			}
			continue
		}
		if !e.endTurn(pos) || !e.push(pos, m) || !e.remember(pos, in[4]) {
			return Value{head: head{kind: failed}}
		}
	}
	if !e.endTurn(pos) || e.over() {
		return Value{head: head{kind: failed}}
	}
	return e.listFrom(start)
}

// remember takes the names of calls.
func (e *Env) remember(pos int, calls Value) (ok bool) {
	if calls.kind != List {
		return true
	}
	each := calls.Items(nil)
	for {
		var in [2]Value // of callNames
		var called [1]Value
		if _, more := e.pickNext(pos, &each, callNames, in[:]); !more {
			return !e.over()
		}
		if !e.pick(pos, in[1], nameNames, called[:]) {
			return false
		}
		if called[0].kind == None {
			continue
		}
		if e.called, ok = extended(e, pos, e.called); !ok {
			return false
		}
		e.called = append(e.called, calledAs{e.textIfText(in[0]), called[0]})
	}
}

// take takes what a message of a tool tells. A call that is not known has the name
// that the message has, or else its id.
func (e *Env) take(pos int, id, name, content Value) (ok bool) {
	text := e.textIfText(id)
	i := len(e.called) - 1
	for i >= 0 && !bytes.Equal(e.called[i].id, text) {
		i--
	}
	if !e.spend(pos, (len(e.called)-i)/8, 0) {
		return false
	}
	switch {
	case i >= 0:
		name = e.called[i].name
	case name.kind == None:
		name = id
	}
	if e.results, ok = extended(e, pos, e.results); ok {
		e.results = append(e.results, result{id, name, content})
	}
	return ok
}

// endTurn makes a turn of the results, if there are any.
func (e *Env) endTurn(pos int) bool {
	if len(e.results) == 0 {
		return true
	}
	n := 64
	for i := range e.results {
		r := &e.results[i]
		n += r.id.Room() + r.name.Room() + r.content.Room() + 64
	}
	from, ok := e.begin(pos, n)
	if !ok {
		return false
	}
	e.text = append(e.text, `{"role":"tool","results":[`...)
	for i := range e.results {
		r := &e.results[i]
		if i > 0 {
			e.text = append(e.text, ',')
		}
		e.text = r.id.AppendJSON(append(e.text, `{"tool_call_id":`...))
		e.text = r.name.AppendJSON(append(e.text, `,"name":`...))
		e.text = append(r.content.AppendJSON(append(e.text, `,"content":`...)), '}')
	}
	e.text = append(e.text, "]}"...)
	n = len(e.results)
	e.results = e.results[:0]
	return e.spend(pos, n, len(e.text)-from+valueBytes) && e.push(pos, read(e.text[from:len(e.text):len(e.text)]))
}

// textIfText gives the text of a string, nil of anything else.
func (e *Env) textIfText(v Value) []byte {
	if v.kind != String {
		return nil
	}
	return e.textOf(v)
}

// pick finds members of an object by their names, None for one that is not there. It
// reports whether the limits allow that.
func (e *Env) pick(pos int, v Value, names []string, to []Value) bool {
	all := v.members()
	return e.spend(pos, e.picked(&all, names, to), v.n)
}

func (e *Env) picked(all *members, names []string, to []Value) (count int) {
	for ; ; count++ {
		key, raw, more := all.step()
		if !more {
			return count
		}
		text := all.name(e, key)
		for i := range names {
			if names[i] == string(text) {
				to[i] = read(raw)
			}
		}
	}
}

// pickNext is pick of the next element of a list. It reports whether there is one, which
// there is none of beyond the limits.
func (e *Env) pickNext(pos int, it *Items, names []string, to []Value) (Value, bool) {
	all, ok := it.object()
	if !ok {
		v, more := it.Next()
		return v, more && e.spend(pos, 1, valueBytes) && e.pick(pos, v, names, to)
	}
	count := e.picked(&all, names, to)
	v, ok := it.ended(&all)
	return v, ok && e.spend(pos, count+1, valueBytes+v.n)
}
