package mapping

import "errors"

// ErrTooLarge says that a reply does not fit into a Collector.
var ErrTooLarge = errors.New("the service's reply is larger than is held")

// Collector makes one whole reply of those that come in pieces, for a client that
// wants no stream from a service that answers in streams only.
type Collector struct {
	Max int // bytes of texts that are held; 0 for any

	// Reserve is asked before more than a little is held, with n bytes. Its error ends the
	// work; nil is without bound.
	Reserve func(n int) error

	meter   meter
	calls   int
	size    int
	event   Event
	choices []progress
}

// Add adds a piece. Of log probabilities the last are kept. The error is ErrTooLarge, or
// what Reserve says.
func (c *Collector) Add(e *Event) error {
	c.meter.reserve = c.Reserve
	for i := range e.Choices {
		from := &e.Choices[i]
		to, p := c.choice(from.Index)
		to.Role = c.join(nil, orNil(to.Role, from.Role))
		to.Text = c.join(to.Text, from.Text)
		to.Reasoning = c.join(to.Reasoning, from.Reasoning)
		to.Refusal = c.join(to.Refusal, from.Refusal)
		if from.Finish != nil {
			to.Finish = c.join(nil, from.Finish)
		}
		if from.Logprobs != nil {
			c.meter.give(cap(to.Logprobs))
			to.Logprobs = c.join(nil, from.Logprobs)
		}
		for k := range from.ToolCalls {
			c.toolCall(to, p, &from.ToolCalls[k])
		}
	}
	c.event.Usage = e.Usage
	if e.Error != nil {
		c.event.Error = &Failure{c.join(nil, e.Error.Message), c.join(nil, e.Error.Code)}
	}
	if c.meter.lack != nil {
		return c.meter.lack
	}
	if c.Max > 0 && c.size > c.Max {
		return ErrTooLarge
	}
	return nil
}

// Event is the whole reply.
func (c *Collector) Event() *Event { return &c.event }

func orNil(have, other []byte) []byte {
	if have != nil {
		return have
	}
	return other
}

func (c *Collector) choice(index int) (*Choice, *progress) {
	for i := range c.choices {
		if c.choices[i].index == index {
			return &c.event.Choices[i], &c.choices[i]
		}
	}
	c.meter.take(entryRoom)
	c.choices = append(c.choices, progress{index: index})
	c.event.Choices = append(c.event.Choices, Choice{Index: index})
	return &c.event.Choices[len(c.choices)-1], &c.choices[len(c.choices)-1]
}

func (c *Collector) toolCall(to *Choice, p *progress, from *ToolCall) {
	n, begins := p.place(from, &c.calls)
	if begins {
		c.meter.take(entryRoom)
		to.ToolCalls = append(to.ToolCalls, ToolCall{Index: n})
	}
	call := &to.ToolCalls[n]
	call.ID = orNil(call.ID, c.join(nil, from.ID))
	call.Name = orNil(call.Name, c.join(nil, from.Name))
	call.Arguments = c.join(call.Arguments, from.Arguments)
}

// join puts two JSON strings together, the first of which is the collector's own.
func (c *Collector) join(have, more []byte) []byte {
	if more == nil {
		return have
	}
	c.size += len(more)
	if n := len(have) + len(more); n > cap(have) {
		n = max(n, 2*cap(have))
		if !c.meter.take(n) {
			return have
		}
		larger := append(make([]byte, 0, n), have...)
		c.meter.give(cap(have))
		have = larger
	}
	if len(have) == 0 {
		return append(have, more...)
	}
	return append(have[:len(have)-1], more[1:]...)
}

// entryRoom is what a choice or a call takes at most beside its texts, in bytes, with what
// its list grows by.
const entryRoom = 1 << 10
