package llm

// Fault is what kind of failure an Error is. Whoever decides or counts by failures
// goes by it: codes are for clients, and an upstream may use any of ours for its own.
type Fault uint8

// The faults. What class and what outcome each is, perf and route say.
const (
	// Declined is the gateway's own answer, for what it was asked or sent. It says
	// nothing about an upstream.
	Declined Fault = iota

	// Limited is that the API key of the request has used what it may. Another's
	// request may be answered.
	Limited

	// Left is that nobody waits for the reply any more: the request's context ended.
	Left

	// These are of the gateway.
	Internal     // it is at fault itself
	Unavailable  // nobody who could do it can be asked now
	Lacking      // it has no file descriptor, port or memory for it
	ShuttingDown // it is about to end

	// Of these the upstream knows nothing, or has read nothing of the request.
	Busy        // all that could do it are in use: connections, workers, WebSockets
	Replaced    // the upstream was given another configuration meanwhile
	TooLate     // its turn could not come before its client gives up
	Unreachable // no connection to it could be made
	Refused     // it turned the request away unread

	// These came of waiting for its reply, and of reading it.
	TimedOut // it took too long: to accept a connection, to answer, or within its reply
	Cut      // its reply ended early
	BadReply // its reply is malformed
	TooLarge // its reply, or an event of it, is larger than is taken
	Unusable // its reply is sound, and no answer: a redirection, a stream without events

	// These are its own errors. Status is that of the reply's head, so one such as
	// 503 means that it did not process the request; or what its stream's event, or
	// a reply of status 200, told of after it had begun to, or that this is no answer.
	Answered
	Told

	Faults // how many there are
)

// String gives the fault's name.
func (f Fault) String() string {
	if f >= Faults {
		return "unknown"
	}
	return [Faults]string{
		"declined", "limited", "left", "internal", "unavailable", "lacking", "shutting_down", "busy", "replaced", "too_late", "unreachable", "refused",
		"timed_out", "cut", "bad_reply", "too_large", "unusable", "answered", "told",
	}[f]
}
