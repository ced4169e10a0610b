package gateway

import "testing"

func TestGCPercent(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		live, stored int64
		want         int
	}{
		{0, 0, 100}, {10 * mib, 0, 100}, {10 * mib, 5 * mib, 57}, {140 * mib, 128 * mib, 22}, {1034 * mib, 1024 * mib, 15},
		{4 * mib, 128 * mib, 100}, // stored since the last collection
	} {
		if got := gcPercent(test.live, test.stored); got != test.want {
			t.Errorf("%d MiB live, %d stored: %d, want %d", test.live/mib, test.stored/mib, got, test.want)
		}
	}
}
