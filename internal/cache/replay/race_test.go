//go:build race

package replay

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
