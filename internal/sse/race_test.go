//go:build race

package sse

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
