//go:build !race

package memory

import "testing"

func TestAllocs(t *testing.T) {
	var p Buffers
	if n := testing.AllocsPerRun(1000, func() {
		b, _ := p.Get(5000)
		p.Put(b)
	}); n > 0.1 { // the garbage collector may run
		t.Errorf("%v allocations", n)
	}
}
