// Package admit has an upstream do no more at once than it copes with, and says who
// goes first when that is less than what is wanted.
//
// Each upstream has a limit on the calls under way. It begins with what the pool of
// connections carries, so that nobody waits who would not there, and comes down on evidence
// alone: that first events take longer than they did when there was little to do.
// See control. Calls that find no room wait in a bounded queue by priority, and are
// told soon and honestly when that is of no use. A call counts for as long as it
// runs, a stream until its end.
//
// It promises that no slot is lost: whatever becomes of a call, one that waits takes
// its place.
package admit
