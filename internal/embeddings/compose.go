package embeddings

import (
	"strconv"

	"sluice/internal/llm"
)

// MaxPiece is how many bytes of a reply are put together at a time, about: a single
// vector may be longer.
const MaxPiece = 60 << 10

// Body is the body of a reply that is put together.
type Body interface {
	// Compose adds the whole body to c. It is called twice for each reply, to
	// learn how long that is and to send it, and adds the same each time.
	Compose(c *Composer)
}

// Composer puts the bodies of replies together and sends them. The zero Composer is
// ready for use, and one that was used can be used again.
type Composer struct {
	out    llm.Sink // nil while the body is measured
	pieces bool
	buf    []byte
	event  [1]llm.Event
	length int
	err    error
}

// Send sends a reply whose body is composed: whole where it is no longer than
// MaxPiece, else in pieces. It sets the head's Kind and Length. buf is memory for
// the body from its beginning on, and is returned, larger maybe, for use again.
func (c *Composer) Send(head *llm.Head, body Body, out llm.Sink, buf []byte) ([]byte, error) {
	*c = Composer{buf: buf[:0]}
	body.Compose(c)
	c.pieces = c.length > MaxPiece
	head.Length, head.Kind = int64(c.length), llm.Unary
	if c.pieces {
		head.Kind = llm.Pieces
	}
	err := out.Start(head)
	if err == nil {
		c.out = out
		body.Compose(c)
		err = c.flush()
	}
	buf = c.buf
	*c = Composer{}
	return buf, err
}

// room begins a new piece where the next n bytes have no room in this one.
func (c *Composer) room(n int) {
	if c.pieces && len(c.buf) > 0 && len(c.buf)+n > MaxPiece {
		c.err = c.flush()
		c.buf = c.buf[:0]
	}
}

func (c *Composer) flush() error {
	if c.err != nil {
		return c.err
	}
	c.event[0].Raw = c.buf
	return c.out.Send(c.event[:])
}

// Add adds bytes as they are.
func (c *Composer) Add(b []byte) {
	if c.out == nil {
		c.length += len(b)
	} else if c.err == nil {
		c.buf = append(c.buf, b...)
	}
}

func (c *Composer) text(s string) {
	if c.out == nil {
		c.length += len(s)
	} else if c.err == nil {
		c.buf = append(c.buf, s...)
	}
}

func (c *Composer) number(n uint64) {
	var b [20]byte // as many digits as there can be
	c.Add(strconv.AppendUint(b[:0], n, 10))
}

// Vector adds the element of an input, with an index where one is wanted or its own
// has one.
func (c *Composer) Vector(v Vector, input int, index bool) {
	switch {
	case v.Indexed():
		c.Add(v.Head)
		c.number(uint64(input))
		c.Add(v.Tail)
	case index: // it has a member at least
		c.text(indexName)
		c.number(uint64(input))
		c.text(",")
		c.Add(v.Tail[1:])
	default:
		c.Add(v.Tail)
	}
}

const (
	indexName = `{"index":`
	// separated is what an index and a comma take.
	separated = 8
)

// List adds a reply of a form: the vectors of n inputs in their order, each
// with its index where the form has one, the model's name, which is JSON, and the tokens
// that the inputs count.
func (c *Composer) List(f *Form, n int, vector func(input int) Vector, model string, tokens uint64) {
	c.text(f.Head)
	for i := range n {
		v := vector(i)
		c.room(v.size() + separated)
		if i > 0 {
			c.text(",")
		}
		c.Vector(v, i, f.Index != "")
	}
	c.text(f.Tail)
	if f.Model != "" {
		c.text(f.Model)
		c.text(model)
	}
	if f.Model != "" || tokens > 0 {
		for _, name := range f.Counts {
			if name != "" {
				c.text(name)
				c.number(tokens)
			}
		}
		c.text(f.CountsEnd)
	}
	c.text(f.End)
}

// Frame adds a reply of the form of an earlier one: the vectors where they stood in
// it.
func (c *Composer) Frame(f Frame, vector func(input int) Vector) {
	from := uint32(0)
	for i := range len(f.Ends) / 2 {
		c.Add(f.Body[from:f.Ends[2*i]])
		input, _ := f.input(i) // it is sound
		v := vector(input)
		c.room(v.size() + separated)
		c.Vector(v, input, f.Ends[2*i+1] > f.Ends[2*i])
		from = f.Ends[2*i+1]
	}
	c.Add(f.Body[from:])
}
