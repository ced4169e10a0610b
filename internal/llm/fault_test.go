package llm

import "testing"

// TestFaults: every fault has a name of its own, and what is none does no harm.
func TestFaults(t *testing.T) {
	seen := make(map[string]bool)
	for f := range Faults {
		if name := f.String(); name == "" || name == Faults.String() || seen[name] {
			t.Errorf("fault %d is called %q", f, name)
		}
		seen[f.String()] = true
	}
}
