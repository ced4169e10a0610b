package dialect

import "errors"

// ErrTooLarge says that a reply does not fit into a Said.
var ErrTooLarge = errors.New("the reply is larger than is held")

// Said is a whole reply, made of its events.
type Said struct {
	ID, Model []byte // texts, nil where the service told none
	Choices   []SaidChoice
	Usage     Usage
	Error     *Failure

	Max  int  // bytes that are held; 0 for any
	Last bool // events hold as long as the reply does: images are held where they are
	size int
	many bool // there are more choices, or calls of one, than are held
}

// SaidChoice is one choice of a reply. Its parts are Text, Refusal, Thinking, Image and ToolUse, in
// the order in which they began, each whole; arguments are texts.
type SaidChoice struct {
	Index    int
	Parts    []Part
	Logprobs []byte
	Finish   Finish
	Stopped  []byte

	calls []saidCall // those of the parts that are calls
}

// saidCall is where a call is: which call of the choice, and which part.
type saidCall struct{ index, part int }

// Reset forgets the reply. Its texts are not used again, since they may have left.
func (s *Said) Reset() { *s = Said{Max: s.Max} }

// Add adds what an event tells. The error is ErrTooLarge.
func (s *Said) Add(e *Event) error {
	if e.ID != nil {
		s.ID = s.join(nil, e.ID)
	}
	if e.Model != nil {
		s.Model = s.join(nil, e.Model)
	}
	s.Usage.Update(e.Usage)
	if e.Error != nil && s.Error == nil {
		s.Error = &Failure{Message: s.join(nil, e.Error.Message), Type: s.join(nil, e.Error.Type), Code: s.join(nil, e.Error.Code), TooLarge: e.Error.TooLarge}
	}
	for i := range e.Choices {
		if s.choice(&e.Choices[i]); s.many || s.Max > 0 && s.size > s.Max {
			return ErrTooLarge
		}
	}
	if s.Max > 0 && s.size > s.Max {
		return ErrTooLarge
	}
	return nil
}

// entryRoom is what a choice or a part takes beside its texts, in bytes.
const entryRoom = 512

func (s *Said) choice(from *Choice) {
	to := s.find(from.Index)
	if to == nil {
		s.many = true
		return
	}
	if from.Thinking != nil {
		// What was thought after a signature is another thought.
		p := s.last(to, Thinking, len(to.Parts) > 0 && to.Parts[len(to.Parts)-1].Signature != nil)
		p.Text = s.join(p.Text, from.Thinking)
	}
	if from.Signature != nil {
		p := s.last(to, Thinking, len(to.Parts) > 0 && to.Parts[len(to.Parts)-1].Signature != nil)
		p.Signature = s.join(nil, from.Signature)
	}
	if from.Text != nil {
		p := s.last(to, Text, false)
		p.Text = s.join(p.Text, from.Text)
	}
	if from.Refusal != nil {
		p := s.last(to, Refusal, false)
		p.Text = s.join(p.Text, from.Refusal)
	}
	for _, one := range from.Citations {
		p := s.last(to, Text, false)
		s.size += entryRoom
		one.URL, one.Title, one.Cited = s.join(nil, one.URL), s.join(nil, one.Title), s.join(nil, one.Cited)
		p.Citations = append(p.Citations, one)
	}
	for _, m := range from.Images {
		if !s.Last {
			m.Data, m.URL = s.join(nil, m.Data), s.join(nil, m.URL)
		}
		s.part(to, Part{Kind: Image, Media: m})
	}
	for i := range from.ToolCalls {
		if s.many = s.many || !s.call(to, &from.ToolCalls[i]); s.many {
			return
		}
	}
	if from.Logprobs != nil {
		to.Logprobs = s.join(nil, from.Logprobs)
	}
	if from.Finish != Going {
		to.Finish = from.Finish
	}
	if from.Stopped != nil {
		to.Stopped = s.join(nil, from.Stopped)
	}
}

// find gives the choice of an index, which may be new; nil where there are too many.
func (s *Said) find(index int) *SaidChoice {
	for i := range s.Choices {
		if s.Choices[i].Index == index {
			return &s.Choices[i]
		}
	}
	if len(s.Choices) == MaxChoices {
		return nil
	}
	s.size += entryRoom
	s.Choices = append(s.Choices, SaidChoice{Index: index})
	return &s.Choices[len(s.Choices)-1]
}

// last gives the last part of a choice where that is of a kind, else a new one.
func (s *Said) last(c *SaidChoice, kind Kind, anew bool) *Part {
	if n := len(c.Parts); n > 0 && c.Parts[n-1].Kind == kind && !anew {
		return &c.Parts[n-1]
	}
	return s.part(c, Part{Kind: kind})
}

func (s *Said) part(c *SaidChoice, p Part) *Part {
	s.size += entryRoom
	c.Parts = append(c.Parts, p)
	return &c.Parts[len(c.Parts)-1]
}

// call adds a piece to the call that it is of, unless there are too many. Looking for it from
// the end finds at once the one that goes on.
func (s *Said) call(c *SaidChoice, from *ToolCall) (ok bool) {
	var p *Part
	for i := len(c.calls) - 1; i >= 0; i-- {
		if c.calls[i].index == from.Index {
			p = &c.Parts[c.calls[i].part]
			break
		}
	}
	if p == nil {
		if len(c.calls) == MaxCalls {
			return false
		}
		c.calls = append(c.calls, saidCall{from.Index, len(c.Parts)})
		p = s.part(c, Part{Kind: ToolUse})
	}
	if p.ID == nil {
		p.ID = s.join(nil, from.ID)
	}
	if p.Name == nil {
		p.Name = s.join(nil, from.Name)
	}
	if from.Signature != nil {
		p.Signature = s.join(nil, from.Signature)
	}
	p.Arguments = s.join(p.Arguments, from.Arguments)
	return true
}

// join puts two JSON values together, of which have is the reply's own: strings end to end,
// and any other after none.
func (s *Said) join(have, more []byte) []byte {
	if more == nil {
		return have
	}
	if s.size += len(more); s.Max > 0 && s.size > s.Max {
		return have
	}
	if len(have) == 0 {
		return append([]byte(nil), more...)
	}
	return append(have[:len(have)-1], more[1:]...)
}
