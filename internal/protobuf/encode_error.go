package protobuf

import (
	"slices"
	"strconv"
)

// step is one part of the path to a fault.
type step struct {
	name  string // a member's
	key   bool   // name is the key of a map
	list  bool   // index says which element
	index int
}

// maxPathName bounds what of a key, which the input chooses, a path shows.
const maxPathName = 64

// fail notes the first fault. It returns false, so that callers can too.
func (e *encoder) fail(at int, msg string) bool {
	if !e.failed {
		e.failed, e.fault, e.msg = true, at, msg
	}
	return false
}

// exceed is fail because of a limit.
func (e *encoder) exceed(msg string) bool {
	e.exceeded = e.exceeded || !e.failed
	return e.fail(e.i, msg)
}

// within adds a step to the path of a fault, from the inside out.
func (e *encoder) within(s step) bool {
	e.path = append(e.path, s)
	return false
}

// failAt refuses the member whose key stands at a place.
func (e *encoder) failAt(at int, key []byte, msg string) bool {
	e.fail(at, msg)
	return e.within(step{name: string(key[:min(len(key), maxPathName)])})
}

func (e *encoder) err() *Error {
	var path []byte
	for _, s := range slices.Backward(e.path) {
		switch {
		case s.list:
			path = append(strconv.AppendInt(append(path, '['), int64(s.index), 10), ']')
		case s.key:
			path = append(strconv.AppendQuote(append(path, '['), s.name), ']')
		default:
			if len(path) > 0 {
				path = append(path, '.')
			}
			path = append(path, s.name...)
		}
	}
	return &Error{Path: string(path), Offset: e.fault, Msg: e.msg, Limit: e.exceeded}
}

// mapStep names the map entry whose key stands at a place.
func (e *encoder) mapStep(at int) step {
	e.i = at
	key, _ := e.key()
	return step{name: string(key[:min(len(key), maxPathName)]), key: true}
}

// pathName is how a path names a field.
func (f *field) pathName() string {
	if f.desc.IsExtension() {
		return "[" + string(f.desc.FullName()) + "]"
	}
	return f.jsonName
}
