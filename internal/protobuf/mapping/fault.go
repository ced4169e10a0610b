package mapping

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// LoadError holds everything that is wrong with a mapping, one line each: file, line,
// place, and what is wrong.
type LoadError struct {
	Faults []string
}

// Error gives one fault per line.
func (e *LoadError) Error() string { return strings.Join(e.Faults, "\n") }

// faults collects what is wrong with a file.
type faults struct {
	file string
	list []fault
}

type fault struct {
	line int
	text string
}

func (f *faults) add(n ast.Node, path, format string, args ...any) {
	f.addAt(lineOf(n), path, fmt.Sprintf(format, args...))
}

func (f *faults) addAt(line int, path, text string) {
	if path != "" {
		text = path + ": " + text
	}
	one := fault{line, fmt.Sprintf("%s:%d: %s", f.file, line, text)}
	// What is compiled for two calls has its faults twice.
	if !slices.Contains(f.list, one) {
		f.list = append(f.list, one)
	}
}

func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	sort.SliceStable(f.list, func(i, j int) bool { return f.list[i].line < f.list[j].line })
	e := new(LoadError)
	for _, one := range f.list {
		e.Faults = append(e.Faults, one.text)
	}
	return e
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 1
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// Error says that a mapping could not be applied to a request or a reply: an
// expression failed, or a value was none that the mapping knows. Its text is of the
// mapping and of what kind a value was, and has at most a few bytes of any value.
type Error struct {
	Mapping string
	Line    int
	Path    string // the field, as request.messages.role
	Msg     string
	Limit   bool // it costs more than is allowed

	// Said says that Msg is for the client: what refuse says, or of a word that the
	// mapping does not know which ones it does. All else is of the mapping's inside.
	Said bool
	// Param is the place in the client's request, as "messages[].role"; "" where it is
	// none or several.
	Param string
}

// Error gives the mapping, the line, the field and what is wrong.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("map %s: %s (line %d): %s", e.Mapping, e.Path, e.Line, e.Msg)
}
