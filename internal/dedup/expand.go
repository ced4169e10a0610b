package dedup

import (
	"bytes"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Expand puts into the place of each reference what it stands for, and gives the body with it,
// which is the same where there is none. Messages that were taken out stay away: what they said
// stands in their equals. The wording is that by which the references were made. A line is a
// reference when it is what this package would write for the lines that it names, and not in
// the last message, which is never rewritten: any other that looks like one is somebody's text.
//
// It takes time linear in what comes out, which references of references cannot blow up, as
// they name text that is kept.
func Expand(op llm.Operation, body []byte, cfg Config) ([]byte, error) {
	rules, err := cfg.compile()
	if err != nil {
		return nil, err
	}
	if err := jsonscan.Validate(body, 0); err != nil {
		return nil, err
	}
	x := expander{wording: &rules.wording}
	if (op != llm.Chat && op != llm.Response) || !x.read(op, body) {
		return body, nil
	}
	for i := range max(len(x.messages)-1, 0) {
		m := &x.messages[i]
		line := 0
		for _, s := range x.of(m) {
			line = x.text(i, s, line)
		}
	}
	out := make([]byte, 0, len(body))
	from := 0
	for _, r := range x.replacements {
		out = append(append(out, body[from:r.Start]...), r.With...)
		from = r.End
	}
	return append(out, body[from:]...), nil
}

// expander finds what references stand for.
type expander struct {
	conversation
	wording      *wording
	starts       map[int][]int // where the lines of a message begin, by the message
	replacements []llm.Replacement
}

// text looks through a text of message i, whose first line is that number of the message.
func (x *expander) text(i int, s llm.Span, line int) (next int) {
	b := x.body
	for at := s.Start; at < s.End; line++ {
		end, follow := lineEnd(b, at, s.End)
		if x.wording.begins(b[at:end]) {
			if said, ok := x.resolve(i, line, b[at:end]); ok {
				x.replacements = append(x.replacements, llm.Replacement{Span: llm.Span{Start: at, End: end}, With: said})
			}
		}
		at = follow
	}
	return line
}

// resolve gives what a line of message i stands for, if it is a reference.
func (x *expander) resolve(i, line int, ref []byte) (said []byte, ok bool) {
	r, ok := x.wording.parse(ref, x.items)
	if !ok {
		return nil, false
	}
	source := r.source - 1
	switch r.source {
	case sourceHere:
		source = i
		ok = r.last <= line
	case sourceInstructions:
		source = -1
	default:
		ok = source < i
	}
	starts := x.lines(source)
	if !ok || r.last > len(starts) {
		return nil, false
	}
	b, first, last := x.body, starts[r.first-1], starts[r.last-1]
	text := x.textAt(first)
	if last >= text.End { // of another text
		return nil, false
	}
	firstEnd, _ := lineEnd(b, first, text.End)
	end, _ := lineEnd(b, last, text.End)
	if !bytes.Equal(x.wording.append(nil, r, b[first:firstEnd], b[last:end]), ref) {
		return nil, false
	}
	for _, at := range starts[r.first-1 : r.last] {
		if x.wording.begins(b[at:text.End]) { // only what is kept is referred to
			return nil, false
		}
	}
	return b[first:end], true
}

// lines gives where the lines of a message begin, -1 for those of the instructions.
func (x *expander) lines(message int) []int {
	if list, ok := x.starts[message]; ok {
		return list
	}
	texts := []llm.Span{x.instructions}
	if message >= 0 {
		texts = x.of(&x.messages[message])
	}
	var list []int
	for _, s := range texts {
		for at := s.Start; at < s.End; {
			list = append(list, at)
			_, at = lineEnd(x.body, at, s.End)
		}
	}
	if x.starts == nil {
		x.starts = make(map[int][]int)
	}
	x.starts[message] = list
	return list
}
