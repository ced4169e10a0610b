package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"sluice/internal/nearest"
)

// decoder fills sections from a YAML tree. It works on the tree and not with
// the library's own decoder so that all faults show at once, each with its
// line, and so that every setting's line is known to later checks.
type decoder struct {
	*faults
	file string // as it stands in messages
	text expander
}

// parse reads one YAML document. An empty one gives nil.
func (d *decoder) parse(b []byte) (root ast.Node) {
	defer func() {
		// The library's parser panics on some broken documents.
		if p := recover(); p != nil {
			d.add(origin{name: d.file}, "", "not YAML")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(b))
	if t := tooDeep(tokens); t != nil {
		d.add(origin{d.file, t.Position.Line}, "", "not a configuration: nested too deep")
		return nil
	}
	tree, err := parser.Parse(tokens, 0)
	if err != nil {
		at, what := origin{name: d.file}, err.Error()
		if e, ok := errors.AsType[yaml.Error](err); ok {
			what = e.GetMessage()
			if t := e.GetToken(); t != nil && t.Position != nil {
				at.line = t.Position.Line
			}
		}
		d.add(at, "", "not YAML: "+oneLine(what))
		return nil
	}
	for _, doc := range tree.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			d.add(d.at(doc.Body), "", "a second document; a configuration is one")
		default:
			root = doc.Body
		}
	}
	return root
}

// isNothing reports whether a document has keys at most, and a value for none. {} is one.
func isNothing(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.NullNode:
		return true
	case *ast.TagNode:
		return isNothing(n.Value)
	case *ast.MappingValueNode:
		return isNothing(n.Value)
	case *ast.MappingNode:
		return len(n.Values) > 0 && !slices.ContainsFunc(n.Values, func(v *ast.MappingValueNode) bool { return !isNothing(v.Value) })
	}
	return false
}

// tooDeep returns the token at which brackets are nested deeper than any
// configuration is, nil when there is none. The parser's time grows with the
// square of the depth: a minute for 100 kB of "[".
func tooDeep(tokens token.Tokens) *token.Token {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth > 64 {
			return t
		}
	}
	return nil
}

func oneLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return first
}

func (d *decoder) at(n ast.Node) origin {
	o := origin{name: d.file}
	if t := n.GetToken(); t != nil && t.Position != nil {
		o.line = t.Position.Line
	}
	return o
}

func (d *decoder) fault(n ast.Node, path, format string, args ...any) {
	d.add(d.at(n), path, fmt.Sprintf(format, args...))
}

// unreadable is a fault that leaves the setting at path as it was.
func (d *decoder) unreadable(n ast.Node, path, format string, args ...any) {
	d.fault(n, path, format, args...)
	d.spoil(path)
}

// decode sets v from n. What n does not name keeps the value it has. skip
// holds paths that are left for later.
func (d *decoder) decode(n ast.Node, v reflect.Value, path string, skip ...string) {
	if tag, ok := n.(*ast.TagNode); ok {
		n = tag.Value
	}
	if path != "" {
		if _, ok := d.origins[path]; !ok {
			d.origins[path] = d.at(n)
		}
	}
	switch n.(type) {
	case nil, *ast.NullNode: // "server:" with every key below it commented out
		return
	case *ast.AnchorNode, *ast.AliasNode:
		d.unreadable(n, path, "anchors and aliases are not supported; write the value out")
		return
	}
	switch t := v.Type(); {
	case section(t):
		d.section(n, v, path, skip)
	case t.Kind() == reflect.Map:
		d.table(n, v, path)
	case t.Kind() == reflect.Slice:
		d.sequence(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// section sets the fields of a struct.
func (d *decoder) section(n ast.Node, v reflect.Value, path string, skip []string) {
	known := fields(v)
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.key
	}
	var meant []string // for what keys that are not known seem to be
	d.pairs(n, path, func(key string, pair *ast.MappingValueNode) {
		for _, f := range known {
			if f.key != key {
				continue
			}
			below := join(path, key)
			d.origins[below] = d.at(pair.Key)
			for _, s := range skip {
				if s == below {
					return
				}
			}
			d.decode(pair.Value, f.value, below, skip...)
			return
		}
		if near := nearest.Name(key, names); near != "" {
			meant = append(meant, join(path, near))
			d.fault(pair.Key, path, "unknown key %q; did you mean %q?", key, near)
		} else {
			d.fault(pair.Key, path, "unknown key %q; known are %s", key, strings.Join(names, ", "))
		}
	})
	for _, m := range meant {
		if _, given := d.origins[m]; !given { // else it has a value of its own, which may be wrong too
			d.spoil(m)
		}
	}
}

// table sets a map with text as keys, replacing what was there.
func (d *decoder) table(n ast.Node, v reflect.Value, path string) {
	t := v.Type()
	v.Set(reflect.MakeMap(t))
	d.pairs(n, path, func(key string, pair *ast.MappingValueNode) {
		value, below := reflect.New(t.Elem()).Elem(), join(path, key)
		d.origins[below] = d.at(pair.Key)
		d.decode(pair.Value, value, below)
		v.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
	})
}

// pairs visits the keys and values of a mapping.
func (d *decoder) pairs(n ast.Node, path string, visit func(key string, pair *ast.MappingValueNode)) {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.unreadable(n, path, "must be a section (key: value), is %s", kind(n))
		return
	}
	seen := make(map[string]bool)
	for it := m.MapRange(); it.Next(); {
		pair := it.KeyValue()
		key, ok := scalarText(pair.Key)
		switch {
		case !ok:
			d.fault(pair.Key, path, "a key must be plain text")
		case seen[key]:
			d.fault(pair.Key, path, "key %q stands here a second time", key)
		default:
			seen[key] = true
			visit(key, pair)
		}
	}
}

// lone is a list that one value may stand for, as "all" for all of it. Where it
// is not given it is nil, which is something else than empty.
type lone interface{ Lone() }

// sequence sets a list, replacing what was there.
func (d *decoder) sequence(n ast.Node, v reflect.Value, path string) {
	if _, ok := v.Interface().(lone); ok {
		if _, one := scalarText(n); one {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			d.scalar(n, v.Index(0), path)
			return
		}
	}
	nodes, ok := d.list(n, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(nodes), len(nodes)))
	for i, item := range nodes {
		d.decode(item, v.Index(i), path+"["+strconv.Itoa(i)+"]")
	}
}

// list returns the nodes of a list.
func (d *decoder) list(n ast.Node, path string) ([]ast.Node, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.unreadable(n, path, "must be a list, is %s", kind(n))
		return nil, false
	}
	return seq.Values, true
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	text, ok := scalarText(n)
	if !ok {
		d.unreadable(n, path, "must be a single value, is %s", kind(n))
		return
	}
	value, err := d.text.expand(text, isSecret(v.Type()))
	if err != nil {
		d.unreadable(n, path, "%v", err)
		return
	}
	if value != text {
		d.hide(value, text)
	}
	if err := setText(v, value, sized(path)); err != nil {
		d.unreadable(n, path, "%v", err)
	}
}

// scalarText gives the text of a scalar as it was written: a number given for
// a name stays as it is spelt.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func kind(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a section"
	case *ast.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}
