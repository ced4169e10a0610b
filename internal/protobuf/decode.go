package protobuf

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendJSON appends to dst the JSON of the message that wire encodes. Without
// an error the JSON is complete; with one, an *Error or Limits.Memory's, dst comes back
// as it was.
func (p *Plan) AppendJSON(dst, wire []byte, o Options, l Limits) ([]byte, error) {
	d := decoders.Get().(*decoder)
	defer d.release()
	d.options, d.limits, d.size = o, l.orDefault(), len(wire)
	d.memory = l.Memory
	if d.run(p.root, dst, wire) {
		return d.out, nil
	}
	if d.lack != nil {
		return dst, d.lack
	}
	// A message may be out of order, or what was refused may have been replaced
	// further on. A second pass looks ahead in every message. Starting over at
	// the top costs the work once more; starting over where it was found would
	// cost that for each level.
	if d.careful = true; d.run(p.root, d.out[:d.begin], wire) {
		return d.out, nil
	}
	if d.tooLarge && d.lack == nil {
		d.start(d.out[:d.begin])
		if d.viaProtojson(p.root, wire, 0) {
			return d.out, nil
		}
	}
	if d.lack != nil {
		return dst, d.lack
	}
	return dst, &Error{Offset: d.fault, Msg: d.msg, Limit: d.exceeded}
}

// decoder is the state of one AppendJSON. Its methods read from b at the index
// i and return the index after what they read, or -1 when that is refused. b
// ends where the message at hand ends and begins where the whole input begins,
// so that indexes are offsets.
type decoder struct {
	options Options
	limits  Limits
	size    int // bytes of the input

	out   []byte
	begin int // of the output in out
	mark  int // see asker.mark
	asker
	depth int // messages that are open
	left  int // fields that may still come
	any   int // how many Any are around: required fields are not asked for

	careful  bool // look ahead in each message; the output is right at once
	tooLarge bool // failed: what has to be merged takes too much scratch

	fault    int // where decoding failed
	msg      string
	exceeded bool // because of a limit
	moved    int  // the offset to report for what stands in scratch, else -1

	// Scratch. Each is a stack: who pushes takes his own away.
	merged []byte // messages that came in parts, put together
	found  []found
	keys   keys
}

// maxScratch is the largest scratch, in elements, that is kept for another run.
const maxScratch = 1 << 15

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func (d *decoder) release() {
	d.giveBack()
	kept := decoder{}
	if cap(d.merged) <= maxScratch {
		kept.merged = d.merged[:0]
	}
	if cap(d.found) <= maxScratch {
		kept.found = d.found[:0]
	}
	if cap(d.keys.all) <= maxScratch && cap(d.keys.slots) <= maxScratch {
		kept.keys = keys{all: d.keys.all[:0], slots: d.keys.slots[:0]}
	}
	*d = kept
	decoders.Put(d)
}

func (d *decoder) start(dst []byte) {
	d.out, d.begin = dst, len(dst)
	d.look()
	d.depth, d.any, d.left = 0, 0, d.limits.MaxFields
	d.tooLarge, d.moved = false, -1
	d.merged, d.found = d.merged[:0], d.found[:0]
	d.keys.all, d.keys.slots = d.keys.all[:0], d.keys.slots[:0]
}

func (d *decoder) run(m *message, dst, wire []byte) bool {
	d.start(dst)
	return d.message(m, wire, 0, 0) >= 0
}

func (d *decoder) fail(i int, msg string) int {
	d.fault, d.msg, d.exceeded = i, msg, false
	if d.moved >= 0 {
		d.fault = d.moved
	}
	return -1
}

// exceed is fail because of a limit.
func (d *decoder) exceed(i int, msg string) int {
	d.fail(i, msg)
	d.exceeded = true
	return -1
}

// unordered gives up a straight pass.
func (d *decoder) unordered(i int) int {
	return d.fail(i, "fields out of order")
}

// fits fails when there is too much output, or no memory for more.
func (d *decoder) fits(i int) int {
	if len(d.out) > d.mark {
		return d.beyond(i)
	}
	return i
}

func (d *decoder) beyond(i int) int {
	n := len(d.out) - d.begin
	if n > d.limits.MaxOutput {
		return d.exceed(i, "more output than the limit allows")
	}
	if cap(d.out)-len(d.out) < slack && !d.grow(expect(n, i, d.size, d.limits.MaxOutput)) {
		return -1
	}
	d.look()
	return i
}

// look notes up to where the output need not be looked at.
func (d *decoder) look() { d.mark = d.asker.mark(d.out, d.begin+d.limits.MaxOutput) }

// grow has room for n bytes more of output.
func (d *decoder) grow(n int) (ok bool) {
	d.out, ok = d.asker.grow(d.out, n+slack)
	d.look()
	return ok
}

// comma ends the member or element before, if there is one. No value ends with
// an opening bracket.
func (d *decoder) comma() {
	if c := d.out[len(d.out)-1]; c != '{' && c != '[' {
		d.out = append(d.out, ',')
	}
}

// key begins a member.
func (d *decoder) key(f *field) {
	d.comma()
	d.out = append(d.out, f.name(&d.options)...)
}

// message reads a message to the end of b or, as a group, to the end tag of
// group, and writes its JSON.
func (d *decoder) message(m *message, b []byte, i int, group protowire.Number) int {
	next := -1
	if group != 0 && (d.careful || m.wide || m.wkt != notWellKnown || m.fallback != "") {
		var stop int
		if stop, next = d.span(b, i, group); next < 0 {
			return -1
		}
		b, group = b[:stop], 0
	}
	if d.depth++; d.depth > d.limits.MaxDepth {
		return d.exceed(i, "messages nest deeper than the limit allows")
	}
	i = d.body(m, b, i, group)
	d.depth--
	if next >= 0 && i >= 0 {
		return next
	}
	return i
}

// span is group for what is read later and counts its fields then.
func (d *decoder) span(b []byte, i int, group protowire.Number) (end, next int) {
	left := d.left
	end, next = d.group(b, i, group)
	d.left = left
	return end, next
}

func (d *decoder) body(m *message, b []byte, i int, group protowire.Number) int {
	if m.wkt != notWellKnown {
		return d.wellKnown(m, b, i)
	}
	if m.fallback != "" {
		if !d.viaProtojson(m, b, i) {
			return -1
		}
		return len(b)
	}
	d.out = append(d.out, '{')
	if i = d.members(m, b, i, group); i >= 0 {
		d.out = append(d.out, '}')
	}
	return i
}
