package dialect

import (
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Storable is an API whose replies may be given again to a request that is equal. Bodies of
// requests are objects that were found sound. Its methods are safe for concurrent use.
type Storable interface {
	// Member says what a member at the top of a request is to the key of its reply: 0 for
	// one that is in the key like any other and looked at no further.
	Member(name []byte) Members

	// Keeps reports whether services keep a reply under its id, for the client to go on from
	// it, to change and to delete it, unless the request's "store" is false; and not where
	// it is true alone.
	Keeps() bool

	// Stateful reports whether the same request may be answered otherwise, or have another
	// effect, though nothing in it has changed: it goes on from what the service keeps,
	// which may be changed or deleted meanwhile, or is worked on later, or has something done.
	// seen are the members that Member told of.
	Stateful(body []byte, seen Members) bool

	// Deterministic reports whether a request asks for the same reply each time.
	Deterministic(body []byte) bool

	// Complete reports whether a reply of status 200 is what was asked for, and whole. said
	// is its outline. That the reply is sound is asked besides.
	Complete(body []byte, said llm.Outline) bool

	// Last reports whether the payload of an event, sound JSON or [DONE], is the last one of
	// a stream that is whole. Of others the stream may have more.
	Last(data []byte) bool

	// Replay appends the events that an equal request for a stream is answered with, made of
	// body, a reply that Complete knows. It is false for one that it does not understand. usage
	// is that the client asked for usage in an event of its own.
	Replay(w Replay, body []byte, usage bool) (Replay, bool)
}

// Members say which members a request has, and what they are to the key of its reply.
type Members uint16

// What members are. Those of LeftOut are not in the key of a whole reply.
const (
	Delivery      Members = 1 << iota // says how the reply comes, or is in the key otherwise
	StreamOptions                     // in the key of a stream's events
	Inputs                            // of embeddings; in the keys of each of them

	// Those that say who asks. Replies do not repeat them.
	user
	safetyIdentifier
	promptCacheKey
	promptCacheRetention

	Store // says whether the service is to keep the reply
	Own   // and those above it: what Stateful of the same API looks at

	Asker   = user | safetyIdentifier | promptCacheKey | promptCacheRetention
	LeftOut = Delivery | StreamOptions | Inputs | Asker
)

// MemberOf is Storable.Member for what is alike in most APIs. Who asks is told by the names that
// OpenAI has for it, whichever API it is: services of others pass it over.
func MemberOf(name []byte) Members {
	switch string(name) {
	case "model", "stream":
		return Delivery
	case "stream_options":
		return StreamOptions
	case "user":
		return user
	case "safety_identifier":
		return safetyIdentifier
	case "prompt_cache_key":
		return promptCacheKey
	case "prompt_cache_retention":
		return promptCacheRetention
	default:
		return 0
	}
}

// Seeded reports whether the settings of a request ask for the same reply each time: by a
// seed, or a temperature of 0.
func Seeded(settings []byte) bool {
	return jsonscan.Member(settings, "seed") != nil || zero(jsonscan.Member(settings, "temperature"))
}

// zero reports whether a JSON number is 0, however it is spelled.
func zero(number []byte) bool {
	for i, c := range number {
		switch {
		case c == 'e' || c == 'E':
			return i > 0
		case '1' <= c && c <= '9' || c == '"' || c > '9':
			return false
		}
	}
	return len(number) > 0
}

// Acts reports whether a request may have its service do something outside of the
// reply, as code and the tools of an MCP server do, by the types of its tools. Some only
// read, and of some it is the client that acts: those are harmless, by their type, "" for
// none, and those whose type begins with one of prefixes. Whatever else there is may act.
func Acts(body []byte, harmless, prefixes []string) bool {
	tools := jsonscan.Member(body, "tools")
	if tools == nil {
		return false
	}
	if !IsList(tools) {
		return true
	}
	for tool := range jsonscan.ElementsOf(tools) {
		if twice(tool, "type") || !isHarmless(String(jsonscan.Member(tool, "type")), harmless, prefixes) {
			return true
		}
	}
	return false
}

func isHarmless(kind string, harmless, prefixes []string) bool {
	for _, k := range harmless {
		if kind == k {
			return true
		}
	}
	for _, p := range prefixes {
		if strings.HasPrefix(kind, p) {
			return true
		}
	}
	return false
}

// maxNested bounds the nesting of a tool.
const maxNested = 512

// twice reports whether a member stands more than once in an object: a service may
// take either.
func twice(object []byte, name string) bool {
	n := 0
	_ = jsonscan.Members(object, maxNested, func(key []byte, _ llm.Span) error {
		if string(key) == name {
			n++
		}
		return nil
	})
	return n > 1
}
