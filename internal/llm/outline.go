package llm

// Outline is what a reply that is held whole says of itself, found in one look at it.
// Its parts hold for every copy of the reply. The zero Outline says that nobody has
// looked.
type Outline struct {
	Read bool // the rest holds

	Failed  bool // it tells of an error
	Nothing bool // it has no member with what was asked for, such as was made before it failed
	Choices bool // its choices are at least one
	Output  bool // it has an output that is not null
	Twice   bool // something of this stands in it twice: nobody knows which one a client goes by

	// Where values of members at its top stand, each empty where there is none: of
	// those of one name the first, but of the usage, which services may tell again, the
	// last.
	ID, Status, Usage Part
}

// Part is a half-open range of bytes in a body of less than 4 GiB.
type Part struct{ Start, End uint32 }

// Of gives the bytes of the part, nil where it is empty.
func (p Part) Of(body []byte) []byte {
	if p == (Part{}) {
		return nil
	}
	return body[p.Start:p.End]
}
