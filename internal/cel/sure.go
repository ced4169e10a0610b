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
