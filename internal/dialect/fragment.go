package dialect

import (
	"errors"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Places is how many places of text an event may have that can be joined: those of a chat's
// delta are the most.
const Places = 6

// Varied is how many members of an event there may be that the next one replaces.
const Varied = 2

// Fragment is an event that tells a piece of a text. Events that are equal byte for byte but
// for that piece, and for what Varies has, can be joined into one: the last of them with the
// text of all. It is filled by Streamed.Fragment with the methods below, which refuse what
// cannot be joined.
type Fragment struct {
	Raw []byte

	// Text is where the pieces are in Raw, without their quotes: zero where there is no
	// such place. One event can have text in one place only, since that of two could not be
	// told apart from a repetition.
	Text [Places]llm.Span

	// Full is the place that has text, plus one; 0 while all are empty.
	Full int8

	// Again is where the text stands once more, behind that place and without its quotes: zero
	// where it does not.
	Again llm.Span

	// Varies is where the values are of members that the next event replaces, as they stand
	// there; zero for none.
	Varies [Varied]llm.Span
}

// ErrUnfit is the error of what cannot be joined.
var ErrUnfit = errors.New("cannot be joined")

// maxFragment bounds the nesting of an event. Those that have more are left alone.
const maxFragment = 64

// Has reports whether the event has a place.
func (f *Fragment) Has(place int) bool { return f.Text[place].End > 0 }

// Value is the JSON at v.
func (f *Fragment) Value(v llm.Span) []byte { return f.Raw[v.Start:v.End] }

// Members visits the object at v, which may be anything.
func (f *Fragment) Members(v llm.Span, visit func(key []byte, v llm.Span) error) error {
	return jsonscan.Members(f.Value(v), maxFragment, func(key []byte, m llm.Span) error {
		return visit(key, llm.Span{Start: v.Start + m.Start, End: v.Start + m.End})
	})
}

// Only visits the one element of the array at v; there may also be none.
func (f *Fragment) Only(v llm.Span, visit func(v llm.Span) error) (err error) {
	if f.Raw[v.Start] != '[' {
		return ErrUnfit
	}
	n := 0
	jsonscan.Elements(f.Value(v), func(e llm.Span) bool {
		if n++; n > 1 {
			err = ErrUnfit
			return false
		}
		err = visit(llm.Span{Start: v.Start + e.Start, End: v.Start + e.End})
		return err == nil
	})
	return err
}

// Piece takes the string at v as the text of a place.
func (f *Fragment) Piece(place int, v llm.Span) error {
	if f.Raw[v.Start] != '"' {
		return f.Empty(v)
	}
	if f.Has(place) {
		return ErrUnfit
	}
	f.Text[place] = llm.Span{Start: v.Start + 1, End: v.End - 1}
	if v.End-v.Start > 2 {
		if f.Full != 0 {
			return ErrUnfit
		}
		f.Full = int8(place) + 1
	}
	return nil
}

// Vary takes the value at v, which begins with a character, as Varies[i].
func (f *Fragment) Vary(i int, begins byte, v llm.Span) error {
	first := f.Raw[v.Start]
	if '0' < first && first <= '9' {
		first = '0'
	}
	if f.Varies[i].End > 0 || first != begins {
		return ErrUnfit
	}
	f.Varies[i] = v
	return nil
}

// Empty refuses a value that says anything. What a reader would add up or list
// must not be in two events that are joined, even if it is equal.
func (f *Fragment) Empty(v llm.Span) error {
	switch string(f.Value(v)) {
	case null, `""`, "[]", "{}":
		return nil
	default:
		return ErrUnfit
	}
}

// Scalar refuses an array or object that is not empty.
func (f *Fragment) Scalar(v llm.Span) error {
	if b := f.Raw[v.Start]; b == '[' || b == '{' {
		return f.Empty(v)
	}
	return nil
}
