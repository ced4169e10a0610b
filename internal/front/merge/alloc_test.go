package merge

import (
	"testing"

	"sluice/internal/testkit"
)

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	list := small(100)
	buf, _ := Events(nil, list)
	if n := testing.AllocsPerRun(100, func() { buf, _ = Events(buf[:0], list) }); n > 0 {
		t.Errorf("%v allocations for 100 events, want 0", n)
	}
}
