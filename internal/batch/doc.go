// Package batch is the stage in which small calls become large ones: items of calls
// that are equal but for them are sent together, and each caller gets the reply that
// a call of its own would have had. docs/batching.md says which calls, when, and why.
//
// A call whose kind has none under way passes as it is, on its own goroutine, and so
// does every call of another kind: chats and streams are never held up. Package
// gather decides what waits and what leaves; this package knows what items are.
package batch
