//go:build race

package route

// raceEnabled says that the race detector is on, which allocates.
const raceEnabled = true
