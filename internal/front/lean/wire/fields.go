package wire

import (
	"slices"
	"strings"

	"sluice/internal/front/engine"
)

// fields are those of a request, an engine.Header: those of one name beside each
// other.
type fields struct {
	names, values []string
	room          [2][usualFields]string

	// set has a bit for each name that there is, see bit. Most of what is asked for is
	// not there, and found out from it.
	set uint64
}

var _ engine.Header = (*fields)(nil)

// bit is the one in fields.set that stands for a name.
func bit(name string) uint64 {
	if name == "" {
		return 0
	}
	return 1 << ((len(name)*5 + int(name[0])*3 + int(name[len(name)-1])) & 63)
}

// clear takes all out and keeps none of it alive.
func (f *fields) clear() {
	if cap(f.names) != usualFields { // they have left their room, or never had it
		f.names, f.values = f.room[0][:], f.room[1][:]
	}
	clear(f.names)
	clear(f.values)
	f.names, f.values, f.set = f.room[0][:0], f.room[1][:0], 0
}

func (f *fields) add(name, value string) {
	b := bit(name)
	if f.set&b != 0 {
		if i := slices.Index(f.names, name); i >= 0 {
			i = f.end(i)
			f.names, f.values = slices.Insert(f.names, i, name), slices.Insert(f.values, i, value)
			return
		}
	}
	f.set |= b
	f.names, f.values = append(f.names, name), append(f.values, value)
}

// end is where the fields end of which the first is at i.
func (f *fields) end(i int) int {
	end := i + 1
	for end < len(f.names) && f.names[end] == f.names[i] {
		end++
	}
	return end
}

// Len is how many fields there are.
func (f *fields) Len() int { return len(f.names) }

// Values implements engine.Header.
func (f *fields) Values(name string) []string {
	if f.set&bit(name) == 0 {
		return nil
	}
	i := slices.Index(f.names, name)
	if i < 0 {
		return nil
	}
	end := f.end(i)
	return f.values[i:end:end]
}

// Each implements engine.Header.
func (f *fields) Each(visit func(name string, values []string) bool) bool {
	for i := 0; i < len(f.names); {
		end := f.end(i)
		if !visit(f.names[i], f.values[i:end:end]) {
			return false
		}
		i = end
	}
	return true
}

// keep leaves copies of what is needed.
func (f *fields) keep(needed func(name string, values []string) bool) {
	n := 0
	set := uint64(0)
	for i := 0; i < len(f.names); {
		end := f.end(i)
		name := f.names[i]
		if needed(name, f.values[i:end:end]) {
			name = strings.Clone(name)
			set |= bit(name)
			for ; i < end; i++ {
				f.names[n], f.values[n] = name, strings.Clone(f.values[i])
				n++
			}
		}
		i = end
	}
	clear(f.names[n:])
	clear(f.values[n:])
	f.names, f.values, f.set = f.names[:n], f.values[:n], set
}
