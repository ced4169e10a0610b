package mapping

import (
	"slices"
	"strings"

	"sluice/internal/cel"
)

// nowhere is the root of a variable that is no part of the client's request.
const nowhere = "-"

// roots are where in the client's request its n variables are, by their numbers: first the
// body, and then what is no part of it.
func roots(n int) []string {
	list := make([]string, n)
	for i := range list[1:] {
		list[i+1] = nowhere
	}
	return list
}

// param gives the one place in the client's request that an expression reads, as
// OpenAI's API writes it: "messages[].content". It is "" where there are several or none,
// and for what is no expression of a request.
func (c *compiler) param(p *cel.Program) string {
	if p == nil || c.roots == nil {
		return ""
	}
	slot, members, ok := p.Reads()
	if !ok || slot >= len(c.roots) || c.roots[slot] == nowhere {
		return ""
	}
	return strings.TrimPrefix(c.roots[slot]+members, ".")
}

// Param gives the place in the client's request of which the field at a path of the
// message is made, as Error.Param has it. The path is that of a *protobuf.Error.
func (c *Call) Param(path string) string {
	path, _, _ = strings.Cut(path, `["`) // the keys of a map are not the mapping's
	if n := c.request.at(strings.Split(path, ".")); n != nil {
		return n.param
	}
	return ""
}

// at finds the node that makes the field at a path, nil for none.
func (n *node) at(path []string) *node {
	if n == nil || len(path) == 0 {
		return n
	}
	switch n.op {
	case opObject:
		name, _, _ := strings.Cut(path[0], "[")
		for i := range n.fields {
			if string(n.fields[i].key) == `"`+name+`":` {
				return n.fields[i].node.at(path[1:])
			}
		}
		return nil
	case opEach:
		return n.body.at(path)
	case opIf:
		if found := n.then.at(path); found != nil {
			return found
		}
		return n.els.at(path)
	case opList:
		i := slices.IndexFunc(n.items, func(item *node) bool { return item.at(path) != nil })
		if i < 0 {
			return nil
		}
		return n.items[i].at(path)
	}
	return n
}
