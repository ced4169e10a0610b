// Package mapping makes protobuf messages of OpenAI requests, and events of the replies
// to them, as a YAML text says that is shaped like the messages; docs/mapping.md has
// the language.
//
// It promises that a mapping is checked against the schema before it is used, so that
// each of its faults shows at once, with its line; that what a request lacks is absent
// from the message too; and that whatever a client or an upstream sends, the work is
// bounded. Nothing is decoded into objects, and a reply's chunk costs no allocation
// once a Reader has grown.
package mapping
