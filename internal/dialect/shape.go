package dialect

import (
	"iter"
	"slices"
	"strings"
)

// Shape is where the texts of a dialect's requests stand, for whoever goes through a body
// without decoding it, and changes texts where they are.
type Shape struct {
	// Noun is what an element of the list of messages is called, Prompt what stands beside the
	// list and before all of it, "" where there is none.
	Noun, Prompt string

	// Items is that a turn of the model may be several elements, and that none of a kind that
	// is not known can be a prompt.
	Items bool

	// Joins is that the service makes one of messages of a role that follow each other.
	Joins bool

	names    [allPlaces][]named
	suffixes []named // what types of parts end in
}

// named is a name, as it stands between its quotes and without escapes, and what that is.
type named struct {
	name string
	is   Word
}

// Place is where a name stands.
type Place uint8

// Of the types and the roles "" is that there is none. Parts that have no type are what their
// members say.
const (
	InRequest    Place = iota
	InMessage          // an element of the list
	InPart             // an element of a content
	InCall             // what the model calls, and the object that it may be in
	InResult           // what a tool said, in an object of its own
	InOutput           // that itself
	MessageTypes       // the types of elements of the list
	PartTypes          // those of elements of a content
	Roles

	allPlaces // how many there are
)

// Word is what a name says. 0 is nothing that is known.
type Word uint8

// What members say, and of what types parts are.
const (
	ListMember     Word = 1 + iota // the messages
	PromptMember                   // the prompt beside them: a content, or a message
	EarlierMember                  // others go before the messages, which are not there
	OmittingMember                 // the service may leave out some of them; of an element or a part, those before it
	RoleMember                     // whose a message is
	TypeMember                     // what kind of element it is
	ContentMember                  // a text, or a list of parts
	OutputMember                   // the same, of what a tool said; in a result, an object with texts
	TextMember                     // a text
	ResultMember                   // what a tool said: an object
	CallMember                     // what the model calls: an object, or a list of them
	SpokenMember                   // what a model reads as it stands, and is no text of anybody
	MediaMember                    // what a model reads and is no text, such as an image
	ThoughtMember                  // that, or whether, it was thought
	BindingMember                  // what tells of a text by its characters, or signs what was thought
	MarkMember                     // a prompt's cache is to reach up to here

	SaidElement // of a message: a role and a content

	BySystem
	ByDeveloper
	ByUser
	ByModel
	ByTool

	Nobody Word = 0 // whose a message is of which that is not known
)

// placeNames and wordNames are what a description calls them.
var (
	placeNames = [...]string{"request", "message", "part", "call", "result", "output", "types", "part-types", "roles"}
	wordNames  = [...]string{"", "list", "prompt", "earlier", "omitting", "role", "type", "content", "output", "text", "result", "call", "spoken", "media", "thought", "binding", "mark",
		"said", "system", "developer", "user", "assistant", "tool"}
)

// String names a word as a description does.
func (w Word) String() string { return wordNames[w] }

// Described adds what a description says: a place, and for each name that stands there name=word, a
// type's name with "*" in the place of how it may begin. It panics where that has a word or a
// place that there is not.
func (s *Shape) Described(text string) *Shape {
	at := 0
	for _, field := range strings.Fields(text) {
		name, word, ok := strings.Cut(field, "=")
		if !ok {
			at = slices.Index(placeNames[:], field)
			continue
		}
		is := slices.Index(wordNames[:], word)
		_ = wordNames[is]
		if end, ok := strings.CutPrefix(name, "*"); ok {
			s.suffixes = append(s.suffixes, named{end, Word(is)})
			continue
		}
		s.names[at] = append(s.names[at], named{name, Word(is)})
	}
	return s
}

// Is gives what a name says where it stands.
//
//go:noinline
func (s *Shape) Is(at Place, name []byte) Word {
	list := s.names[at]
	for i := range list {
		if list[i].name == string(name) {
			return list[i].is
		}
	}
	if at == PartTypes {
		for _, n := range s.suffixes {
			if strings.HasSuffix(string(name), n.name) {
				return n.is
			}
		}
	}
	return 0
}

// IsText is Is for a name that is JSON, and empty where there is none.
func (s *Shape) IsText(at Place, v []byte) Word {
	switch {
	case len(v) == 0:
	case IsText(v):
		v = v[1 : len(v)-1]
	default:
		return 0
	}
	return s.Is(at, v)
}

// Typed reports whether parts of contents have a type each.
func (s *Shape) Typed() bool { return len(s.names[PartTypes]) > 0 }

// Names gives what says a word where that stands, but for suffixes.
func (s *Shape) Names(at Place, w Word) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, n := range s.names[at] {
			if n.is == w && !yield(n.name) {
				return
			}
		}
	}
}

// Name gives the first name of a request's member that says a word, "" for none.
func (s *Shape) Name(w Word) string {
	for name := range s.Names(InRequest, w) {
		return name
	}
	return ""
}

// OpenAIShape describes what OpenAI's dialects have in common.
const OpenAIShape = `
request
	tools=spoken functions=spoken
	previous_response_id=earlier conversation=earlier prompt=earlier
	truncation=omitting context_management=omitting transforms=omitting plugins=omitting
message
	role=role content=content annotations=binding logprobs=binding audio=media
part
	type=type text=text annotations=binding logprobs=binding cache_control=mark
part-types
	text=text input_text=text output_text=text
	image_url=media input_image=media image_file=media input_audio=media file=media input_file=media refusal=media video_url=media audio_url=media
` + OpenAIRoles

// OpenAIRoles describes their roles, which Messages have too.
const OpenAIRoles = `
roles
	user=user assistant=assistant tool=tool system=system developer=developer function=tool
`
