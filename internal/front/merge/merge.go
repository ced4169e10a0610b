// Package merge joins queued events of a stream, for a client that reads more slowly than the
// model writes.
//
// It promises to lose nothing: two events are joined only where their dialect says that each
// tells a piece of a text (dialect.Fragment) and they are equal byte for byte but for that, and
// for what is worth nothing once the next event has come, such as its number. The text is joined
// as it stands, escapes included. Text, tool arguments, usage and finish reasons
// come out as they went in, in fewer events. Whatever it does not recognise
// it leaves as it was.
package merge

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/llm"
)

// maxEvent is how long, in bytes, a joined event may become. Readers of
// streams that take lines up to 64 KiB are common.
const maxEvent = 32 << 10

// Events appends consecutive events of a stream to dst, each with its blank line and joined
// where they can be, and returns how many they have become. It reads each event once.
func Events(dst []byte, api dialect.Streamed, events [][]byte) (out []byte, n int) {
	var r run
	for _, raw := range events {
		f, ok := api.Fragment(raw)
		if ok {
			if dst, ok = r.join(dst, &f); ok {
				continue
			}
		} else {
			f = dialect.Fragment{Raw: raw} // a run that nothing can join
		}
		dst = r.end(dst)
		r = run{Fragment: f, full: f.Full}
		n++
	}
	return r.end(dst), n
}

// run is a series of fragments on its way into one event, which is the last of them with the
// text of all. What stands in front of the text, and the text, is written when the second one
// comes.
type run struct {
	dialect.Fragment      // the last one
	full             int8 // where the text is, as in it; 0 while all the text was empty
	joined           bool // there is more than one
	start, head      int  // where the event begins in dst, and how long it is up to the text
}

// join adds f to the run where it fits.
func (r *run) join(dst []byte, f *dialect.Fragment) (out []byte, ok bool) {
	full := r.full
	if full == 0 {
		full = f.Full
	}
	place := int(full) - 1
	if full == 0 || f.Full != 0 && f.Full != full || !alike(&r.Fragment, f, place) {
		return dst, false
	}
	own, text := r.Text[place], f.Text[place]
	before := own.End - own.Start
	if r.joined {
		before = len(dst) - r.start - r.head
	}
	if f.Again.End > 0 {
		before *= 2
	}
	if before+len(f.Raw) > maxEvent {
		return dst, false
	}
	if !r.joined {
		r.joined, r.start, r.head = true, len(dst), own.Start
		dst = append(dst, r.Raw[:own.End]...)
	}
	r.Fragment, r.full = *f, full
	return append(dst, f.Raw[text.Start:text.End]...), true
}

// end writes what is missing of the run's event.
func (r *run) end(dst []byte) []byte {
	if !r.joined {
		return append(dst, r.Raw...)
	}
	text := r.Text[r.full-1]
	head, rest, end := r.Raw[:text.Start], text.End, len(dst)
	if more := len(head) - r.head; more != 0 { // the text moves
		dst = append(dst, head[:max(more, 0)]...) // any bytes will do
		copy(dst[r.start+len(head):], dst[r.start+r.head:end])
		dst = dst[:end+more]
	}
	copy(dst[r.start:], head)
	if again := r.Again; again.End > 0 {
		all := dst[r.start+len(head):]
		dst = append(append(dst, r.Raw[rest:again.Start]...), all...)
		rest = again.End
	}
	return append(dst, r.Raw[rest:]...)
}

// alike reports whether two fragments differ at most in the text of a place and in what
// varies. An object that varies may differ in its numbers: a reader may keep a member that the
// later one has not.
func alike(a, b *dialect.Fragment, place int) bool {
	if !a.Has(place) || !b.Has(place) || (a.Again.End > 0) != (b.Again.End > 0) {
		return false
	}
	for i := range a.Varies {
		if v, w := a.Varies[i], b.Varies[i]; v.End > 0 && w.End > 0 && a.Raw[v.Start] == '{' && !sameButNumbers(a.Value(v), b.Value(w)) {
			return false
		}
	}
	first, second := without(a, place), without(b, place)
	for i := range first {
		if !bytes.Equal(first[i], second[i]) {
			return false
		}
	}
	return true
}

// without gives the parts of an event around the text of a place, where that stands again, and
// what varies. The text leaves its quotes behind and what varies does not leave its name, so events
// that have them in a different order have different parts.
func without(f *dialect.Fragment, place int) (parts [dialect.Varied + 3][]byte) {
	cuts := [dialect.Varied + 2]llm.Span{f.Text[place]}
	for i, v := range [dialect.Varied + 1]llm.Span{f.Again, f.Varies[0], f.Varies[1]} {
		if v.End == 0 {
			v.Start, v.End = len(f.Raw), len(f.Raw)
		}
		at := i + 1
		for ; at > 0 && v.Start < cuts[at-1].Start; at-- {
			cuts[at] = cuts[at-1]
		}
		cuts[at] = v
	}
	from := 0
	for i, cut := range cuts {
		parts[i], from = f.Raw[from:cut.Start], cut.End
	}
	parts[len(cuts)] = f.Raw[from:]
	return parts
}

// sameButNumbers reports whether two values of JSON differ in digits alone.
func sameButNumbers(a, b []byte) bool {
	for {
		for len(a) > 0 && len(b) > 0 && a[0] == b[0] && !digit(a[0]) {
			a, b = a[1:], b[1:]
		}
		if len(a) == 0 || len(b) == 0 || !digit(a[0]) || !digit(b[0]) {
			return len(a) == 0 && len(b) == 0
		}
		for len(a) > 0 && digit(a[0]) {
			a = a[1:]
		}
		for len(b) > 0 && digit(b[0]) {
			b = b[1:]
		}
	}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
