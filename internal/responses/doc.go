// Package responses keeps what OpenAI's Responses API has a service keep: replies under their
// ids, with the conversation up to them, so that a client goes on with previous_response_id
// where the service that answers has nothing of the kind.
//
// The stage stands before all that looks into a request. It gives each request whose reply is
// to be kept an id for it (llm.Thread), and puts what was said earlier in the place of
// previous_response_id and of item_reference, so that whatever comes after it, another upstream
// after one that failed included, has the whole conversation before it. A reply that a service
// gave in its own Responses API has the service's id, and passes.
//
// It promises that a reply is found by those alone who used the same API key, that what is
// kept is bounded and reserved from the memory's budget, and that a second level which is
// slow or gone costs a request at most its time-out, and nothing else.
//
// # In the second level
//
// A key is <prefix>responses:1:<digest>, of which the digest is SHA-256 of the API key's name
// and the reply's id in hexadecimal digits. Its value is
//
//	"slr" version | digest | expiry | head | input | output | tail | CRC-32C of all before
//
// The expiry is in milliseconds since 1970; the others are texts with their length before
// them: the reply around its output, and the items of the whole conversation. Numbers are unsigned
// varints. A value that is one "-" stands for a reply that was deleted.
package responses
