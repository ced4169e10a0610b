//go:build race

package cache

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
