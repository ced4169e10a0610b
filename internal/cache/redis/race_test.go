//go:build race

package redis

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
