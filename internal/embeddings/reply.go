package embeddings

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/perf/usage"
)

// maxDepth bounds the nesting of a reply.
const maxDepth = 512

// Reply is a reply taken apart.
type Reply struct {
	Body     []byte
	Elements []Element // the one of each input, in the order of the inputs
	Model    string    // the model's name, as JSON; "" where it gives none
	Tokens   uint32    // what it says its inputs count, 0 where it says nothing
}

// Element is what a reply has of one input.
type Element struct {
	At    llm.Span // in the reply
	Index llm.Span // of the value of its index, in the element; empty where it has none
	Place int      // among the elements, from 0
}

// Read takes the body of a reply to a call of a form with n inputs apart, and keeps it. Each
// element is of the input that its index names, and without one of the input at its
// own place. The error says what is wrong with a reply that is no JSON or tells of
// an error, or that does not have exactly one element with an embedding for each
// input; nothing in it is the reply's.
func Read(f *Form, body []byte, n int) (Reply, error) {
	if jsonscan.Validate(body, maxDepth) != nil {
		return Reply{}, errNoJSON
	}
	if has(body, "error") {
		return Reply{}, errTold
	}
	elements, err := find(f, body, n)
	if err != nil {
		return Reply{}, err
	}
	r := Reply{Body: body, Elements: elements}
	if v, ok := jsonscan.Get(body, "model"); ok && body[v.Start] == '"' {
		r.Model = string(body[v.Start:v.End])
	}
	r.Tokens = uint32(min(max(usage.Whole(body).Input, 0), math.MaxUint32))
	return r, nil
}

var (
	errNoJSON = errors.New("read embeddings: the reply is no JSON")
	errTold   = errors.New("read embeddings: the reply tells of an error")
)

// find finds the elements of n inputs.
func find(f *Form, body []byte, n int) (elements []Element, err error) {
	name := f.Data + f.One
	data, ok := jsonscan.Get(body, name)
	if !ok {
		return nil, fmt.Errorf("read embeddings: the reply has no %s", name)
	}
	elements = make([]Element, n)
	seen := 0
	visit := func(v llm.Span) bool {
		e := Element{At: llm.Span{Start: data.Start + v.Start, End: data.Start + v.End}, Place: seen}
		var input int
		if input, err = e.identify(f, body, n); err != nil {
			return false
		}
		if elements[input].At.End != 0 {
			err = fmt.Errorf("read embeddings: the reply's elements %d and %d are both of input %d", elements[input].Place, seen, input)
			return false
		}
		elements[input] = e
		seen++
		return true
	}
	if f.One != "" {
		visit(llm.Span{End: data.End - data.Start})
	} else {
		jsonscan.Elements(body[data.Start:data.End], visit)
	}
	if err == nil && seen != n {
		err = fmt.Errorf("read embeddings: the reply has %d elements for %d inputs", seen, n)
	}
	if err != nil {
		return nil, err
	}
	return elements, nil
}

// identify finds an element's index, and tells which of n inputs it is of.
func (e *Element) identify(f *Form, reply []byte, n int) (input int, err error) {
	if e.Place >= n {
		return 0, fmt.Errorf("read embeddings: the reply has more elements than the %d inputs", n)
	}
	object := reply[e.At.Start:e.At.End]
	if !has(object, f.Vector) {
		return 0, fmt.Errorf("read embeddings: the reply's element %d has no %s", e.Place, f.Vector)
	}
	if f.Index == "" {
		return e.Place, nil
	}
	var found bool
	if e.Index, found = jsonscan.Get(object, f.Index); !found {
		return e.Place, nil
	}
	i, err := strconv.ParseUint(string(object[e.Index.Start:e.Index.End]), 10, 31)
	if err != nil || i >= uint64(n) {
		return 0, fmt.Errorf("read embeddings: the index of the reply's element %d is that of none of the %d inputs", e.Place, n)
	}
	return int(i), nil
}

// has reports whether an object has a member that is not null.
func has(object []byte, name string) bool {
	v, ok := jsonscan.Get(object, name)
	return ok && string(object[v.Start:v.End]) != "null"
}

// Vector gives the element of an input.
func (r *Reply) Vector(input int) Vector {
	e := &r.Elements[input]
	object := r.Body[e.At.Start:e.At.End]
	return Vector{Head: object[:e.Index.Start], Tail: object[e.Index.End:]}
}

// Vector is an element without the value of its index, which stands between Head
// and Tail. Head is empty for one that has no index.
type Vector struct {
	Head, Tail []byte
}

// Indexed reports whether the element has an index.
func (v Vector) Indexed() bool { return len(v.Head) > 0 }

// size is about what it takes, without the value of the index.
func (v Vector) size() int { return len(v.Head) + len(v.Tail) + len(indexName) + 1 }
