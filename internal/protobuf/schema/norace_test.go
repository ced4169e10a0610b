//go:build !race

package schema

// underRace says that the race detector counts among the allocations.
const underRace = false
