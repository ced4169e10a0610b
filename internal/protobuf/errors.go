package protobuf

import "strconv"

// Error says where and why an input is refused.
type Error struct {
	Path   string // encode: the member, as "messages[2].role"; "" at the top
	Offset int    // bytes of the input before the fault
	Msg    string
	Limit  bool // the input costs more than Limits allow; it may be sound
}

// Error gives the fault, its place, and what stands there.
func (e *Error) Error() string {
	s := "byte " + strconv.Itoa(e.Offset) + ": " + e.Msg
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	return "invalid message at " + s
}
