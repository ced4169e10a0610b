package dedup

// Decision is what becomes of a message that is said again, or has parts that are, and why.
type Decision struct {
	Message int // as it came, from 0; -1 for the request
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

func (a Action) String() string { return [...]string{"kept", "removed", "rewritten"}[a] }

// Repeat is a block that stands further up too, and the reference to it.
type Repeat struct {
	Line, Lines int    // of its message: the first one, from 0, and how many
	Said        string // the text, as it stands in the body
	Instead     string // the reference
}

// tell notes a decision for whoever asked.
func (p *plan) tell(i int, a Action, why string, blocks []block) {
	if p.notes == nil {
		return
	}
	m := &p.messages[i]
	d := Decision{Message: i, Role: m.role.String(), Action: a, Why: why, Size: p.size(m)}
	for _, b := range blocks {
		d.Blocks = append(d.Blocks, Repeat{Line: b.first - p.texts[m.from].first, Lines: b.lines, Said: string(p.body[b.Start:b.End]), Instead: string(p.marks[b.from:b.to])})
	}
	p.notes(d)
}
