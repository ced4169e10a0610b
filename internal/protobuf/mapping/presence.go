package mapping

import (
	"strings"

	"github.com/goccy/go-yaml/ast"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// sure reports whether a node's value is there for every request of which the mapping
// makes a message.
func (n *node) sure() bool {
	switch n.op {
	case opLiteral, opJoin:
		return true
	case opExpr:
		return n.expr != nil && n.expr.Sure()
	case opObject:
		return n.cond == nil && (n.keep || anySure(n.fields))
	case opIf:
		return n.els != nil && n.then.sure() && n.els.sure()
	case opEnum:
		return n.fallback != nil || n.expr != nil && n.expr.Sure()
	case opJSON:
		return n.body.sure()
	}
	return false
}

func anySure(fields []field) bool {
	for _, f := range fields {
		if f.node.sure() {
			return true
		}
	}
	return false
}

// whole checks what no message of the schema allows: a field that is set twice, two of a
// oneof that are set whatever the request says, a required one that is not. Of two of a
// oneof that may be set it is not known; where they are the request is refused.
func (c *compiler) whole(n ast.Node, out *node, set []pair) {
	oneofs := make(map[protoreflect.FullName]string)
	fields := make(map[protoreflect.FieldNumber]string)
	for i, p := range set {
		fd := out.fields[i].desc
		if fd == nil {
			continue
		}
		if before, ok := fields[fd.Number()]; ok {
			c.add(p.node, out.path, "%q and %q are one field", before, p.key)
			continue
		}
		fields[fd.Number()] = p.key
		o := fd.ContainingOneof()
		if o == nil || o.IsSynthetic() || !out.fields[i].node.sure() {
			continue
		}
		if before, ok := oneofs[o.FullName()]; ok {
			c.add(p.node, out.path, "%q and %q are of one oneof (%s), and both are always set: put them behind $if, or leave one out", before, p.key, o.Name())
			continue
		}
		oneofs[o.FullName()] = p.key
	}
	var missing []string
	for _, fd := range out.target.required {
		if _, ok := fields[fd.Number()]; !ok {
			missing = append(missing, string(fd.Name()))
		}
	}
	if len(missing) > 0 {
		c.add(n, out.path, "%s requires %s, which stands nowhere here", out.target.name, strings.Join(missing, ", "))
	}
}
