//go:build race

package merge

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
