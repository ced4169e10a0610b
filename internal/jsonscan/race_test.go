//go:build race

package jsonscan

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
