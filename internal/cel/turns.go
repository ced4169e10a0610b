package cel

import "sluice/internal/jsonscan"

// turns gives the messages of a chat for services that want all results of an assistant's
// calls in one turn: messages of tools that follow each other become one of the role
// tool, whose results have tool_call_id, name, as the call had it, and content. All
// others stay as they are.
func turns(e *Env, pos int, args []Value) Value {
	type result struct{ id, name, content Value }
	called := map[string]Value{} // the names of calls, by their ids
	var group []result
	start := len(e.values)
	flush := func() {
		if group == nil {
			return
		}
		n := 0
		for _, r := range group {
			n += r.id.Room() + r.name.Room() + r.content.Room() + 64
		}
		from, ok := e.begin(pos, n+64)
		if !ok {
			return
		}
		e.text = append(e.text, `{"role":"tool","results":[`...)
		for i, r := range group {
			if i > 0 {
				e.text = append(e.text, ',')
			}
			e.text = r.id.AppendJSON(append(e.text, `{"tool_call_id":`...))
			e.text = r.name.AppendJSON(append(e.text, `,"name":`...))
			e.text = append(r.content.AppendJSON(append(e.text, `,"content":`...)), '}')
		}
		e.text = append(e.text, "]}"...)
		if e.spend(pos, len(group), len(e.text)-from+valueBytes) {
			e.push(pos, read(e.text[from:len(e.text):len(e.text)]))
		}
		group = nil
	}
	it := args[0].Items(nil)
	for m, ok := it.Next(); ok; m, ok = it.Next() {
		if !e.spend(pos, 1, len(m.raw)+valueBytes) {
			return Value{kind: failed}
		}
		if role, _ := e.member(pos, m, "role"); role.Equal("tool") {
			id, _ := e.member(pos, m, "tool_call_id")
			name, ok := called[string(e.textIfText(id))]
			if !ok {
				if name, ok = e.member(pos, m, "name"); !ok {
					name = id
				}
			}
			content, _ := e.member(pos, m, "content")
			if !e.room(pos, 2*bytesOf(group)) {
				return Value{kind: failed}
			}
			group = append(group, result{id, name, content})
			continue
		}
		flush()
		if !e.push(pos, m) {
			return Value{kind: failed}
		}
		calls, _ := e.member(pos, m, "tool_calls")
		if calls.kind != List {
			continue
		}
		each := calls.Items(nil)
		for c, ok := each.Next(); ok; c, ok = each.Next() {
			id, _ := e.member(pos, c, "id")
			f, _ := e.member(pos, c, "function")
			if name, ok := e.member(pos, f, "name"); ok {
				if !e.spend(pos, 1, valueBytes) || !e.room(pos, 3*valueBytes+len(id.raw)) {
					return Value{kind: failed}
				}
				called[string(e.textIfText(id))] = name
			}
		}
	}
	flush()
	if e.over() {
		return Value{kind: failed}
	}
	return e.listFrom(pos, start)
}

// textIfText gives the text of a string, nil of anything else.
func (e *Env) textIfText(v Value) []byte {
	switch {
	case v.kind != String:
		return nil
	case v.plain:
		return v.raw
	}
	return jsonscan.AppendText(nil, v.raw)
}
