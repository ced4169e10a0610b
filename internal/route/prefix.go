package route

import (
	"bytes"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"sluice/internal/dialect/known"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Engines and providers keep what they computed for the beginning of a prompt, and
// answer what begins alike much sooner where they have it. Here the beginnings of
// conversations are known by hashes of their bytes, at marks that lie the further
// apart the further they are in; whatever follows leaves them where they are.
const (
	// prefixWindow is how much of a conversation is looked at, and headWindow of each
	// thing that prompts have in front of it, in bytes.
	prefixWindow, headWindow = 64 << 10, 16 << 10
	// scanWindow is how far a body is searched for a conversation's beginning.
	scanWindow = 128 << 10
	// maxMarks bounds the marks of one request.
	maxMarks = 48
	// leastBlock is the least number of bytes between two marks, other than the ends
	// of the first messages.
	leastBlock, firstMessages = 256, 8
	// worthwhile is how much of a beginning that many conversations share is worth
	// going where it is known: about the 1,024 tokens from which providers keep any.
	worthwhile = 4 << 10
)

// mark is a place in a conversation.
type mark struct {
	hash uint64 // of all in front of it
	at   int    // in bytes
}

// prefix is what is looked at of the beginning of a conversation.
type prefix struct {
	model string // whose upstreams it may be known at
	marks [maxMarks]mark
	n     int
	own   int    // the first mark that other conversations do not have
	key   uint64 // the hash of what begins the conversation: all up to the first turn of its user

	hash  uint64 // up to the last mark
	last  int    // where that is
	shift int    // what is in front of the conversation
}

// read finds the beginning of req's conversation. ok is false where there is none.
func (p *prefix) read(req *llm.Request, model string) (ok bool) {
	if !known.Generates(req.Op) {
		return false // nothing is kept of its prompts
	}
	p.hash = xxhash.Sum64String(model)
	text := p.head(req)
	switch {
	case len(text) == 0:
		return false
	case text[0] == '[':
		p.messages(text)
	case text[0] == '"':
		end := jsonscan.TextEnd(text, 1)
		if end < 0 {
			end = len(text) + 1
		}
		p.extend(text, end-1, true)
		p.whole()
	default:
		p.n = 0 // what is in front of no conversation is no beginning of one
	}
	return p.n > 0
}

// head hashes what a prompt has in front of its conversation and gives the part of
// the body that begins with that. It goes through the body as far as there, and on
// behind the model's name, but never through a whole conversation.
func (p *prefix) head(req *llm.Request) (text []byte) {
	body := req.Body
	b := body[:min(len(body), scanWindow)]
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return nil
	}
	i++
	var sum uint64
	for {
		for i < len(b) && (b[i] == ',' || blank(b[i])) {
			i++
		}
		if i >= len(b) || b[i] != '"' {
			break
		}
		end := jsonscan.TextEnd(b, i+1)
		if end < 0 {
			break
		}
		name := b[i+1 : end-1]
		i = space(b, end)
		if i >= len(b) || b[i] != ':' {
			break
		}
		if i = space(b, i+1); i >= len(b) {
			break
		}
		switch string(name) {
		case "messages", "input", "prompt", "contents":
			if text == nil {
				text = body[i:min(len(body), i+prefixWindow)]
			}
			if s := req.ModelSpan; s.Start < i || s.End <= s.Start || s.End >= len(body) {
				b = nil
				continue
			}
			i = req.ModelSpan.End
			b = body[:min(len(body), i+scanWindow)]
			continue
		}
		end = jsonscan.ValueEnd(b, i)
		if end < 0 {
			end = len(b)
		}
		switch string(name) {
		case "tools", "functions", "system", "instructions", "systemInstruction", "system_instruction", "prompt_cache_key":
			part := b[i:min(end, i+headWindow)]
			// Added, since members may be in any order.
			sum += mix(xxhash.Sum64(name), xxhash.Sum64(part))
			p.shift += len(part)
		}
		i = end
	}
	if p.shift > 0 && text != nil {
		p.hash = mix(p.hash, sum)
		p.add(0)
	}
	return text
}

// messages goes through the messages of a conversation.
func (p *prefix) messages(b []byte) {
	turned := false
	i := 1
	for range firstMessages {
		for i < len(b) && (b[i] == ',' || blank(b[i])) {
			i++
		}
		if i >= len(b) || b[i] == ']' {
			break
		}
		end := jsonscan.ValueEnd(b, i)
		whole := end >= 0
		if !whole {
			end = len(b)
		}
		first := whole && !turned && byUser(b[i:end])
		p.extend(b, end, whole)
		if first {
			turned, p.own, p.key = true, p.n-1, p.hash
		}
		i = end
	}
	if !turned {
		p.whole()
	}
	// Where a later message ends is not worth finding out. What may be behind the
	// last one is only in marks that nobody will look for.
	p.extend(b, len(b), false)
}

// whole is for a conversation in which no turn of its user is told apart.
func (p *prefix) whole() {
	if p.n > 0 {
		p.own, p.key = p.n-1, p.marks[min(p.n, 2)-1].hash
	}
}

// byUser reports whether a message is of a user.
func byUser(message []byte) bool {
	// In a text a quote has a backslash before it, so this is a name.
	i := bytes.Index(message, []byte(`"role"`))
	if i < 0 {
		return false
	}
	i = space(message, i+len(`"role"`))
	return i < len(message) && message[i] == ':' && bytes.HasPrefix(message[space(message, i+1):], []byte(`"user"`))
}

// extend hashes b up to end and sets marks on the way, and at the end where it is to
// be or the last one is far enough.
func (p *prefix) extend(b []byte, end int, at bool) {
	for p.n < maxMarks {
		block := max(leastBlock, p.last/4)
		switch {
		case end-p.last > block:
			p.set(b, p.last+block)
		case end > p.last && (at || end-p.last >= block/2):
			p.set(b, end)
			return
		default:
			return
		}
	}
}

func (p *prefix) set(b []byte, at int) {
	p.hash = mix(p.hash, xxhash.Sum64(b[p.last:at]))
	p.last = at
	p.add(at)
}

func (p *prefix) add(at int) {
	p.marks[p.n] = mark{p.hash, p.shift + at}
	p.n++
}

// counts reports whether a mark says enough of a conversation for it to go where
// that is known: it is the conversation's own, or much.
func (p *prefix) counts(i int) bool {
	return i >= p.own || p.marks[i].at >= worthwhile
}

func space(b []byte, i int) int {
	for i < len(b) && blank(b[i]) {
		i++
	}
	return i
}

func blank(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// mix makes one hash of two, of which neither makes up for the other.
func mix(a, b uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	hi, lo := bits.Mul64(a^odd, b^bits.RotateLeft64(odd, 32))
	return hi ^ lo ^ bits.RotateLeft64(a, 23)
}
