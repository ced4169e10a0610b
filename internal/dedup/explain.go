package dedup

import (
	"cmp"
	"fmt"

	"sluice/internal/dialect"
)

// Decision is what becomes of a message, and why.
type Decision struct {
	Message int // as it came, from 0
	Sent    int // its number as it is sent, by which references name it, from 1; 0 for none
	Role    string
	Action  Action
	Why     string
	Size    int // bytes of its texts
	Blocks  []Repeat
}

// Action is what is done with a message.
type Action uint8

// The actions.
const (
	Kept Action = iota
	Removed
	Rewritten
)

func (a Action) String() string { return [...]string{"kept", "taken out", "rewritten"}[a] }

// Repeat is a block that stands further up too, and the reference to it, as they stand in the
// body: with the escapes of JSON.
type Repeat struct {
	Lines     int
	Text      string
	Reference string
}

// whyLast is why the last message that was read is kept.
func (p *plan) whyLast() string {
	if p.more {
		return fmt.Sprintf("it is the last of the %d messages that are read: what follows is left alone", maxMessages)
	}
	return "it is the last message"
}

// tell notes a decision for whoever asked.
func (p *plan) tell(i int, a Action, why string, blocks []block) {
	if p.notes == nil {
		return
	}
	p.told = i
	m := &p.messages[i]
	d := Decision{Message: i, Sent: p.sent, Role: cmp.Or(m.role.String(), "other"), Action: a, Why: why, Size: p.size(m)}
	if a == Removed {
		d.Sent = 0
	}
	for _, b := range blocks {
		d.Blocks = append(d.Blocks, Repeat{b.lines, string(p.body[b.Start:b.End]), string(p.marks[b.from:b.to])})
	}
	p.notes(d)
}

// barred is why a prompt does not refer to all that it repeats.
const barred = "a prompt of the system or a developer refers to such prompts only, and others say some of it"

// whyNotMore says why a message has no more references than so many of what was found.
func (p *plan) whyNotMore(taken int) string {
	switch {
	case taken < len(p.found):
		return fmt.Sprintf("with references for the %d largest of its %d repeats", taken, len(p.found))
	case p.barred:
		return barred
	}
	return ""
}

// tellKept tells of a message that was not told of, since there was nothing to decide.
func (p *plan) tellKept(i int) {
	if p.notes == nil || p.told == i {
		return
	}
	why := "nothing in it is said further up"
	switch m := &p.messages[i]; {
	case m.role == dialect.Nobody:
		why = "it is of a form that is left alone"
	case p.barred:
		why = barred
	case m.fixed:
		why = "it has what tells of its characters, or signs what was thought: annotations, logprobs, citations, signatures"
	case p.size(m) < shortest:
		why = "it is short"
	case m.from == m.to:
		why = "it has no text"
	case unread(p.of(m)):
		why = "its lines are not counted: they are too short, or a line break is written as \\u000a"
	case m.unread:
		why = "its lines are not counted: the service joins it with a message before it whose lines are not"
	}
	p.tell(i, Kept, why, nil)
}
