package cel

import "fmt"

// Error says what is wrong with an expression, or went wrong with it, and where.
type Error struct {
	Expr   string
	Offset int // bytes of Expr before the fault
	Msg    string
	Limit  bool // it costs more than Limits allow
}

// Error gives the fault, its column from 1, and the expression.
func (e *Error) Error() string {
	return fmt.Sprintf("%s, at %d of %q", e.Msg, e.Offset+1, e.Expr)
}
