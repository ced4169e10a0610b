// Package gather brings items of several callers together, so that an upstream is
// asked few times for many in place of many times for one.
//
// A caller whose lane is idle is told to send its items by itself, at once, on its
// own goroutine: nothing is waited for. While calls of the lane are under way items
// gather, and leave together when one of the calls comes back: group commit. How many
// calls may be under way, of all lanes that the same upstreams answer, how long items
// gather and how many leave together follows what was measured; see site and pace.
//
// It promises that every item is answered exactly once, whatever becomes of its call:
// with its own result, with an error, or by being left to its caller. It knows
// nothing of what items are.
package gather
