package mapping

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of a mapping's text.
const (
	maxText  = 256 << 10 // bytes
	maxDepth = 64        // of brackets, and of fields in each other
)

// parseYAML reads one document.
func (f *faults) parseYAML(text []byte) (root ast.Node) {
	defer func() {
		// The library's parser panics on some broken documents.
		if recover() != nil {
			f.addAt(1, "", "not YAML")
			root = nil
		}
	}()
	if len(text) > maxText {
		f.addAt(1, "", "the file is larger than 256 KiB")
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			// The parser's time grows with the square of the depth.
			if depth++; depth > maxDepth {
				f.addAt(t.Position.Line, "", "nested too deep")
				return nil
			}
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
	}
	tree, err := parser.Parse(tokens, 0)
	if err != nil {
		line, what := 1, err.Error()
		if e, ok := errors.AsType[yaml.Error](err); ok {
			what = e.GetMessage()
			if t := e.GetToken(); t != nil && t.Position != nil {
				line = t.Position.Line
			}
		}
		first, _, _ := strings.Cut(strings.TrimSpace(what), "\n")
		f.addAt(line, "", "not YAML: "+first)
		return nil
	}
	for _, doc := range tree.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			f.add(doc.Body, "", "a second document; a file is one")
		default:
			root = doc.Body
		}
	}
	return root
}

// pair is a key with its value.
type pair struct {
	key   string
	node  ast.Node // of the key
	value ast.Node
}

// pairs gives what a mapping node holds; ok is false where it is none.
func (f *faults) pairs(n ast.Node, path string) (list []pair, ok bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		return nil, false
	}
	seen := make(map[string]bool)
	for it := m.MapRange(); it.Next(); {
		kv := it.KeyValue()
		key, plain := scalar(kv.Key)
		switch {
		case !plain:
			f.add(kv.Key, path, "a key must be plain text")
		case seen[key]:
			f.add(kv.Key, path, "key %q stands here a second time", key)
		default:
			seen[key] = true
			list = append(list, pair{key, kv.Key, kv.Value})
		}
	}
	return list, true
}

// find gives a key's value, nil where it is not there.
func find(list []pair, key string) ast.Node {
	for _, p := range list {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// scalar gives the text of a single value as it was written.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.NullNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// expression gives the text behind the sign of an expression.
func expression(n ast.Node) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		s, _ := scalar(n)
		return strings.CutPrefix(strings.TrimSpace(s), "=")
	}
	return "", false
}
