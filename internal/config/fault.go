package config

import (
	"cmp"
	"errors"
	"slices"
	"sort"
	"strings"
)

// Error holds everything that is wrong with a configuration, one line each:
// where, which key, what is wrong.
type Error struct {
	Faults []string
}

// Error gives one fault per line.
func (e *Error) Error() string { return strings.Join(e.Faults, "\n") }

// origin is where a setting came from: a line of the file, or the name of an
// environment variable or flag.
type origin struct {
	name string
	line int // 0 where it is not a file's
}

type fault struct {
	origin origin
	text   string // origin included
}

// faults collects what is wrong, and remembers where each setting came from so
// that a value which a package's own check refuses can be pointed at.
type faults struct {
	list    []fault
	origins map[string]origin // by path
	spoilt  map[string]bool   // paths whose value could not be read
	hidden  []replaced
}

// replaced is a value that was put in for a reference such as "${KEY}". It may
// be secret, so faults show what stands in the file.
type replaced struct{ value, ref string }

// hide keeps value out of the faults to come. Short values are no secrets, and
// would be found in the middle of words.
func (f *faults) hide(value, ref string) {
	if len(value) >= 6 {
		f.hidden = append(f.hidden, replaced{value, ref})
	}
}

func (f *faults) add(o origin, path, what string) {
	for _, h := range f.hidden {
		what = strings.ReplaceAll(what, h.value, h.ref)
	}
	parts := make([]string, 0, 3)
	for _, p := range []string{o.String(), path, what} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	f.list = append(f.list, fault{o, strings.Join(parts, ": ")})
}

// addChecked adds what a Validate returned: faults joined, each
// "key: what is wrong".
func (f *faults) addChecked(err error, file string) {
	for _, err := range flatten(err) {
		path, _, _ := strings.Cut(err.Error(), ":")
		if f.isSpoilt(path) {
			continue
		}
		o, ok := f.originOf(path)
		if !ok {
			o.name = file
		}
		f.add(o, "", err.Error())
	}
}

// spoil takes note that the value at path could not be read. What is found wrong
// with the default that stands in its place is nobody's fault.
func (f *faults) spoil(path string) {
	if f.spoilt == nil {
		f.spoilt = make(map[string]bool)
	}
	f.spoilt[path] = true
}

// isSpoilt reports whether the value at path, one inside of it or one around it
// could not be read.
func (f *faults) isSpoilt(path string) bool {
	for bad := range f.spoilt {
		if inside(path, bad) || inside(bad, path) {
			return true
		}
	}
	return false
}

// inside reports whether path is around's or of something in it.
func inside(path, around string) bool {
	rest, ok := strings.CutPrefix(path, around)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// originOf finds where the setting at path, or the nearest section around it,
// came from.
func (f *faults) originOf(path string) (origin, bool) {
	for path != "" {
		if o, ok := f.origins[path]; ok {
			return o, true
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return origin{}, false
}

// err returns all faults, the file's first and in the order of its lines.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	sort.SliceStable(f.list, func(i, j int) bool {
		a, b := f.list[i].origin.line, f.list[j].origin.line
		return cmp.Or(cmp.Compare(min(b, 1), min(a, 1)), cmp.Compare(a, b)) < 0
	})
	e := &Error{}
	for _, one := range f.list {
		if !slices.Contains(e.Faults, one.text) {
			e.Faults = append(e.Faults, one.text)
		}
	}
	return e
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var list []error
	for _, one := range joined.Unwrap() {
		list = append(list, flatten(one)...)
	}
	return list
}

// within puts a section's name before the keys of joined faults.
func within(prefix string, err error) error {
	list := flatten(err)
	for i, one := range list {
		list[i] = &keyed{join(prefix, one.Error()), one}
	}
	return errors.Join(list...)
}

// keyed is a fault whose key was completed.
type keyed struct {
	text string
	err  error
}

func (k *keyed) Error() string { return k.text }
func (k *keyed) Unwrap() error { return k.err }
