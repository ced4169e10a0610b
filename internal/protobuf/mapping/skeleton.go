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

// Skeleton writes the beginning of a mapping for some methods of a service: a text that
// loads, in which every field of the messages stands as a comment, and those whose names
// say what they are for are filled in.
func Skeleton(methods []protoreflect.MethodDescriptor) []byte {
	s := &skeleton{}
	name := strings.ToLower(string(methods[0].Parent().Name()))
	s.line(0, "# What stands behind # is to be filled in or left out; docs/mapping.md says how.")
	s.line(0, name+":")
	s.line(1, "call:")
	var chat, embed protoreflect.MethodDescriptor
	kinds := make(map[string]bool)
	for _, m := range methods {
		kind := "unary"
		switch {
		case m.IsStreamingServer():
			kind = "stream"
		case strings.Contains(strings.ToLower(string(m.Name())), "embed"):
			kind = "embed"
		}
		if kinds[kind] || kind != "embed" && chat != nil && chat.Input() != m.Input() { // both are sent one message
			s.line(2, "# "+kind+": "+Describe(m))
			continue
		}
		kinds[kind] = true
		s.line(2, fmt.Sprintf("%s: %s/%s", kind, m.Parent().FullName(), m.Name()))
		switch {
		case kind == "embed":
			embed = m
		case chat == nil:
			chat = m
		}
	}
	if chat != nil {
		s.message(1, "request", chat.Input(), requestGuesses)
		s.response(1, chat.Output(), "choices", "index, role, text, reasoning, refusal, finish, logprobs, tool_calls", "- text: =r.")
	}
	if embed != nil {
		s.line(1, "embed:")
		s.message(2, "request", embed.Input(), embedGuesses)
		s.response(2, embed.Output(), "embeddings", "index, values, width", "- values: =r.")
	}
	return []byte(s.out.String())
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
func (s *skeleton) response(depth int, md protoreflect.MessageDescriptor, list, parts, example string) {
	s.line(depth, "response: # of "+string(md.FullName())+", which is r:")
	for i := range md.Fields().Len() {
		s.field(depth+1, 1, md.Fields().Get(i))
	}
	s.line(depth+1, list+": [] # a list: "+parts+"; such as:")
	s.line(depth+1, "# "+example+"…")
	s.line(depth+1, "# usage: {prompt: =r.…, completion: =r.…}")
}
