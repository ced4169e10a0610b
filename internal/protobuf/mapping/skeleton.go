package mapping

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Describe gives a method in a line, as a .proto file declares it.
func Describe(m protoreflect.MethodDescriptor) string {
	stream := func(is bool, d protoreflect.MessageDescriptor) string {
		if is {
			return "stream " + string(d.FullName())
		}
		return string(d.FullName())
	}
	return fmt.Sprintf("%s/%s (%s) returns (%s)", m.Parent().FullName(), m.Name(), stream(m.IsStreamingClient(), m.Input()), stream(m.IsStreamingServer(), m.Output()))
}

// Chosen are the methods that a skeleton is for.
type Chosen struct {
	Methods []protoreflect.MethodDescriptor // of chats, and others whose names say what they are for
	Embed   protoreflect.MethodDescriptor   // nil for one of those
	Abort   protoreflect.MethodDescriptor
	Others  []protoreflect.MethodDescriptor // that the schema has besides, of which candidates are named
}

// Skeleton writes the beginning of a mapping for some methods of a service: a text that
// loads, in which every field of the messages stands as a comment, and those whose names
// say what they are for are filled in.
func Skeleton(o Chosen) []byte {
	s := &skeleton{}
	c := s.sort(o)
	s.line(0, "# What stands behind # is to be filled in or left out; docs/mapping.md says how.")
	s.line(0, strings.ToLower(string(c.first().Parent().Name()))+":")
	s.line(1, "call:")
	for _, one := range []struct {
		kind string
		m    protoreflect.MethodDescriptor
	}{{kindUnary, c.unary}, {kindStream, c.stream}, {kindEmbed, c.embed}, {kindAbort, c.abort}} {
		if one.m != nil {
			s.line(2, fmt.Sprintf("%s: %s/%s", one.kind, one.m.Parent().FullName(), one.m.Name()))
		}
	}
	for _, line := range c.left {
		s.line(2, line)
	}
	if chat := c.chat(); chat != nil {
		s.message(1, "request", chat.Input(), requestGuesses)
		s.response(1, c.replies(), "choices", "index, role, text, reasoning, refusal, finish, logprobs, tool_calls", "- text: =r.")
	}
	if c.abort != nil {
		s.message(1, "abort", c.abort.Input(), abortGuesses)
	}
	if c.embed != nil {
		s.line(1, "embed:")
		s.message(2, "request", c.embed.Input(), embedGuesses)
		s.response(2, []reading{{of: c.embed.Output()}}, "embeddings", "index, values, width", "- values: =r.")
	}
	return []byte(s.out.String())
}

// The calls of a mapping, by their keys.
const (
	kindUnary  = "unary"
	kindStream = "stream"
	kindEmbed  = "embed"
	kindAbort  = "abort"
)

// calls are the methods of a mapping, and what is said of those that are left.
type calls struct {
	unary, stream, embed, abort protoreflect.MethodDescriptor
	left                        []string
}

// sort finds what each method is for.
func (s *skeleton) sort(o Chosen) *calls {
	c := &calls{embed: o.Embed, abort: o.Abort}
	for _, m := range o.Methods {
		kind := kindOf(m)
		at := map[string]*protoreflect.MethodDescriptor{kindUnary: &c.unary, kindStream: &c.stream, kindEmbed: &c.embed, kindAbort: &c.abort}[kind]
		chat := c.chat()
		if *at != nil || (kind == kindUnary || kind == kindStream) && chat != nil && chat.Input() != m.Input() { // both are sent one message
			c.left = append(c.left, "# "+kind+": "+Describe(m))
			continue
		}
		*at = m
	}
	for _, m := range o.Others {
		if kind := kindOf(m); kind == kindEmbed && c.embed == nil || kind == kindAbort && c.abort == nil {
			c.left = append(c.left, "# "+kind+": "+Describe(m)+" # with --"+kind)
		}
	}
	return c
}

// kindOf tells what a method is for by its replies and its name.
func kindOf(m protoreflect.MethodDescriptor) string {
	name := strings.ToLower(string(m.Name()))
	switch {
	case m.IsStreamingServer():
		return kindStream
	case strings.Contains(name, "embed"):
		return kindEmbed
	case strings.Contains(name, "abort"), strings.Contains(name, "cancel"):
		return kindAbort
	}
	return kindUnary
}

// chat is a method whose request is that of a chat, nil for none.
func (c *calls) chat() protoreflect.MethodDescriptor {
	if c.unary != nil {
		return c.unary
	}
	return c.stream
}

// first is any of the methods.
func (c *calls) first() protoreflect.MethodDescriptor {
	for _, m := range []protoreflect.MethodDescriptor{c.unary, c.stream, c.embed} {
		if m != nil {
			return m
		}
	}
	return c.abort
}

// reading is a message that is read, and what the calls are that have it.
type reading struct {
	of   protoreflect.MessageDescriptor
	call string // "" for all
}

// replies are the messages of chats: one, or one for each of the two calls.
func (c *calls) replies() []reading {
	if c.unary == nil || c.stream == nil || c.unary.Output() == c.stream.Output() {
		return []reading{{of: c.chat().Output()}}
	}
	return []reading{{c.unary.Output(), kindUnary}, {c.stream.Output(), kindStream}}
}

type skeleton struct{ out strings.Builder }

func (s *skeleton) line(depth int, text string) {
	s.out.WriteString(strings.Repeat("  ", depth) + text + "\n")
}

// Values of fields that most services call alike.
var (
	requestGuesses = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
		"model": "=upstream_model", "temperature": "=req.?temperature", "top_p": "=req.?top_p", "max_tokens": "=req.?max_completion_tokens.or(req.?max_tokens)",
		"seed": "=req.?seed", "request_id": "=request_id", "stream": "=stream", "prompt": "=prompt",
	}
	abortGuesses = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
		"request_id": "=request_id", "request_ids": "=list(request_id)", "id": "=request_id",
	}
	embedGuesses = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
		"model": "=upstream_model", "input": "=list(req.input)", "inputs": "=list(req.input)", "texts": "=list(req.input)", "request_id": "=request_id",
	}
)

// message writes a message with its fields.
func (s *skeleton) message(depth int, key string, md protoreflect.MessageDescriptor, guesses map[string]string) {
	fields := md.Fields()
	filled := make(map[protoreflect.Name]string)
	for i := range fields.Len() {
		if v, ok := guess(fields.Get(i), guesses); ok {
			filled[fields.Get(i).Name()] = v
		} else if fields.Get(i).Cardinality() == protoreflect.Required {
			filled[fields.Get(i).Name()] = zero(fields.Get(i), 0)
		}
	}
	if len(filled) == 0 {
		s.line(depth, key+": {} # "+string(md.FullName()))
	} else {
		s.line(depth, key+": # "+string(md.FullName()))
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if v, ok := filled[fd.Name()]; ok {
			s.line(depth+1, fmt.Sprintf("%s: %s # %s", fd.Name(), v, typeOf(fd)))
			continue
		}
		s.field(depth+1, 1, fd)
	}
}

// guess gives the value of a field, where its name and its type say what it is for.
func guess(fd protoreflect.FieldDescriptor, guesses map[string]string) (string, bool) {
	v, ok := guesses[string(fd.Name())]
	if !ok || fd.IsMap() {
		return "", false
	}
	t := fieldTarget(fd)
	if t.list != strings.HasPrefix(v, "=list(") {
		return "", false
	}
	switch string(fd.Name()) {
	case "stream":
		return v, t.kind == boolKind
	case "temperature", "top_p":
		return v, t.kind == floatKind
	case "max_tokens", "seed":
		return v, t.kind == intKind
	}
	return v, t.kind == stringKind
}

// zero is what stands for a required field that is to be filled in.
func zero(fd protoreflect.FieldDescriptor, depth int) string {
	switch t := fieldTarget(fd); t.kind {
	case boolKind:
		return "false"
	case intKind, floatKind:
		return "0"
	case enumKind:
		return string(fd.Enum().Values().Get(0).Name())
	case messageKind:
		if depth >= maxShown { // of messages that require themselves there is none
			return "{}"
		}
		var parts []string
		for _, inner := range t.required {
			parts = append(parts, string(inner.Name())+": "+zero(inner, depth+1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return `""`
}

// maxShown is how deep messages in messages are shown.
const maxShown = 4

// field writes a field as a comment, with those of its message.
func (s *skeleton) field(depth, level int, fd protoreflect.FieldDescriptor) {
	indent := strings.Repeat("  ", level-1)
	s.line(depth-level+1, fmt.Sprintf("# %s%s: # %s", indent, fd.Name(), typeOf(fd)))
	md := fd.Message()
	if md == nil || fd.IsMap() || level >= maxShown || messageTarget(md).kind != messageKind {
		return
	}
	if fd.IsList() {
		s.line(depth-level+1, "# "+indent+"  $each: x in …")
	}
	for i := range md.Fields().Len() {
		s.field(depth+1, level+1, md.Fields().Get(i))
	}
}

// typeOf says what a field holds.
func typeOf(fd protoreflect.FieldDescriptor) string {
	single := func(fd protoreflect.FieldDescriptor) string {
		switch {
		case fd.Enum() != nil:
			var names []string
			values := fd.Enum().Values()
			for i := range min(values.Len(), 8) {
				names = append(names, string(values.Get(i).Name()))
			}
			if values.Len() > 8 {
				names = append(names, "…")
			}
			return string(fd.Enum().FullName()) + ": " + strings.Join(names, ", ")
		case fd.Message() != nil:
			return string(fd.Message().FullName())
		}
		return fd.Kind().String()
	}
	text := ""
	switch {
	case fd.IsMap():
		return fmt.Sprintf("map<%s, %s>", fd.MapKey().Kind(), single(fd.MapValue()))
	case fd.IsList():
		text = "repeated "
	}
	text += single(fd)
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		text += ", one of " + string(o.Name())
	}
	return text
}

// response writes what is read of a reply.
func (s *skeleton) response(depth int, replies []reading, list, parts, example string) {
	s.line(depth, "response:")
	for _, r := range replies {
		call := ""
		if r.call != "" {
			call = " of call." + r.call
		}
		s.line(depth+1, "# r"+call+" is a "+string(r.of.FullName())+":")
		for i := range r.of.Fields().Len() {
			s.field(depth+1, 1, r.of.Fields().Get(i))
		}
	}
	s.line(depth+1, list+": [] # a list: "+parts+"; such as:")
	if len(replies) > 1 {
		s.line(depth+1, "# "+strings.TrimSuffix(example, "=r.")+"{unary: =r.…, stream: =r.…}")
	} else {
		s.line(depth+1, "# "+example+"…")
	}
	s.line(depth+1, "# usage: {prompt: =r.…, completion: =r.…}")
}
