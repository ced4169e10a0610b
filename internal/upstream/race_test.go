//go:build race

package upstream

// underRace says that the race detector counts among the allocations.
const underRace = true
