package memory

import (
	"testing"

	"sluice/internal/testkit"
)

func TestAllocs(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	var p Buffers
	if n := testing.AllocsPerRun(1000, func() {
		b, _ := p.Get(5000)
		p.Put(b)
	}); n > 0.1 { // the garbage collector may run
		t.Errorf("%v allocations", n)
	}
}
