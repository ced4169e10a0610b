package embeddings

import "strconv"

// Frame is what stands around the elements in a reply, so that the same reply can
// be made of it and of its vectors again.
type Frame struct {
	// Body is the reply with the values of the indices alone in the place of the
	// elements.
	Body []byte
	// Ends are where in Body each of these values begins and ends, which is the
	// same place where an element has no index, and where Body ends.
	Ends []uint32
}

// Frame gives the reply's frame.
func (r *Reply) Frame() Frame {
	inOrder := make([]Element, len(r.Elements))
	for _, e := range r.Elements {
		inOrder[e.Place] = e
	}
	var f Frame
	from := 0
	for _, e := range inOrder {
		f.Body = append(f.Body, r.Body[from:e.At.Start]...)
		f.Ends = append(f.Ends, uint32(len(f.Body)))
		f.Body = append(f.Body, r.Body[e.At.Start+e.Index.Start:e.At.Start+e.Index.End]...)
		f.Ends = append(f.Ends, uint32(len(f.Body)))
		from = e.At.End
	}
	f.Body = append(f.Body, r.Body[from:]...)
	f.Ends = append(f.Ends, uint32(len(f.Body)))
	return f
}

// Sound reports whether this is a frame of n vectors, each of them once. One that
// comes from elsewhere is not trusted: Composer.Frame takes none that is not sound.
func (f Frame) Sound(n int) bool {
	if n > MaxInputs || len(f.Ends) != 2*n+1 || int(f.Ends[2*n]) != len(f.Body) {
		return false
	}
	var seen [MaxInputs / 64]uint64
	last := uint32(0)
	for i := range n {
		begin, end := f.Ends[2*i], f.Ends[2*i+1]
		if begin < last || end < begin || int(end) > len(f.Body) {
			return false
		}
		last = end
		input, ok := f.input(i)
		if !ok || input < 0 || input >= n || seen[input/64]&(1<<(input%64)) != 0 {
			return false
		}
		seen[input/64] |= 1 << (input % 64)
	}
	return true
}

// input tells which input the i-th element is of.
func (f Frame) input(i int) (input int, ok bool) {
	index := f.Body[f.Ends[2*i]:f.Ends[2*i+1]]
	if len(index) == 0 {
		return i, true
	}
	input, err := strconv.Atoi(string(index))
	return input, err == nil
}
