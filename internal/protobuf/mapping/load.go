package mapping

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/cel"
	"sluice/internal/nearest"
	"sluice/internal/protobuf"
)

// Schema is what the messages of a mapping are declared in. *schema.Schema is one.
type Schema interface {
	Services() []protoreflect.ServiceDescriptor
	protobuf.Types
}

// Mapping says how a service is asked and how its replies are read. It is safe for
// concurrent use. A call that the service does not have is nil.
type Mapping struct {
	Name string

	Unary  *Call // a chat or completion, answered at once
	Stream *Call // the same, answered in pieces
	Embed  *Call
	Abort  *Call // stops the work for a request; its reply says nothing
}

// Prompts reports whether the service takes a prompt, which a chat template has to make.
func (m *Mapping) Prompts() bool {
	return m.Unary != nil && m.Unary.prompts || m.Stream != nil && m.Stream.prompts
}

// Call is a method of the service, with what is sent to it and what comes back.
type Call struct {
	Method protoreflect.MethodDescriptor

	mapping   string
	refuse    *node // texts that say why a request cannot be answered; nil for none
	request   *node
	sent      *protobuf.Plan
	received  *protobuf.Plan
	reply     *reply // nil for Abort
	embedding bool
	prompts   bool // an expression uses the prompt

	noChats, noTexts bool // no message is made of a chat, or of a completion
}

// Chats reports whether the mapping may make a message of a chat: it looks at its
// messages, or uses a prompt that is made of them, or at nothing that only a completion
// has.
func (c *Call) Chats() bool { return !c.noChats }

// Texts reports the same of a completion: it looks at its prompt, or at nothing that only
// a chat has.
func (c *Call) Texts() bool { return !c.noTexts }

// Path is the method as in the address of a call: "/package.Service/Method".
func (c *Call) Path() string {
	return "/" + string(c.Method.Parent().FullName()) + "/" + string(c.Method.Name())
}

// requestVars are the variables of a request's expressions, in the order of their
// numbers.
var requestVars = []cel.Var{ //nolint:gochecknoglobals // a table that nobody writes
	{Name: "req"}, // the body
	{Name: "upstream_model", Type: &cel.Type{Kind: cel.String}},
	{Name: "request_id", Type: &cel.Type{Kind: cel.String}},
	{Name: "stream", Type: &cel.Type{Kind: cel.Bool}},
	{Name: "prompt"}, // what a chat template made, None where there is none
}

// The numbers of the body and of prompt among them.
const (
	bodyVar   = 0
	promptVar = 4
)

// newRequestVars gives the variables for parts of a mapping that one Input is made into.
func newRequestVars() []cel.Var {
	vars := slices.Clone(requestVars)
	for i := range vars {
		vars[i].Members = new(cel.Members)
	}
	return vars
}

// Load reads a file of mappings: a YAML document that gives each a name. schemaOf finds
// a mapping's schema by that name; nil leaves the mapping out. file is how errors call it. The error for a wrong
// mapping is a *LoadError with all there is wrong.
func Load(file string, text []byte, schemaOf func(name string) (Schema, error)) ([]*Mapping, error) {
	f := &faults{file: file}
	root := f.parseYAML(text)
	if root == nil {
		if len(f.list) == 0 {
			f.addAt(1, "", "no mapping stands here")
		}
		return nil, f.err()
	}
	pairs, ok := f.pairs(root, "")
	if !ok {
		f.add(root, "", "must be a section for each mapping (name: …)")
	}
	var list []*Mapping
	for _, p := range pairs {
		s, err := schemaOf(p.key)
		if err != nil {
			f.add(p.node, p.key, "%v", err)
			continue
		}
		if s == nil {
			continue
		}
		l := &loader{faults: f, schema: s, name: p.key}
		list = append(list, l.mapping(p))
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return list, nil
}

// loader reads one mapping.
type loader struct {
	*faults
	types
	schema Schema
	name   string
}

// section gives the pairs of a section, and has faults for unknown keys.
func (l *loader) section(n ast.Node, path string, known ...string) []pair {
	pairs, ok := l.pairs(n, path)
	if !ok {
		l.add(n, path, "must be a section (key: value)")
		return nil
	}
	for _, p := range pairs {
		if slices.Contains(known, p.key) {
			continue
		}
		if near := nearest.Name(p.key, known); near != "" {
			l.add(p.node, path, "unknown key %q; did you mean %q?", p.key, near)
		} else {
			l.add(p.node, path, "unknown key %q; known are %s", p.key, strings.Join(known, ", "))
		}
	}
	return pairs
}

func (l *loader) mapping(p pair) *Mapping {
	m := &Mapping{Name: p.key}
	top := l.section(p.value, p.key, "call", "refuse", "request", "response", "abort", "embed")
	callNode := find(top, "call")
	if callNode == nil {
		l.add(p.node, p.key, "call is missing: the methods, as {unary: package.Service/Method, stream: …}")
		return m
	}
	calls := l.section(callNode, "call", "unary", "stream", "abort", "embed")
	method := func(kind string, streams bool) *Call {
		n := find(calls, kind)
		if n == nil {
			return nil
		}
		return l.method(n, "call."+kind, streams)
	}
	m.Unary, m.Stream, m.Embed, m.Abort = method("unary", false), method("stream", true), method("embed", false), method("abort", false)
	req, res := find(top, "request"), find(top, "response")
	if find(calls, "unary") != nil || find(calls, "stream") != nil {
		l.chat(p, m, top, req, res)
	} else if req != nil || res != nil {
		l.add(p.node, p.key, "request and response belong to call.unary and call.stream, which are missing")
	}
	l.abort(p, m.Abort, find(calls, "abort") != nil, find(top, "abort"))
	l.embed(p, m.Embed, find(calls, "embed") != nil, find(top, "embed"))
	return m
}

func (l *loader) chat(p pair, m *Mapping, top []pair, req, res ast.Node) {
	if req == nil {
		l.add(p.node, p.key, "request is missing")
	}
	if res == nil {
		l.add(p.node, p.key, "response is missing")
	}
	vars := newRequestVars()
	l.refusals(find(top, "refuse"), "refuse", vars, m.Unary, m.Stream)
	if req != nil && res != nil {
		l.one(req, res, m.Unary, "unary", vars)
		l.one(req, res, m.Stream, "stream", vars)
	}
}

// refusals compiles what calls refuse: a list of texts, of which each that is there is a
// reason.
func (l *loader) refusals(n ast.Node, path string, vars []cel.Var, calls ...*Call) {
	if n == nil {
		return
	}
	c := &compiler{faults: l.faults, vars: slices.Clip(vars), roots: roots(len(vars))}
	reasons := c.node(n, target{kind: stringKind, list: true}, path)
	for _, call := range calls {
		if call != nil {
			call.refuse = reasons
		}
	}
}

func (l *loader) one(req, res ast.Node, call *Call, kind string, vars []cel.Var) {
	if call != nil {
		call.request = l.request(req, call, "request", vars)
		call.request.keep = true
		call.reply = l.response(res, call, "response", kind, chatShape)
	}
}

func (l *loader) abort(p pair, call *Call, named bool, n ast.Node) {
	switch {
	case named && n == nil:
		l.add(p.node, p.key, "abort is missing: the message of call.abort")
	case !named && n != nil:
		l.add(n, "abort", "call.abort is missing")
	case call != nil:
		call.request = l.request(n, call, "abort", newRequestVars())
		call.request.keep = true
	}
}

func (l *loader) embed(p pair, call *Call, named bool, n ast.Node) {
	switch {
	case named && n == nil:
		l.add(p.node, p.key, "embed is missing: {request, response} of call.embed")
	case !named && n != nil:
		l.add(n, "embed", "call.embed is missing")
	case call != nil:
		parts := l.section(n, "embed", "refuse", "request", "response")
		vars := newRequestVars()
		l.refusals(find(parts, "refuse"), "embed.refuse", vars, call)
		req, res := find(parts, "request"), find(parts, "response")
		if req == nil || res == nil {
			l.add(n, "embed", "has to have request and response")
			return
		}
		call.embedding = true
		call.request = l.request(req, call, "embed.request", vars)
		call.request.keep = true
		call.reply = l.response(res, call, "embed.response", "unary", embedShape)
	}
}

// method finds a method by its name.
func (l *loader) method(n ast.Node, path string, streams bool) *Call {
	text, _ := scalar(n)
	service, name, ok := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	if !ok {
		l.add(n, path, "must be package.Service/Method, is %.200q", text)
		return nil
	}
	var services []string
	for _, s := range l.schema.Services() {
		services = append(services, string(s.FullName()))
		if string(s.FullName()) != service {
			continue
		}
		md := s.Methods().ByName(protoreflect.Name(name))
		if md == nil {
			var names []string
			for i := range s.Methods().Len() {
				names = append(names, string(s.Methods().Get(i).Name()))
			}
			l.add(n, path, "%s", unknownWord("service "+service, name, names))
			return nil
		}
		if md.IsStreamingServer() != streams {
			l.add(n, path, "%s answers %s; it belongs to call.%s", text, map[bool]string{true: "in a stream", false: "once"}[!streams], map[bool]string{true: "stream", false: "unary"}[!streams])
			return nil
		}
		return l.plans(n, path, &Call{Method: md, mapping: l.name})
	}
	l.add(n, path, "%s", unknownWord("the schema", service, services))
	return nil
}

func (l *loader) plans(n ast.Node, path string, c *Call) *Call {
	var err error
	if c.sent, err = protobuf.Compile(c.Method.Input(), l.schema); err == nil {
		c.received, err = protobuf.Compile(c.Method.Output(), l.schema)
	}
	if err != nil {
		l.add(n, path, "%v", err)
		return nil
	}
	return c
}

func (l *loader) request(n ast.Node, call *Call, path string, vars []cel.Var) *node {
	c := &compiler{faults: l.faults, vars: slices.Clip(vars), roots: roots(len(vars))}
	c.asks = make(map[string]bool)
	out := c.node(n, messageTarget(call.Method.Input()), path)
	call.prompts = c.prompts
	chats, texts := c.asks["messages"] || c.prompts, c.asks["prompt"]
	call.noChats, call.noTexts = texts && !chats && !c.asksAny, chats && !texts && !c.asksAny
	return out
}
