package testkit

import (
	"strconv"
	"strings"
	"testing"
)

// Total adds up all series of a figure that has labels, in a page of /metrics.
func Total(t testing.TB, page, name string) (sum int) {
	t.Helper()
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+"{"); ok {
			_, value, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
