package dedup

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"

	"sluice/internal/llm"
)

// shortest is the length in bytes below which a message is not taken out, whatever is repeated:
// "continue" may be said twice.
const shortest = 64

// mostBlocks is how many references a message gets, those for its first repeats: a log that
// says the same things in ever another order is not to become a page of them, which a model
// would have to look up one by one. It is as many as the most that one of the recorded
// conversations has with the default configuration (986 of their 991 rewritten messages
// have eight or less).
const mostBlocks = 32

// plan is what is to become of one request. It is kept for use again.
type plan struct {
	conversation
	rules *rules
	mode  llm.DedupMode
	notes func(Decision) // nil for nobody who asks
	told  int            // the last message that was told of

	index   index
	pieces  []piece // of the text that is kept and may be referred to, in the order of the body
	first   piece   // of the instructions, which may stand anywhere
	numbers []int32 // of the messages as they are sent, from 1
	sent    int32
	turns   int  // of the model, so far
	stopped bool // a text looks like a reference: no more of those are made
	kept    int  // the message that was kept last; one more than its place, 0 for none

	// inForce is the system's or developer's prompt that came last; one more than its place,
	// 0 for none that is known. plain is what of it counts, where plainOf says that it is its.
	inForce, plainOf int
	plain            []byte

	blocks []block // of the message that is looked at
	number int     // of its next line, as the message is sent, from 0

	// crowded says that with references a text of it would be one that has none.
	crowded bool

	marks        []byte // the references
	edits        []edit
	replacements []llm.Replacement
	saved        saving
}

// saving is what a rewritten request says less.
type saving struct {
	messages int // changed or taken out
	bytes    int // of the body
}

// piece is a run of lines that is kept: all of a text, or what stands between references.
type piece struct {
	from, to int // lines
	end      int // where the last one ends
	message  int // -1 for the instructions
	shift    int // from a line to its number in the message as that is sent, from 1
}

// edit is a replacement whose bytes are marks[from:to].
type edit struct {
	llm.Span
	from, to int
}

// block is a run of lines that stands further up too.
type block struct {
	edit
	first, lines int // the first one, and how many
	ref          reference
}

// spared is how many bytes the reference is shorter.
func (k *block) spared() int { return k.End - k.Start - (k.to - k.from) }

// make finds out what is to be changed. It is false for nothing.
func (p *plan) make(mode llm.DedupMode, rules *rules, notes func(Decision)) bool {
	p.rules, p.mode, p.notes = rules, mode, notes
	p.pieces, p.first, p.numbers, p.sent, p.turns, p.stopped, p.kept, p.told = p.pieces[:0], piece{}, p.numbers[:0], 0, 0, false, 0, -1
	p.inForce, p.plainOf, p.plain, p.marks, p.edits, p.saved = 0, 0, nil, p.marks[:0], p.edits[:0], saving{}
	last := len(p.messages) - 1
	blocks := mode == llm.DedupBlocks
	if n := p.before(last); blocks {
		if blocks = n >= 2*rules.MinBlock; blocks {
			p.index.reset(n)
			p.begin()
		}
	}
	for i := range max(last, 0) {
		m := &p.messages[i]
		if p.again(i) {
			p.numbers = append(p.numbers, 0)
			p.edits = append(p.edits, edit{Span: llm.Span{Start: m.Start, End: p.messages[i+1].Start}})
			p.save(p.messages[i+1].Start - m.Start)
			continue
		}
		p.sent++
		p.numbers = append(p.numbers, p.sent)
		switch {
		case !blocks:
		case p.stopped:
			p.tell(i, Kept, "it stands behind what looks as if it had references", nil)
		default:
			p.look(i)
		}
		p.tellKept(i)
		if m.output && (p.kept == 0 || !p.messages[p.kept-1].output) {
			p.turns++
		}
		p.kept = i + 1
	}
	p.tell(last, Kept, p.whyLast(), nil)
	return len(p.edits) > 0
}

func (p *plan) save(bytes int) {
	p.saved.messages++
	p.saved.bytes += bytes
}

// before is how much text there is that may be repeated or referred to, in bytes.
func (p *plan) before(last int) int {
	n := p.instructions.End - p.instructions.Start
	for i := range max(last, 0) {
		n += p.size(&p.messages[i])
	}
	return n
}

// again reports whether a message is taken out, since it says what is said already.
func (p *plan) again(i int) bool {
	m, next := &p.messages[i], &p.messages[i+1]
	long := p.size(m) >= shortest
	// Of results of tools there is one for each call, whatever they say.
	if long && m.role != tool && p.repeats(m, next) {
		p.tell(i, Removed, "the next message says the same", nil)
		return true
	}
	switch m.role {
	case system, developer:
	case other:
		if !p.items { // it may be a prompt
			p.inForce = 0
		}
		return false
	default:
		return false
	}
	before := p.inForce
	p.inForce = i + 1 // whatever it says, and in whatever form: it is what holds from here on
	if before == 0 || !long || !m.bare {
		return false
	}
	old := &p.messages[before-1]
	if old.role != m.role || !old.bare {
		return false
	}
	why := "the prompt in force says the same"
	if !p.repeats(old, m) {
		if !p.alike(before, m) {
			return false
		}
		why = "the prompt in force says the same but for what is not to count (dedup.volatile_lines, dedup.ignore_space)"
	}
	p.inForce = before
	if p.kept > 0 && p.repeats(&p.messages[p.kept-1], next) {
		// These two would come to stand beside each other, as a message and its repetition.
		return false
	}
	p.tell(i, Removed, why, nil)
	return true
}

// alike reports whether a prompt says what the one in force does but for what is not to
// count. What counts of that is found once.
func (p *plan) alike(inForce int, m *message) bool {
	if !p.rules.loose() {
		return false
	}
	if p.plainOf != inForce {
		p.plainOf = inForce
		p.plain, _ = p.rules.plain(p.textOf(&p.messages[inForce-1]))
	}
	plain, ok := p.rules.plain(p.textOf(m))
	return ok && bytes.Equal(p.plain, plain)
}

// begin notes the instructions, which come before all messages.
func (p *plan) begin() {
	p.first, p.blocks, p.number = piece{}, p.blocks[:0], 0
	if p.instructions.unread {
		p.stopped = p.rules.wording.within(p.body[p.instructions.Start:p.instructions.End])
		return
	}
	if p.walk(&p.instructions, -1, false); len(p.pieces) > 0 {
		p.first, p.pieces = p.pieces[0], p.pieces[:0]
	}
}

// look looks for repeats in a message that is kept, and decides about them.
func (p *plan) look(i int) {
	m := &p.messages[i]
	p.blocks, p.number, p.crowded = p.blocks[:0], 0, false
	pieces, marks := len(p.pieces), len(p.marks)
	texts := p.of(m)
	for n := range texts {
		if t := &texts[n]; m.unread {
			p.stopped = p.rules.wording.within(p.body[t.Start:t.End])
		} else {
			p.walk(t, i, !m.fixed)
		}
		if p.stopped {
			p.marks = p.marks[:marks]
			p.tell(i, Kept, "it looks as if it had references already: it and what follows is left alone", nil)
			return
		}
	}
	if len(p.blocks) == 0 {
		return
	}
	size, saved := p.size(m), 0
	for _, b := range p.blocks {
		saved += b.spared()
	}
	why := ""
	switch {
	case p.crowded:
		why = "its other lines are too short to be looked through again"
	case p.wasLast(i) && !p.rules.pays(size, saved, p.turns):
		why = "services have cached it as it is: to write it anew costs more than it saves"
	}
	if why != "" {
		p.tell(i, Kept, why, p.blocks)
		p.marks = p.marks[:marks]
		p.keep(i, pieces)
		return
	}
	for _, b := range p.blocks {
		p.edits = append(p.edits, b.edit)
	}
	p.save(saved)
	p.tell(i, Rewritten, "", p.blocks)
}

// wasLast reports whether an earlier request of the conversation ended with a message: it is
// what the model's next turn answered.
func (p *plan) wasLast(i int) bool {
	m, next := &p.messages[i], &p.messages[i+1]
	// An item of the model's came with those beside it; of messages there is one a turn.
	return next.output && !(p.items && m.output)
}

// keep takes back what was found in a message: all of it can be referred to.
func (p *plan) keep(i, pieces int) {
	p.pieces, p.number = p.pieces[:pieces], 0
	for _, t := range p.of(&p.messages[i]) {
		p.add(t.first, t.first+t.lines, i)
		p.number += t.lines
	}
	for _, b := range p.blocks {
		next := b.Start
		for line := b.first; line < b.first+b.lines; line++ {
			at := p.start(line)
			if at >= next && b.End-at >= window {
				key := p.index.fingerprint(p.body[at:])
				e, slot := p.index.find(key)
				p.index.note(key, e, slot, line)
				next = at + stride
			}
		}
	}
}

// add notes a piece of a text of message i, whose first line is the message's next one.
func (p *plan) add(from, to, i int) {
	if from == to {
		return
	}
	if end := p.end(to - 1); end-p.start(from) >= p.rules.MinBlock {
		p.pieces = append(p.pieces, piece{from: from, to: to, end: end, message: i, shift: p.number + 1 - from})
	}
}

// walk goes through the lines of a text of message i. It notes those that are kept and, where
// replace says so, finds blocks.
func (p *plan) walk(t *text, i int, replace bool) {
	b := p.body
	long := t.End-t.Start >= p.rules.MinBlock
	last := t.End - window // where the last window begins
	from, to := t.first, t.first+t.lines
	lines, saved := p.number, 0
	next := t.Start // where to note
	for line := from; line < to; line++ {
		at := p.start(line)
		if p.rules.wording.looks(b[at:t.End]) {
			p.stopped = true
			return
		}
		if !long || at > last {
			continue
		}
		key := p.index.fingerprint(b[at:])
		note := at >= next
		if !note && !p.index.may(key) {
			continue
		}
		e, slot := p.index.find(key)
		if e != nil && replace && len(p.blocks) < mostBlocks {
			if found, ok := p.match(e, t, line, from, i); ok {
				p.blocks = append(p.blocks, found)
				p.add(from, found.first, i)
				p.number += found.first - from + 1
				saved += found.spared()
				from = found.first + found.lines
				line = from - 1
				next = found.End
				continue
			}
		}
		if note {
			p.index.note(key, e, slot, line)
			next = at + stride
		}
	}
	p.add(from, to, i)
	p.number += to - from
	p.crowded = p.crowded || p.number-lines > crowd(t.End-t.Start-saved)
}

// match makes the best block of the lines of an entry, for a line of a text of message i. from
// is where the piece begins that ends there.
func (p *plan) match(e *entry, t *text, line, from, i int) (best block, ok bool) {
	if best, ok = p.extend(int(e.first), t, line, from, i); e.last != e.first {
		if late, found := p.extend(int(e.last), t, line, from, i); found && (!ok || late.End-late.Start > best.End-best.Start) {
			best, ok = late, true
		}
	}
	if !ok {
		return best, false
	}
	best.from = len(p.marks)
	last := best.first + best.lines - 1
	p.marks = p.rules.wording.append(p.marks, best.ref, p.body[best.Start:p.end(best.first)], p.body[p.start(last):best.End])
	best.to = len(p.marks)
	if best.to-best.from >= best.End-best.Start {
		p.marks = p.marks[:best.from]
		return best, false
	}
	return best, true
}

// extend compares a line of a text with an earlier one, source, makes what is the same as long
// as it can be and cuts it to whole lines.
func (p *plan) extend(source int, t *text, line, from, i int) (k block, ok bool) {
	b := p.body
	own := piece{from: from, to: line, end: p.start(line), message: i, shift: p.number + 1 - from}
	s := &own
	if source < from || source >= line {
		if s = p.pieceOf(source); s == nil || !p.mayRefer(i, s.message) {
			return k, false
		}
	}
	at, src := p.start(line), p.start(source)
	same := common(b[src:s.end], b[at:t.End])
	if same < window {
		return k, false
	}
	first := line
	if s != &own { // text that is replaced cannot be that which is referred to
		for n := 0; n < 8 && first > from && source > s.from && p.sameLine(first-1, source-1); n++ {
			first, source = first-1, source-1
		}
	}
	k.Start = p.start(first)
	if at+same-k.Start < p.rules.MinBlock {
		return k, false
	}
	// The lines that end within what is the same; of the last one the source may go on.
	end := line + sort.Search(t.first+t.lines-line, func(n int) bool { return p.end(line+n) > at+same })
	for end > line {
		if at := source + end - 1 - first; at < s.to && p.end(at)-p.start(source) == p.end(end-1)-k.Start {
			break
		}
		end--
	}
	if end == line { // of which there may be some before
		return k, false
	}
	if k.End = p.end(end - 1); k.End-k.Start < p.rules.MinBlock {
		return k, false
	}
	k.first, k.lines = first, end-first
	k.ref = reference{items: p.items, first: source + s.shift}
	k.ref.last = k.ref.first + k.lines - 1
	switch {
	case s.message < 0:
		k.ref.source = sourceInstructions
	case s.message == i:
		k.ref.source = sourceHere
	default:
		k.ref.source = int(p.numbers[s.message])
	}
	return k, true
}

// sameLine reports whether two lines, of which neither is a text's last one, are the same.
func (p *plan) sameLine(a, b int) bool {
	return bytes.Equal(p.body[p.start(a):p.start(a+1)], p.body[p.start(b):p.start(b+1)])
}

// pieceOf gives the piece that a line is in, nil for one that is not kept.
func (p *plan) pieceOf(line int) *piece {
	if line >= p.first.from && line < p.first.to {
		return &p.first
	}
	n := sort.Search(len(p.pieces), func(n int) bool { return p.pieces[n].to > line })
	if n == len(p.pieces) || line < p.pieces[n].from {
		return nil
	}
	return &p.pieces[n]
}

// common is how many bytes a and b have in common from their beginnings on.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// list gives the replacements that the plan is.
func (p *plan) list() []llm.Replacement {
	p.replacements = slices.Grow(p.replacements[:0], len(p.edits))
	for _, e := range p.edits {
		p.replacements = append(p.replacements, llm.Replacement{Span: e.Span, With: p.marks[e.from:e.to]})
	}
	return p.replacements
}
