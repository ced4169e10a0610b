package dialect

import (
	"iter"
	"slices"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Conversation is what a request asks of a model. Values are JSON as it stands in the
// request's body, trimmed, and nil where it is absent or null; they hold as long as the
// body. A text is a JSON string with its quotes.
type Conversation struct {
	Model  string // as the service is to be asked for it
	Stream bool

	// Messages are all that was said, prompts of the system and the developer among
	// them where they stand; what a dialect has outside of its messages comes first.
	Messages []Message

	Tools      []Tool
	ToolChoice ToolChoice
	Parallel   Switch // calls of several tools at once

	// Sampling and limits. Numbers are as the client wrote them.
	MaxTokens                         []byte // of the reply, reasoning included
	Temperature, TopP, TopK, Seed     []byte
	PresencePenalty, FrequencyPenalty []byte
	Stop                              [][]byte // texts
	Count                             []byte   // how many replies ("n"); nil is one
	Logprobs                          Switch
	TopLogprobs                       []byte

	Format    Format
	Reasoning Reasoning

	User     []byte // a text: on whose behalf
	Metadata []byte // an object of texts
	Tier     []byte // a text: the service's tier
	CacheKey []byte // a text: what requests share that have a prompt in common

	// Kept is that the gateway keeps the reply, where a client asked for that.
	Kept bool

	// IncludeUsage is that a client of a dialect where a stream does not tell its usage
	// unless it is asked for asked for it. Readers of others set it.
	IncludeUsage bool

	// Lost are names of what is not carried over.
	Lost Losses

	entries int // that were read of its lists: see Each
}

// keptEntries is how many entries a list has room for that is kept for use again.
const keptEntries = 1024

// emptied is a list without what is in it, or nothing where it has grown too large to be kept.
func emptied[E any](list []E) []E {
	if cap(list) > keptEntries {
		return nil
	}
	clear(list)
	return list[:0]
}

// Reset forgets the conversation and keeps the room of its lists, unless they are large.
func (c *Conversation) Reset() {
	*c = Conversation{Messages: emptied(c.Messages), Tools: emptied(c.Tools), Stop: emptied(c.Stop), Lost: Losses{names: c.Lost.names[:0]}}
}

// maxEntries bounds the messages, parts, tools and other entries of lists that a
// conversation has in all: one takes a hundred times the bytes that it may have in a request.
const maxEntries = 50_000

// Each gives the elements of a list of the request, as jsonscan.ElementsOf does, and counts
// them. Beyond the bound for all of them there are none: see Bounded.
func (c *Conversation) Each(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for v := range jsonscan.ElementsOf(list) {
			if !c.Counted() || !yield(v) {
				return
			}
		}
	}
}

// Counted counts an entry, and reports whether there may be that many.
func (c *Conversation) Counted() bool {
	c.entries++
	return c.entries <= maxEntries
}

// Bounded is what reading a request ends in: err, or an error with status 400 where the
// request has more entries than a conversation may have.
func (c *Conversation) Bounded(err error) error {
	if c.entries <= maxEntries {
		return err
	}
	return llm.Errorf(400, "too_many_parts", "The request has more than %d messages, parts and other entries of lists in all.", maxEntries)
}

// Switch is a choice that may be left to the service.
type Switch uint8

const (
	Unset Switch = iota
	On
	Off
)

// SwitchOf is the choice that on is.
func SwitchOf(on bool) Switch {
	if on {
		return On
	}
	return Off
}

// Role is who says a message.
type Role uint8

const (
	User Role = iota
	Assistant
	System
	Developer
)

// Message is what one says at a time. Results of tools are parts of a user's message,
// whichever role a dialect gives them; writers part them again.
type Message struct {
	Role  Role
	Name  []byte // a text: who of several; nil for none
	Parts []Part
}

// Kind is what a Part is.
type Kind uint8

const (
	Text Kind = iota
	Refusal
	Thinking   // what a model thought: Text and Signature, either of which may be missing
	Image      // Media
	Document   // Media
	Audio      // Media
	ToolUse    // a call: ID, Name, Arguments
	ToolResult // of the call ID: Result, Failed
)

// Part is a piece of a message.
type Part struct {
	Kind Kind
	Text []byte // of Text, Refusal, Thinking

	// Signature proves to the service that it thought what Text says, or holds that in
	// a form that only it can read: a text. Gemini has one for calls too.
	Signature []byte

	Media Media

	ID, Name  []byte // texts
	Arguments []byte // of a call: an object, or a text that holds one; see AppendObject, AppendArguments
	Result    []Part // Text, Image, Document
	Failed    bool   // the result tells of an error

	Citations    []Citation // of a text
	CacheControl []byte     // an object, as the Messages API has it: up to here prompts are to be cached
}

// Citation says where part of a text comes from. Texts are nil where they are not told.
type Citation struct {
	URL, Title []byte
	Cited      []byte // the words that it has from there
	Start, End int    // the characters of the text that it is about; both 0 where it is not told
}

// Media is something that is no text, in one of three ways.
type Media struct {
	Type   string // the media type ("image/png"), "" where it is not told
	Data   []byte // base64, without quotes
	URL    []byte // a text
	FileID []byte // a text: what the service keeps it under
	Detail []byte // a text: of images, how closely to look
	Name   []byte // a text: of a file
}

// Tool is one that the model may call.
type Tool struct {
	Name, Description []byte // texts
	Schema            []byte // of its arguments: an object; nil for none
	Strict            Switch
	CacheControl      []byte

	// Raw is one that the service itself has, such as a search, as the request has it:
	// no other dialect has a place for it. All else is then nil but Name, which is its type.
	Raw []byte
}

// ToolChoice is whether the model calls tools.
type ToolChoice struct {
	Mode ToolMode
	Name []byte // a text: of OneTool
}

// ToolMode is how free the model is to call tools.
type ToolMode uint8

const (
	ToolsUnset ToolMode = iota
	ToolsAuto
	ToolsNone
	ToolsRequired // any of them
	OneTool
)

// Format is what form the reply's text is to have.
type Format struct {
	Mode              FormatMode
	Name, Description []byte // texts, of a schema
	Schema            []byte // an object
	Strict            Switch
}

// FormatMode is a form of text.
type FormatMode uint8

const (
	AnyFormat FormatMode = iota
	JSONFormat
	SchemaFormat
)

// Reasoning is how much the model is to think before it answers. A dialect has an
// effort or a budget; writers make one of the other with EffortText and BudgetTokens.
type Reasoning struct {
	Mode    Switch // Off: not at all; Unset: as the service does by itself
	Effort  []byte // a text: "minimal", "low", "medium", "high"
	Budget  []byte // tokens
	Summary []byte // a text: whether the client wants to read of it ("auto", ...)
}

// maxLosses bounds the names that are told, maxLoss their length in bytes: they come from
// whoever wrote the request.
const (
	maxLosses = 32
	maxLoss   = 64
)

// Losses are names of what a translation could not carry.
type Losses struct {
	names []string
}

// Add notes the name of a member or a feature. One that is there already, or that is no
// name (of letters, digits, "_", ".", "-", ":"), is not noted again, or as "other".
func (l *Losses) Add(name string) {
	if l == nil {
		return
	}
	if !saneName(name) {
		name = "other"
	}
	if len(l.names) < maxLosses && !slices.Contains(l.names, name) {
		l.names = append(l.names, name)
	}
}

// AddName is Add for a name that is bytes.
func (l *Losses) AddName(name []byte) {
	for _, have := range l.names {
		if have == string(name) {
			return
		}
	}
	l.Add(string(name))
}

// Names are the names, in the order in which they were noted.
func (l *Losses) Names() []string { return l.names }

// String lists the names as the header X-Sluice-Lossy has them.
func (l *Losses) String() string { return strings.Join(l.names, ", ") }

func saneName(s string) bool {
	if s == "" || len(s) > maxLoss {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-', c == ':':
		default:
			return false
		}
	}
	return true
}
