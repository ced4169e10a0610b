// Package codec turns protobuf messages into JSON and back for clients. It is a
// stage that answers the requests below /v1/protobuf/ and passes on all others.
//
//	POST /v1/protobuf/encode          JSON to protobuf
//	POST /v1/protobuf/decode          protobuf to JSON
//	POST /v1/protobuf/decode/stream   messages as they arrive, to server-sent events
//	GET  /v1/protobuf/schemas         what types are known
//
// A request for encode or decode is an envelope or a bare message. The envelope
// is JSON, with binary data as base64:
//
//	{"type": "pkg.Message", "schema": "name", "data": …, "options": {…}}
//	{"type": "pkg.Message", "items": [{"data": …}, …]}
//
// and so is its reply: {"type", "data"}, or {"items": [{"data": …}, {"error": …}]}
// in the order of the request. An item may have a "type" and a "schema" of its own.
// A batch has status 200 however many of its items failed. An envelope to encode
// whose Accept prefers application/x-protobuf gets the bare message.
//
// A bare message is a body of type application/x-protobuf, or JSON beside a query
// that names the type (?type=pkg.Message). The reply is bare too, unless the query
// says envelope=true or, to encode, Accept prefers application/json.
//
// A stream's body is a run of messages, each with its length before it as a varint
// (as protobuf's own libraries write them), or, with the type text/event-stream, a
// stream of events whose data is base64 or hex; which of the two is said by the
// configuration or by ?encoding=, and never guessed. The reply has one event for
// each message and ends in "data: [DONE]". One that fails ends in an error event
// and has no [DONE].
//
// The package promises bounds: on the input, the output, the depth and the number
// of fields of a message, on the items of a batch, on what waits for a worker and
// on what is kept. Small calls run where they arrive; large ones and batches wait
// for one of a few workers, so that they cannot take all CPUs from the requests
// that pass by.
package codec
