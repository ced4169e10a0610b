package dedup

import (
	"bytes"
	"fmt"

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
// they name text that is kept. More than 64 MiB is an error.
func Expand(op llm.Operation, body []byte, cfg Config) ([]byte, error) {
	rules, err := cfg.compile()
	if err != nil {
		return nil, err
	}
	if err := jsonscan.Validate(body, 0); err != nil {
		return nil, err
	}
	x := expander{wording: &rules.wording}
	if (op != llm.Chat && op != llm.Response) || !x.read(op, body, true) {
		return body, nil
	}
	size := len(body)
	for i := range max(len(x.messages)-1, 0) {
		number := 0 // of a line of the message
		for _, t := range x.of(&x.messages[i]) {
			for line := t.first; line < t.first+t.lines; line++ {
				at, end := x.start(line), x.end(line)
				if x.wording.begins(body[at:end]) {
					if said, ok := x.resolve(i, number, body[at:end]); ok {
						if size += len(said) - (end - at); size > mostExpanded {
							return nil, fmt.Errorf("with what its references stand for, the request would have more than %d MiB", mostExpanded>>20)
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
	return append(out, body[from:]...), nil
}

// expander finds what references stand for.
type expander struct {
	conversation
	wording      *wording
	replacements []llm.Replacement
}

// resolve gives what a line of message i, which is that number of it, stands for, if it is a
// reference.
func (x *expander) resolve(i, number int, ref []byte) (said []byte, ok bool) {
	r, ok := x.wording.parse(ref, x.items)
	if !ok {
		return nil, false
	}
	var texts []text
	switch {
	case r.source == sourceInstructions:
		texts = []text{x.instructions}
	case r.source == sourceHere && r.last <= number:
		texts = x.of(&x.messages[i])
	case r.source > 0 && r.source <= i && x.mayRefer(i, r.source-1):
		texts = x.of(&x.messages[r.source-1])
	}
	n := r.first - 1
	for _, t := range texts {
		if n >= t.lines {
			n -= t.lines
			continue
		}
		first := t.first + n
		last := first + r.last - r.first
		return x.compare(&t, first, last, r, ref)
	}
	return nil, false
}

// compare gives lines of a text, if the reference to them is ref.
func (x *expander) compare(t *text, first, last int, r reference, ref []byte) (said []byte, ok bool) {
	if last >= t.first+t.lines { // they are of several texts
		return nil, false
	}
	b := x.body
	if !bytes.Equal(x.wording.append(nil, r, b[x.start(first):x.end(first)], b[x.start(last):x.end(last)]), ref) {
		return nil, false
	}
	for line := first; line <= last; line++ {
		if x.wording.begins(b[x.start(line):x.end(line)]) { // only what is kept is referred to
			return nil, false
		}
	}
	return b[x.start(first):x.end(last)], true
}
