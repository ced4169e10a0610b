package engine

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Head begins a reply. What is between the server and its client alone, as the
// framing, and the date, the engine adds.
type Head struct {
	Status int
	Fields Fields

	// Length is the body's length in bytes, -1 where it is not known. It is that of
	// the reply to GET where HEAD was asked for. Begin goes by it, and Whole does not.
	Length int64

	// Close says that the connection is closed after the reply.
	Close bool
}

// Fields are the fields of a reply's header, those of one name beside each other.
// Names are canonical. The zero value has none. Up to usualFields take no memory of
// their own, for which it is not to be copied. They are meant for as many as a reply
// has, a few hundred at most: each one more is looked for among all that there are.
type Fields struct {
	names, values []string
	space         [2][usualFields]string
}

const usualFields = 32

// Len is how many there are.
func (f *Fields) Len() int { return len(f.names) }

// Run gives the name of the field at i and the values of all that have it, i being
// the first: the next one is at i plus their number.
func (f *Fields) Run(i int) (name string, values []string) {
	end := i + 1
	for end < len(f.names) && f.names[end] == f.names[i] {
		end++
	}
	return f.names[i], f.values[i:end:end]
}

// Get gives the first value of a name and whether there is one.
func (f *Fields) Get(name string) (value string, ok bool) {
	if i := slices.Index(f.names, name); i >= 0 {
		return f.values[i], true
	}
	return "", false
}

// Set gives a name one value, in place of all that it has.
func (f *Fields) Set(name, value string) {
	i := slices.Index(f.names, name)
	if i < 0 {
		f.push(name, value)
		return
	}
	f.values[i] = value
	f.drop(i+1, name)
}

// Add gives a name one more value.
func (f *Fields) Add(name, value string) {
	i := slices.Index(f.names, name)
	if i < 0 {
		f.push(name, value)
		return
	}
	for i < len(f.names) && f.names[i] == name {
		i++
	}
	f.names, f.values = slices.Insert(f.names, i, name), slices.Insert(f.values, i, value)
}

// Del takes a name out.
func (f *Fields) Del(name string) {
	if i := slices.Index(f.names, name); i >= 0 {
		f.drop(i, name)
	}
}

// Clear takes all out and keeps none of them alive.
func (f *Fields) Clear() {
	if cap(f.names) > usualFields { // they have left their space
		f.names, f.values = f.space[0][:], f.space[1][:]
	}
	clear(f.names)
	clear(f.values)
	f.names, f.values = f.space[0][:0], f.space[1][:0]
}

func (f *Fields) push(name, value string) {
	if f.names == nil {
		f.names, f.values = f.space[0][:0], f.space[1][:0]
	}
	f.names, f.values = append(f.names, name), append(f.values, value)
}

// drop takes out the fields of a name from i on.
func (f *Fields) drop(i int, name string) {
	end := i
	for end < len(f.names) && f.names[end] == name {
		end++
	}
	f.names, f.values = slices.Delete(f.names, i, end), slices.Delete(f.values, i, end)
}

// AppendHTTP1 appends the head as HTTP/1.1 writes it, with the Fields and nothing
// else. What would be no name is left out, and a value stays on its line.
func (h *Head) AppendHTTP1(dst []byte, reason string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(h.Status), 10)
	dst = append(append(append(dst, ' '), reason...), "\r\n"...)
	for i, name := range h.Fields.names {
		if !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		dst = append(append(dst, name...), ": "...)
		for _, c := range []byte(strings.Trim(h.Fields.values[i], " \t\r\n")) {
			if c == '\r' || c == '\n' {
				c = ' '
			}
			dst = append(dst, c)
		}
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
