// Package redis reaches the Redis servers that machines share: what the URL
// says, connections, and who is asked and who is left alone. What is kept there
// is its users' business.
//
// It promises that a Redis which is slow, full, frozen, gone or talking
// nonsense costs a call at most the time-out, three times in a row, and then
// nothing until it is back.
//
// Users of the same server share its connections. Each has a Client of its own,
// with its time-out, breaker, figures and health: "up" means that the server
// answers what this user may ask, as fast as this user needs it.
package redis
