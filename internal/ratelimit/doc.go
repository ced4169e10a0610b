// Package ratelimit bounds how many requests and how many tokens an API key uses a
// minute, on one machine or, through Redis, on several together.
//
// Each limit is a leaky bucket as a meter, which admits the same as the generic cell
// rate algorithm (ATM Forum, Traffic Management 4.0; ITU-T I.371): what is used
// fills it, and it drains at the limit's rate. A call that it has no room for is
// refused at once; nothing waits. What a call takes in tokens is estimated when it
// comes, and put right when its reply says what it was.
//
// It promises that no more is admitted in any time than what the rate gives in it
// and the burst; that a call which was not sent costs no tokens; that a call costs
// Redis one round trip, and that what Redis forgets, this machine still knows of its
// own; and that a key without a limit costs nothing.
package ratelimit
