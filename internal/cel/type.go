package cel

// Type is what is known of a value before there is one. A nil *Type is anything.
type Type struct {
	Kind Kind // None for any

	// Field gives the type of a Map's member, or why it can have none of that name.
	// Where Field is nil any name may be there, and its value is of type Elem.
	Field func(name string) (*Type, error)
	Elem  *Type // of a List or a Map; nil is anything

	// Zero is what a member of this type has that is not there, None where that is an
	// error.
	Zero Value

	Of any // what its maker knows it by
}

// The types of what operators and functions give.
var (
	boolType   = &Type{Kind: Bool}   //nolint:gochecknoglobals // a table that nobody writes
	intType    = &Type{Kind: Int}    //nolint:gochecknoglobals // a table that nobody writes
	doubleType = &Type{Kind: Double} //nolint:gochecknoglobals // a table that nobody writes
	stringType = &Type{Kind: String} //nolint:gochecknoglobals // a table that nobody writes
	listType   = &Type{Kind: List}   //nolint:gochecknoglobals // a table that nobody writes
)

// read makes a value of JSON. Numbers may be in quotes, as ProtoJSON has those of 64
// bits and those that are none.
func (t *Type) read(raw []byte) Value {
	if t == nil || t.Kind != Int && t.Kind != Double || len(raw) < 3 && raw[0] == '"' {
		return read(raw)
	}
	if raw[0] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	v := read(raw)
	if v.kind == Int && t.Kind == Double {
		v = of(Double, raw)
	}
	return v
}

// kind is None for what may be anything.
func (t *Type) kind() Kind {
	if t == nil {
		return None
	}
	return t.Kind
}
