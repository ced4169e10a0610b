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

// plan is what is to become of one request. It is kept for use again.
type plan struct {
	conversation
	rules *rules
	mode  llm.DedupMode
	notes func(Decision) // nil for nobody who asks

	index   index
	pieces  []piece // of the text that is kept and may be referred to, in the order of the body
	first   piece   // of the instructions, which may stand anywhere
	numbers []int32 // of the messages as they are sent, from 1
	sent    int32
	turns   int  // of the model, so far
	stopped bool // a text looks like a reference: what follows is left alone

	latest [tool + 1]int // the prompt that is in force, by role; one more than its place, 0 for none

	blocks []block // of the message that is looked at
	lines  int     // of it, so far
	gone   int     // of these, by references

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
	llm.Span
	text    int // where the text ends that it is of
	message int // -1 for the instructions
	gone    int // lines of the message before it, less those of the references in their place
}

// edit is a replacement whose bytes are marks[from:to].
type edit struct {
	llm.Span
	from, to int
}

// block is a run of lines that stands further up too.
type block struct {
	edit
	line, lines int // of its message: the first one, from 0, and how many
	source      piece
	at          int // where the same bytes are
	ref         reference
}

// make finds out what is to be changed. It is false for nothing.
func (p *plan) make(mode llm.DedupMode, rules *rules, notes func(Decision)) bool {
	p.rules, p.mode, p.notes = rules, mode, notes
	p.pieces, p.first, p.numbers, p.sent, p.turns, p.stopped = p.pieces[:0], piece{}, p.numbers[:0], 0, 0, false
	p.latest, p.marks, p.edits, p.saved = [tool + 1]int{}, p.marks[:0], p.edits[:0], saving{}
	last := len(p.messages) - 1
	blocks := mode == llm.DedupBlocks
	if n := p.before(last); blocks {
		if blocks = n >= 2*rules.MinBlock; blocks {
			p.index.reset(n)
			p.begin()
		}
	}
	for i := 0; i < last && !p.stopped; i++ {
		m := &p.messages[i]
		if p.again(i) {
			p.numbers = append(p.numbers, 0)
			p.edits = append(p.edits, edit{Span: llm.Span{Start: m.Start, End: p.messages[i+1].Start}})
			p.save(p.messages[i+1].Start - m.Start)
			continue
		}
		p.sent++
		p.numbers = append(p.numbers, p.sent)
		if blocks {
			p.look(i)
		}
		if m.output && (i == 0 || !p.messages[i-1].output) {
			p.turns++
		}
	}
	return len(p.edits) > 0
}

func (p *plan) save(bytes int) {
	p.saved.messages++
	p.saved.bytes += bytes
}

// before is how much text there is that may be repeated or referred to, in bytes.
func (p *plan) before(last int) int {
	n := p.instructions.End - p.instructions.Start
	for i := 0; i < last; i++ {
		n += p.size(&p.messages[i])
	}
	return n
}

// again reports whether a message is taken out, since it says what is said already.
func (p *plan) again(i int) bool {
	m, next := &p.messages[i], &p.messages[i+1]
	if p.size(m) < shortest {
		return false
	}
	if p.repeats(m, next) {
		p.tell(i, Removed, "the next message says the same", nil)
		return true
	}
	if m.role != system && m.role != developer || !m.bare {
		return false
	}
	before := p.latest[m.role]
	p.latest[m.role] = i + 1
	if before == 0 {
		return false
	}
	old := &p.messages[before-1]
	why := "the prompt in force says the same"
	if !p.repeats(old, m) {
		if !p.rules.alike(p.textOf(old), p.textOf(m)) {
			return false
		}
		why = "the prompt in force says the same but for what is not to count (dedup.volatile_lines, dedup.ignore_space)"
	}
	p.latest[m.role] = before
	if kept := p.keptBefore(i); kept != nil && p.repeats(kept, next) {
		// These two would come to stand beside each other, as a message and its repetition.
		return false
	}
	p.tell(i, Removed, why, nil)
	return true
}

// keptBefore is the message that will stand in front of message i, nil for none.
func (p *plan) keptBefore(i int) *message {
	for i--; i >= 0; i-- {
		if p.numbers[i] != 0 {
			return &p.messages[i]
		}
	}
	return nil
}

// begin notes the instructions, which come before all messages.
func (p *plan) begin() {
	if s := p.instructions; s.End-s.Start > 0 {
		p.lines, p.gone, p.blocks = 0, 0, p.blocks[:0]
		p.walk(s, -1, false)
		if len(p.pieces) > 0 {
			p.first, p.pieces = p.pieces[0], p.pieces[:0]
		}
	}
}

// look looks for repeats in a message that is kept, and decides about them.
func (p *plan) look(i int) {
	m := &p.messages[i]
	p.blocks, p.lines, p.gone = p.blocks[:0], 0, 0
	pieces, marks := len(p.pieces), len(p.marks)
	for _, s := range p.of(m) {
		if p.walk(s, i, !m.fixed); p.stopped {
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
		saved += b.End - b.Start - (b.to - b.from)
	}
	if p.wasLast(i) && !p.rules.pays(size, saved, p.turns) {
		p.tell(i, Kept, "services have cached it as it is: to write it anew costs more than it saves", p.blocks)
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
	p.pieces = p.pieces[:pieces]
	for _, s := range p.of(&p.messages[i]) {
		if s.End-s.Start >= p.rules.MinBlock {
			p.pieces = append(p.pieces, piece{Span: s, text: s.End, message: i})
		}
	}
	for _, b := range p.blocks {
		text := p.textAt(b.Start)
		for at, line, next := b.Start, b.line, b.Start; at < b.End && text.End-at >= window; line++ {
			if at >= next {
				key := p.index.fingerprint(p.body[at:])
				e, slot := p.index.find(key)
				p.index.note(key, e, slot, place{uint32(at), uint32(line)})
				next = at + stride
			}
			_, at = lineEnd(p.body, at, text.End)
		}
	}
}

// recent are the beginnings of the last lines of a piece.
type recent struct {
	list [8]place
	n    int
}

func (r *recent) add(p place) {
	r.list[r.n%len(r.list)] = p
	r.n++
}

// walk goes through the lines of a text of message i. It notes those that are kept and, where
// replace says so, finds blocks.
func (p *plan) walk(s llm.Span, i int, replace bool) {
	b := p.body[:s.End]
	long := s.End-s.Start >= p.rules.MinBlock
	now := piece{Span: llm.Span{Start: s.Start}, text: s.End, message: i, gone: p.gone}
	var back recent
	next := s.Start // where to note
	for at := s.Start; at < s.End; {
		end, follow := lineEnd(b, at, s.End)
		if p.rules.wording.begins(b[at:end]) {
			p.stopped = true
			return
		}
		if long && s.End-at >= window {
			key := p.index.fingerprint(b[at:])
			e, slot := p.index.find(key)
			if e != nil && replace {
				now.End = at
				if found, ok := p.match(e, place{uint32(at), uint32(p.lines)}, &now, &back); ok {
					at = p.take(found, &now)
					back, next = recent{}, at
					continue
				}
			}
			if at >= next {
				p.index.note(key, e, slot, place{uint32(at), uint32(p.lines)})
				next = at + stride
			}
			back.add(place{uint32(at), uint32(p.lines)})
		}
		at = follow
		p.lines++
	}
	if now.End = s.End; long && now.End > now.Start {
		p.pieces = append(p.pieces, now)
	}
}

// take takes a block out of a text, of which now is the piece before it and becomes the piece
// behind. It gives where that begins.
func (p *plan) take(found block, now *piece) (at int) {
	p.blocks = append(p.blocks, found)
	if now.End = found.Start; now.End > now.Start {
		p.pieces = append(p.pieces, *now)
	}
	p.lines = found.line + found.lines
	p.gone += found.lines - 1
	if at = found.End; at < now.text { // a line follows
		at += 2
	}
	now.Start, now.gone = at, p.gone
	return at
}

// match makes the best block of the places of an entry, for the line at here. now is the piece
// that ends there, back its last lines.
func (p *plan) match(e *entry, here place, now *piece, back *recent) (best block, ok bool) {
	if best, ok = p.extend(e.first, here, now, back); e.last != e.first {
		if late, found := p.extend(e.last, here, now, back); found && (!ok || late.End-late.Start > best.End-best.Start) {
			best, ok = late, true
		}
	}
	if !ok {
		return best, false
	}
	best.from = len(p.marks)
	p.marks = p.mark(best)
	best.to = len(p.marks)
	if best.to-best.from >= best.End-best.Start {
		p.marks = p.marks[:best.from]
		return best, false
	}
	return best, true
}

// mark appends the reference of a block.
func (p *plan) mark(k block) []byte {
	b := p.body
	end, _ := lineEnd(b, k.Start, k.End)
	return p.rules.wording.append(p.marks, k.ref, b[k.Start:end], lastLine(b[k.Start:k.End]))
}

// extend compares what follows, and what stands before, the line at from with the line at here,
// and cuts what is the same to whole lines.
func (p *plan) extend(from, here place, now *piece, back *recent) (k block, ok bool) {
	b, at, src := p.body, int(here.at), int(from.at)
	source := p.pieceAt(src, now)
	if source == nil {
		return k, false
	}
	n := common(b[src:source.End], b[at:now.text])
	if n < window {
		return k, false
	}
	k.Start, k.line, k.at, k.source = at, int(here.line), src, *source
	if source != now { // text that is replaced cannot be that which is referred to
		k.grow(b, now.Start, back)
	}
	if at+n-k.Start < p.rules.MinBlock {
		return k, false
	}
	k.lines = k.cut(b, at, n, now.text)
	if k.End-k.Start < p.rules.MinBlock {
		return k, false
	}
	k.lines += int(here.line) - k.line
	k.ref = reference{items: p.items, first: int(from.line) - (int(here.line) - k.line) - source.gone + 1}
	k.ref.last = k.ref.first + k.lines - 1
	switch source.message {
	case -1:
		k.ref.source = sourceInstructions
	case now.message:
		k.ref.source = sourceHere
	default:
		k.ref.source = int(p.numbers[source.message])
	}
	return k, true
}

// grow has a block begin with an earlier line of the piece that begins at least and has those
// lines behind it, where the source has the same.
func (k *block) grow(b []byte, least int, back *recent) {
	at, same := k.Start, 0
	for same < at-least && same < k.at-k.source.Start && b[at-1-same] == b[k.at-1-same] && same < 512 {
		same++
	}
	for n := max(back.n-len(back.list), 0); n < back.n; n++ {
		first := back.list[n%len(back.list)]
		d := at - int(first.at)
		// Whether a line begins there in the source depends on what stands before.
		switch begin := k.at - d; {
		case d > same:
			continue
		case begin == k.source.Start:
		case d+3 > same || b[begin-3] == '\\':
			continue
		}
		k.Start, k.line, k.at = int(first.at), int(first.line), k.at-d
		return
	}
}

// cut sets the end of a block of which n bytes from at on are the same as in the source: that
// of a line in both. It gives how many lines there are from at on. text is where the text ends.
func (k *block) cut(b []byte, at, n, text int) (lines int) {
	k.End = k.Start
	src := k.at + at - k.Start
	for line, count := at, 1; line < text; count++ {
		end, follow := lineEnd(b, line, text)
		if end-at > n {
			break
		}
		same := src + end - at
		if end+2-at <= n || same == k.source.End && same == k.source.text || same+2 <= k.source.End && b[same] == '\\' && b[same+1] == 'n' {
			k.End, lines = end, count
		}
		line = follow
	}
	return lines
}

// pieceAt gives the piece that a byte of the body is in, nil for one that is not kept. now is
// the one that is not in the list yet.
func (p *plan) pieceAt(at int, now *piece) *piece {
	switch {
	case at >= now.Start && at < now.End:
		return now
	case at >= p.first.Start && at < p.first.End:
		return &p.first
	}
	n := sort.Search(len(p.pieces), func(n int) bool { return p.pieces[n].End > at })
	if n == len(p.pieces) || at < p.pieces[n].Start {
		return nil
	}
	return &p.pieces[n]
}

// lineEnd gives where the line ends that begins at i in a text that ends at stop, and where the
// next one begins. Lines end with the escape \n.
func lineEnd(b []byte, i, stop int) (end, next int) {
	for {
		n := bytes.IndexByte(b[i:stop], '\\')
		if n < 0 || i+n+1 >= stop {
			return stop, stop
		}
		if i += n; b[i+1] == 'n' {
			return i, i + 2
		}
		i += 2
	}
}

// lastLine gives the last line of whole lines.
func lastLine(b []byte) []byte {
	for at := 0; ; {
		end, next := lineEnd(b, at, len(b))
		if end == len(b) {
			return b[at:]
		}
		at = next
	}
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
