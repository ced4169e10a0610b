package dedup

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// mostExpanded is the length in bytes of the longest body that Expand makes. Many references
// may name the same text: without a bound, 1 MB would become 500.
const mostExpanded = 64 << 20

// Expand puts into the place of each reference what it stands for, and gives the body with it,
// which is the same where there is none. Messages that were taken out stay away: what they said
// stands in their equals. The wording is that by which the references were made. A line is a
// reference when it is what this package would write for the lines that it names, and not in
// the last message, which is never rewritten: any other that looks like one is somebody's text.
//
// It takes time linear in what comes out, which references of references cannot blow up, as
// they name text that is kept. More than 64 MiB is an error. left is how many lines look like
// references before the last message and are none.
func Expand(op llm.Operation, body []byte, cfg Config) (expanded []byte, left int, err error) {
	rules, err := cfg.compile()
	if err != nil {
		return nil, 0, err
	}
	if err := jsonscan.Validate(body, 0); err != nil {
		return nil, 0, err
	}
	x := expander{wording: &rules.wording}
	if !reads(op) || !x.read(op, body, true) {
		return body, 0, nil
	}
	x.prepare()
	size, number := len(body), 0 // the latter of a line of a message
	for i := range max(len(x.messages)-1, 0) {
		if x.first[x.numbers[i]-1] == i {
			number = 0
		}
		for _, t := range x.of(&x.messages[i]) {
			for line := t.first; line < t.first+t.lines; line++ {
				at, end := x.start(line), x.end(line)
				if x.wording.begins(body[at:end]) {
					if said, ok := x.resolve(i, number, body[at:end]); ok {
						if size += len(said) - (end - at); size > mostExpanded {
							return nil, 0, fmt.Errorf("with what its references stand for, the request would have more than %d MiB", mostExpanded>>20)
						}
						x.replacements = append(x.replacements, llm.Replacement{Span: llm.Span{Start: at, End: end}, With: said})
					}
				}
				number++
			}
		}
	}
	out := make([]byte, 0, size)
	from := 0
	for _, r := range x.replacements {
		out = append(append(out, body[from:r.Start]...), r.With...)
		from = r.End
	}
	return append(out, body[from:]...), x.left - len(x.replacements), nil
}

// expander finds what references stand for.
type expander struct {
	conversation
	wording      *wording
	replacements []llm.Replacement

	looks          []int // the lines that look like references: only what is kept is referred to
	left           int   // how many of them stand before the last message
	before         []int // for each text, how many lines of its message stand before it
	numbers        []int // of each message
	first          []int // by number, the first message of those that are joined
	beforeOfPrompt []int // the same of the prompt beside them
	ref            []byte
}

// prepare finds the lines that look like references.
func (x *expander) prepare() {
	note := func(t *text) {
		for line := t.first; line < t.first+t.lines; line++ {
			if x.wording.looks(x.body[x.start(line):t.End]) {
				x.looks = append(x.looks, line)
			}
		}
	}
	var at numbering
	var before *message
	lines := 0
	for i := range x.messages {
		m := &x.messages[i]
		if i == len(x.messages)-1 {
			x.left = len(x.looks)
		}
		at.follow(&x.conversation, before, m, lines)
		if before, lines = m, at.base; at.sent > len(x.first) {
			x.first = append(x.first, i)
		}
		x.numbers = append(x.numbers, at.sent)
		texts := x.of(m)
		for n := range texts {
			t := &texts[n]
			if note(t); m.unread { // nobody knows which number a line of it has
				t.lines = 0
			}
			x.before = append(x.before, lines)
			lines += t.lines
		}
	}
	lines = 0
	for i := range x.prompted { // which may stand anywhere
		t := &x.prompted[i]
		note(t)
		x.beforeOfPrompt = append(x.beforeOfPrompt, lines)
		lines += t.lines
	}
	slices.Sort(x.looks)
}

// resolve gives what a line of message i, which is that number of it, stands for, if it is a
// reference.
func (x *expander) resolve(i, number int, ref []byte) (said []byte, ok bool) {
	r, ok := x.wording.parse(ref, x.shape)
	if !ok {
		return nil, false
	}
	texts, before, own := x.prompted, x.beforeOfPrompt, x.numbers[i]
	switch {
	case r.source == sourcePrompt && !x.prompt.unread:
	case r.source == sourceHere && r.last <= number:
		texts, before = x.numbered(own)
	case r.source > 0 && r.source < own && x.mayRefer(i, x.first[r.source-1]):
		texts, before = x.numbered(r.source)
	default:
		return nil, false
	}
	if len(texts) == 0 {
		return nil, false
	}
	// The last text that begins before the line.
	n := sort.Search(len(before), func(n int) bool { return before[n] >= r.first }) - 1
	t := &texts[n]
	return x.compare(t, t.first+r.first-1-before[n], r, ref)
}

// numbered gives the texts of the message of a number, of several that are joined, and how many
// lines of it stand before each.
func (x *expander) numbered(number int) ([]text, []int) {
	from, to := x.messages[x.first[number-1]].from, len(x.texts)
	if number < len(x.first) {
		to = x.messages[x.first[number]].from
	}
	return x.texts[from:to], x.before[from:to]
}

// compare gives lines of a text, from first on, if the reference to them is ref.
func (x *expander) compare(t *text, first int, r reference, ref []byte) (said []byte, ok bool) {
	last := first + r.last - r.first
	if last >= t.first+t.lines { // they are of several texts
		return nil, false
	}
	b := x.body
	from, to := x.quotable(first, last)
	x.ref = x.wording.append(x.ref[:0], r, from, to)
	if !bytes.Equal(x.ref, ref) {
		return nil, false
	}
	if n, found := slices.BinarySearch(x.looks, first); found || n < len(x.looks) && x.looks[n] <= last {
		return nil, false
	}
	return b[x.start(first):x.end(last)], true
}
