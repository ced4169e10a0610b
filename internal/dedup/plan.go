package dedup

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"

	"sluice/internal/dialect"
	"sluice/internal/llm"
)

// shortest is the length in bytes below which a message is not taken out, whatever is repeated:
// "continue" may be said twice.
const shortest = 64

// mostBlocks is how many references a message gets, those for its largest repeats: a log that
// says the same things in ever another order is not to become a page of them, which a model
// would have to look up one by one. When it was chosen, 986 of the 991 rewritten messages of the
// recorded conversations had eight or less.
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
	first   []piece // of the prompt beside the messages, which may stand anywhere
	numbers []int32 // of the messages as they are sent, from 1
	turns   int     // of the model, so far
	stopped bool    // a text looks like a reference: no more of those are made
	kept    int     // the message that was kept last; one more than its place, 0 for none

	// inForce is the system's or developer's prompt that came last; one more than its place,
	// 0 for none that is known. plain is what of it counts, where plainOf says that it is its.
	inForce, plainOf int
	plain            []byte

	numbering         // of the message that is looked at
	found     []find  // of the message that is looked at
	blocks    []block // those that are taken
	number    int     // of its next line, as the message is sent, from 0
	barred    bool    // it would refer to what it may not

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
	message  int // -1 for the prompt beside them
	shift    int // from a line to its number in the message as that is sent, from 1
}

// edit is a replacement whose bytes are marks[from:to].
type edit struct {
	llm.Span
	from, to int
}

// find is a run of lines that stands further up too, source is the first one there, of a message
// or, -1, the prompt beside them. Once they are chosen, those that are taken are in their order.
type find struct{ first, lines, source, message int32 }

// block is a find with the reference that is to replace it.
type block struct {
	edit
	first, lines int
}

// spared is how many bytes the reference is shorter.
func (k *block) spared() int { return k.End - k.Start - (k.to - k.from) }

// make finds out what is to be changed. It is false for nothing.
func (p *plan) make(mode llm.DedupMode, rules *rules, notes func(Decision)) bool {
	p.rules, p.mode, p.notes = rules, mode, notes
	p.pieces, p.first, p.numbers, p.turns, p.stopped, p.kept, p.told = p.pieces[:0], p.first[:0], p.numbers[:0], 0, false, 0, -1
	p.numbering, p.number = numbering{}, 0
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
		p.follow(m)
		p.numbers, p.barred = append(p.numbers, int32(p.sent)), false
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
	p.follow(&p.messages[last])
	p.tell(last, Kept, p.whyLast(), nil)
	return len(p.edits) > 0
}

// follow gives a message that is kept its number, and its first line the one that it has.
func (p *plan) follow(m *message) {
	var before *message
	if p.kept > 0 {
		before = &p.messages[p.kept-1]
	}
	p.numbering.follow(&p.conversation, before, m, p.number)
}

func (p *plan) save(bytes int) {
	p.saved.messages++
	p.saved.bytes += bytes
}

// before is how much text there is that may be repeated or referred to, in bytes.
func (p *plan) before(last int) int {
	n := size(p.prompted)
	for i := range max(last, 0) {
		n += p.size(&p.messages[i])
	}
	return n
}

// again reports whether a message is taken out, since it says what is said already.
func (p *plan) again(i int) bool {
	m, next := &p.messages[i], &p.messages[i+1]
	long := p.size(m) >= shortest
	// Of results of tools there is one for each call, whatever they say. A mark is not taken
	// away; but since clients move them from turn to turn, nothing else goes by them.
	if long && m.role != dialect.ByTool && p.covered(m, next) && p.repeats(m, next) {
		p.tell(i, Removed, "the next message says the same", nil)
		return true
	}
	switch m.role {
	case dialect.BySystem, dialect.ByDeveloper:
	case dialect.Nobody:
		if !p.shape.Items { // it may be a prompt
			p.inForce = 0
		}
		return false
	default:
		return false
	}
	before := p.inForce
	p.inForce = i + 1 // whatever it says, and in whatever form: it is what holds from here on
	if before == 0 || !long || !m.bare || m.marks > 0 {
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
	if p.kept > 0 && p.repeated(&p.messages[p.kept-1], next) {
		// These two would come to stand beside each other, as a message and its repetition.
		return false
	}
	p.tell(i, Removed, why, nil)
	return true
}

// repeated reports whether two messages repeat each other, or may have done so before either had
// references put into it.
func (p *plan) repeated(a, b *message) bool {
	refers := func(m *message) bool { return p.rules.wording.within(p.textOf(m)) }
	return p.repeats(a, b) || a.bare && b.bare && a.role == b.role && (refers(a) || refers(b))
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

// begin notes the prompt that stands beside all messages, and before them.
func (p *plan) begin() {
	p.found, p.number = p.found[:0], 0
	for i := range p.prompted {
		if p.enter(&p.prompted[i], &p.prompt, -1, false); p.stopped {
			break
		}
	}
	p.first, p.pieces = p.pieces, p.first[:0]
}

// enter goes through a text of a message. Where its lines are not known it looks only whether
// one looks like a reference.
func (p *plan) enter(t *text, m *message, i int, replace bool) {
	if m.unread {
		p.stopped = p.rules.wording.within(p.body[t.Start:t.End])
		return
	}
	p.walk(t, i, replace)
}

// look looks for repeats in a message that is kept, and decides about them.
func (p *plan) look(i int) {
	m := &p.messages[i]
	p.found, p.number, p.barred = p.found[:0], p.base, false
	pieces, marks := len(p.pieces), len(p.marks)
	texts := p.of(m)
	for n := range texts {
		if p.enter(&texts[n], m, i, !m.fixed); p.stopped {
			p.tell(i, Kept, "it looks as if it had references already: it and what follows is left alone", nil)
			return
		}
	}
	if len(p.found) == 0 {
		return
	}
	taken := p.choose()
	crowded := p.settle(i, pieces, taken)
	size, saved := p.size(m), 0
	for _, b := range p.blocks {
		saved += b.spared()
	}
	why := ""
	switch {
	case len(p.blocks) == 0:
		why = "references would be longer than what it repeats"
	case crowded:
		why = "its other lines are too short to be looked through again"
	case p.wasLast(i) && !p.rules.pays(size, saved, p.turns, m.rich):
		why = "services have cached it as it is: to write it anew costs more than it saves"
	}
	if why != "" {
		p.tell(i, Kept, why, p.blocks)
		p.marks = p.marks[:marks]
		p.settle(i, pieces, 0)
		return
	}
	for _, b := range p.blocks {
		p.edits = append(p.edits, b.edit)
	}
	p.save(saved)
	p.tell(i, Rewritten, p.whyNotMore(taken), p.blocks)
}

// length is how many bytes a find has.
func (p *plan) length(f find) int {
	return p.end(int(f.first+f.lines-1)) - p.start(int(f.first))
}

// choose brings to the front the finds that are to be taken, the largest, in their order, and
// gives how many they are.
func (p *plan) choose() int {
	if len(p.found) <= mostBlocks {
		return len(p.found)
	}
	sort.Slice(p.found, func(i, j int) bool {
		a, b := p.found[i], p.found[j]
		return cmp.Or(p.length(b)-p.length(a), int(a.first-b.first)) < 0
	})
	first := p.found[:mostBlocks]
	sort.Slice(first, func(i, j int) bool { return first[i].first < first[j].first })
	return mostBlocks
}

// wasLast reports whether an earlier request of the conversation ended with a message: it is
// what the model's next turn answered.
func (p *plan) wasLast(i int) bool {
	m, next := &p.messages[i], &p.messages[i+1]
	// An item of the model's came with those beside it; of messages there is one a turn.
	return next.output && !(p.shape.Items && m.output)
}

// settle makes the references for the first taken finds of a message, which are in their order,
// and notes all that is kept. It reports whether a text would be crowded then.
func (p *plan) settle(i, pieces, taken int) (crowded bool) {
	p.pieces, p.blocks, p.number = p.pieces[:pieces], p.blocks[:0], p.base
	for _, f := range p.found[taken:] {
		p.noteKept(f)
	}
	n := 0
	for _, t := range p.of(&p.messages[i]) {
		from, lines, saved := t.first, p.number, 0
		for ; n < taken && int(p.found[n].first) < t.first+t.lines; n++ {
			f := p.found[n]
			before := len(p.pieces)
			p.add(from, int(f.first), i)
			b, ok := p.refer(f, i)
			if !ok { // the piece goes on
				p.pieces = p.pieces[:before]
				p.noteKept(f)
				continue
			}
			p.blocks = append(p.blocks, b)
			p.number += b.first - from + 1
			from = b.first + b.lines
			saved += b.spared()
		}
		p.add(from, t.first+t.lines, i)
		p.number += t.first + t.lines - from
		// What ends in a line break counts for a line more.
		crowded = crowded || p.number-lines >= crowd(t.End-t.Start-saved)
	}
	return crowded
}

// noteKept notes the lines of a find that is not taken.
func (p *plan) noteKept(f find) {
	next, end := 0, p.end(int(f.first+f.lines-1))
	for line := int(f.first); line < int(f.first+f.lines); line++ {
		at := p.start(line)
		if at >= next && end-at >= window {
			key := p.index.fingerprint(p.body[at:])
			var e *entry
			if p.index.may(key) {
				e = p.index.find(key)
			}
			p.index.note(key, e, line)
			next = at + stride
		}
	}
}

// refer makes the reference that is to replace a find of message i. It is false where that
// would not be shorter.
func (p *plan) refer(f find, i int) (b block, ok bool) {
	first, source, n := int(f.first), int(f.source), int(f.lines)
	b = block{first: first, lines: n}
	b.Span = llm.Span{Start: p.start(first), End: p.end(first + n - 1)}
	ref := reference{shape: p.shape, first: source + p.pieceOf(source).shift}
	ref.last = ref.first + n - 1
	switch message := int(f.message); {
	case message < 0:
		ref.source = sourcePrompt
	case int(p.numbers[message]) == p.sent:
		ref.source = sourceHere
	default:
		ref.source = int(p.numbers[message])
	}
	b.from = len(p.marks)
	from, to := p.quotable(first, first+n-1)
	p.marks = p.rules.wording.append(p.marks, ref, from, to)
	b.to = len(p.marks)
	if b.spared() <= 0 {
		p.marks = p.marks[:b.from]
		return b, false
	}
	return b, true
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
	next := t.Start        // where to note
	var largest, ahead int // the length of a find in another message, and how far it is behind its source, in lines
	for line := from; line < to; line++ {
		at := p.start(line)
		if p.rules.wording.suspects(b[at:]) && p.rules.wording.looks(b[at:t.End]) {
			p.stopped = true
			return
		}
		if !long || at > last {
			continue
		}
		key := p.index.fingerprint(b[at:])
		note := at >= next
		var e *entry
		if p.index.may(key) {
			e = p.index.find(key)
		}
		if e != nil && replace {
			if f, ok := p.match(e, line-ahead, t, line, from, i); ok {
				p.found = append(p.found, f)
				p.add(from, int(f.first), i)
				switch n := p.length(f); {
				case int(f.message) == i || n < 2*largest:
				case largest == 0: // the text may begin as the one does in which it stood first
					largest, ahead = n, line-int(e.first)
				default:
					largest, ahead = n, int(f.first-f.source)
				}
				from = int(f.first + f.lines)
				line = from - 1
				next = p.end(line)
				continue
			}
		}
		if note {
			p.index.note(key, e, line)
			next = at + stride
		}
	}
	p.add(from, to, i)
	p.number += t.lines
}

// match makes the best find of the lines of an entry, for a line of a text of message i, or of
// the line also, where what a large find of the text repeats goes on. from is where the piece
// begins that ends there.
func (p *plan) match(e *entry, also int, t *text, line, from, i int) (best find, ok bool) {
	first, last := int(e.first), int(e.last)
	length := 0
	for n, source := range [...]int{first, last, also} {
		if n > 0 && source == first || n > 1 && (source == last || source == line) {
			continue
		}
		if f, found := p.extend(source, t, line, from, i); found {
			if n := p.length(f); n > length {
				best, length = f, n
			}
		}
	}
	return best, length > 0
}

// extend compares a line of a text with an earlier one, source, makes what is the same as long
// as it can be and cuts it to whole lines.
func (p *plan) extend(source int, t *text, line, from, i int) (f find, ok bool) {
	b := p.body
	own := piece{from: from, to: line, end: p.start(line), message: i}
	s := &own
	if source < from || source >= line {
		if s = p.pieceOf(source); s == nil {
			return f, false
		}
	}
	at, src := p.start(line), p.start(source)
	if !p.mayRefer(i, s.message) {
		p.barred = p.barred || p.notes != nil && common(b[src:s.end], b[at:t.End]) >= p.rules.MinBlock
		return f, false
	}
	same := common(b[src:s.end], b[at:t.End])
	if same < window {
		return f, false
	}
	first := line
	if s != &own { // text that is replaced cannot be that which is referred to
		for n := 0; n < 8 && first > from && source > s.from && p.sameLine(first-1, source-1); n++ {
			first, source = first-1, source-1
		}
	}
	start := p.start(first)
	if at+same-start < p.rules.MinBlock {
		return f, false
	}
	// The lines that end within what is the same; of the last one the source may go on.
	end := line + sort.Search(t.first+t.lines-line, func(n int) bool { return p.end(line+n) > at+same })
	for end > line {
		if at := source + end - 1 - first; at < s.to && p.end(at)-p.start(source) == p.end(end-1)-start {
			break
		}
		end--
	}
	// Of those before the line alone nothing is made.
	if end == line || p.end(end-1)-start < p.rules.MinBlock {
		return f, false
	}
	return find{int32(first), int32(end - first), int32(source), int32(s.message)}, true
}

// sameLine reports whether two lines, of which neither is a text's last one, are the same.
func (p *plan) sameLine(a, b int) bool {
	return bytes.Equal(p.body[p.start(a):p.start(a+1)], p.body[p.start(b):p.start(b+1)])
}

// pieceOf gives the piece that a line is in, nil for one that is not kept.
func (p *plan) pieceOf(line int) *piece {
	list := p.pieces
	if n := len(p.first); n > 0 && line >= p.first[0].from && line < p.first[n-1].to {
		list = p.first
	}
	n := sort.Search(len(list), func(n int) bool { return list[n].to > line })
	if n == len(list) || line < list[n].from {
		return nil
	}
	return &list[n]
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
