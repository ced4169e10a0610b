//go:build !race

package internal

import (
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// knowing are the files outside of internal/dialect that ask which dialect's operation a request
// is of, and why what they ask is no dialect's to say. With a new dialect nothing in them
// changes.
var knowing = map[string]string{
	"internal/batch/kind.go":                   "what shares calls are the lists of two of OpenAI's operations, which no other API has",
	"internal/translate/embed.go":              "of a service that has no embeddings they are refused by its handler, which knows OpenAI's",
	"internal/responses/stage.go":              "conversations are kept for the Responses API, which this stage is part of",
	"internal/upstream/anthropic/anthropic.go": "a protocol: the routes that its service has and has not",
	"internal/upstream/gemini/gemini.go":       "a protocol: the routes of its service, by which its requests are made",
	"internal/upstream/protobuf/exchange.go":   "a protocol: its mappings are of three of OpenAI's operations",
	"internal/upstream/protobuf/handler.go":    "the same",
	"internal/upstream/protobuf/source.go":     "the same",
	"internal/upstream/protobuf/trial.go":      "the same",
}

// TestDialectsAreFolders: what the gateway knows of a dialect stands in its folder below
// internal/dialect. Elsewhere nobody asks whose operation a request is, but for llm, which has
// the operations, for the simulator, which is a service, and for the files that are listed.
func TestDialectsAreFolders(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	asks := make(map[string]bool)
	for _, p := range ours(t) {
		if within(strings.TrimPrefix(p.path, module), []string{"internal/dialect", "internal/llm", "internal/simulator"}) != "" {
			continue
		}
		for _, at := range dialectsAsked(p) {
			file, err := filepath.Rel(root, at.Filename)
			if err != nil {
				t.Fatal(err)
			}
			file = filepath.ToSlash(file)
			if asks[file] = true; knowing[file] == "" {
				t.Errorf("%s:%d asks which dialect's operation it is: let the dialect's folder say what follows from that (internal/dialect/api.go)", file, at.Line)
			}
		}
	}
	for file := range knowing {
		if !asks[file] {
			t.Errorf("%s asks for no dialect's operation any more: take it from the list", file)
		}
	}
}

// The check is tested, so that a slip in it does not let everything by.
func TestDialectsAsked(t *testing.T) {
	head := "package p\nimport \"" + module + "internal/llm\"\nvar other llm.Operation\n"
	for text, want := range map[string]int{
		`func f(op llm.Operation) bool { return op == llm.Chat }`:                                          1,
		`func f(op llm.Operation) bool { return llm.Messages != op || (op == (llm.Response)) }`:            2,
		`func f(op llm.Operation) int { switch op { case llm.Chat, llm.Completion: return 1 }; return 0 }`: 2,
		`func f(op llm.Operation) int { switch { case op == llm.EmbedContent: return 1 }; return 0 }`:      1,
		`var m = map[llm.Operation]int{llm.Chat: 1, llm.Passthrough: 2}`:                                   1,
		`var a = [llm.Operations]int{llm.GenerateContent: 1}`:                                              1,
		`var a [llm.Operations]int; var n = a[llm.BatchEmbedContents]`:                                     1,
		`const chat = llm.Chat; func f(op llm.Operation) bool { return op == chat }`:                       1,
		`func f(op llm.Operation) bool { return op == 1 }`:                                                 1,
		`func f(op llm.Operation) bool { return op == llm.Passthrough || op == llm.ListModels }`:           0,
		`func f(op llm.Operation) bool { return op == other }`:                                             0,
		`func f(op llm.Operation) llm.Request { return llm.Request{Op: llm.Chat} }`:                        0,
		`var asked = []llm.Operation{llm.Chat, llm.Completion}`:                                            0,
		`func f(op llm.Operation) { for op := range llm.Operations { _ = op } }`:                           0,
	} {
		if found := dialectsAsked(source(t, head+text+"\n")); len(found) != want {
			t.Errorf("%s: %v found", text, found)
		}
	}
}

// ofNoDialect are the operations that belong to no dialect.
var ofNoDialect = []string{"Passthrough", "ListModels", "GetModel", "Operations"}

// dialectsAsked gives the places in a package where a value is compared with a dialect's
// operation, or a table has a place for one.
func dialectsAsked(p *typed) (found []token.Position) {
	var none []string // the values of those of no dialect
	for _, imported := range p.info.Uses {
		if c, ok := imported.(*types.Const); ok && c.Type().String() == module+"internal/llm.Operation" && slices.Contains(ofNoDialect, c.Name()) {
			none = append(none, c.Val().String())
		}
	}
	ask := func(e ast.Expr) {
		tv := p.info.Types[e]
		if tv.Value == nil || tv.Type == nil || tv.Type.String() != module+"internal/llm.Operation" || slices.Contains(none, tv.Value.String()) {
			return
		}
		found = append(found, p.fset.Position(e.Pos()))
	}
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					ask(n.X)
					ask(n.Y)
				}
			case *ast.CaseClause:
				for _, e := range n.List {
					ask(e)
				}
			case *ast.KeyValueExpr:
				ask(n.Key)
			case *ast.IndexExpr:
				ask(n.Index)
			}
			return true
		})
	}
	return found
}
