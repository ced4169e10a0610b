package llm

import "testing"

// TestOperations: each operation has a name and a route of its own, and what is none
// is a Passthrough.
func TestOperations(t *testing.T) {
	names, routes := make(map[string]bool), make(map[string]bool)
	for op := range Operations {
		name, route := op.String(), op.Route()
		if name == "" || names[name] || (route == "") != (op == Passthrough) || routes[route] || op.Known() != op {
			t.Errorf("operation %d is called %q and has the route %q", op, name, route)
		}
		names[name], routes[route] = true, true
	}
	for _, op := range []Operation{Operations, 255} {
		if op.Known() != Passthrough || op.String() != "passthrough" || op.Route() != "" {
			t.Errorf("%d is %v", op, op)
		}
	}
}
