package cel

// Sure reports whether the expression gives a value whenever it gives no error: nothing
// in it makes an optional that may be empty, and nothing is a choice, of which a part may
// be null. A member of the input that is null counts as a value.
func (p *Program) Sure() bool { return p.root.sure() }

func (n *node) sure() bool {
	switch n.op {
	case opConst:
		return n.value.kind != None && n.value.kind != Null
	case opVar:
		return n.typ.kind() != None && n.typ.kind() != Null
	case opSteps:
		for i := range n.steps {
			if n.steps[i].optional {
				return false
			}
		}
		return n.a.op == opVar || n.a.sure()
	case opCond:
		return false
	case opOptOr:
		return n.a.sure() || n.b.sure()
	case opOptOrValue:
		return n.b.sure()
	case opCall:
		for _, a := range n.args {
			if n.fn.lifted && !a.sure() && a.op != opVar {
				return false
			}
		}
		return n.fn.typ != nil
	}
	return true
}

// Reads gives the one place that the expression reads: a variable's number, and the
// members from there on, as ".a.b[]". ok is false where there are several or none.
func (p *Program) Reads() (slot int, members string, ok bool) {
	r := &reads{}
	r.node(p.root)
	return r.slot, r.members, r.n == 1
}

// Members gives the members of the variable number slot that the expression looks for,
// and whether it takes the variable in another way too, so that there may be any.
func (p *Program) Members(slot int) (names []string, any bool) {
	return p.root.membersOf(slot, nil)
}

func (n *node) membersOf(slot int, names []string) (_ []string, any bool) {
	if n == nil {
		return names, false
	}
	if n.op == opVar {
		return names, n.slot == slot
	}
	within := append([]*node{n.b, n.c}, n.args...)
	for i := range n.steps {
		within = append(within, n.steps[i].index)
	}
	if n.a != nil && n.a.op == opVar && n.a.slot == slot && len(n.steps) > 0 && n.steps[0].name != nil {
		names = append(names, string(n.steps[0].name))
	} else {
		within = append(within, n.a)
	}
	for _, one := range within {
		more := false
		names, more = one.membersOf(slot, names)
		any = any || more
	}
	return names, any
}

// reads collects what an expression reads.
type reads struct {
	n       int // places; those that are the same count once
	slot    int
	members string
}

func (r *reads) add(slot int, members string) {
	if r.n == 0 {
		r.n, r.slot, r.members = 1, slot, members
	} else if r.slot != slot || r.members != members {
		r.n++
	}
}

func (r *reads) node(n *node) {
	if n == nil {
		return
	}
	if n.op == opVar {
		r.add(n.slot, "")
		return
	}
	var members []byte
	for i := range n.steps {
		if name := n.steps[i].name; name != nil {
			members = append(append(members, '.'), name...)
			continue
		}
		members = append(members, "[]"...)
		if index := n.steps[i].index; index.op != opConst {
			r.node(index)
		}
	}
	if n.a != nil && n.a.op == opVar {
		r.add(n.a.slot, string(members))
	} else {
		r.node(n.a)
	}
	r.node(n.b)
	r.node(n.c)
	for _, a := range n.args {
		r.node(a)
	}
}
