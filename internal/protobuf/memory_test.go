package protobuf

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice/internal/testkit"
)

var errNone = errors.New("no memory")

// stingy is a Memory that refuses from the call on that is given, if that is above 0.
type stingy struct {
	calls, refuse int
	room          int // of the last output
	scratch       int
}

func (c *stingy) asked() error {
	if c.calls++; c.refuse > 0 && c.calls >= c.refuse {
		return errNone
	}
	return nil
}

func (c *stingy) Grow(out []byte, n int) ([]byte, error) {
	if err := c.asked(); err != nil {
		return out, err
	}
	c.room = len(out) + n
	return append(make([]byte, 0, c.room), out...), nil
}

func (c *stingy) Scratch(n int) error {
	if n > 0 {
		if err := c.asked(); err != nil {
			return err
		}
	}
	c.scratch += n
	return nil
}

// With a Memory messages become what they do without, and no large output grows by
// itself. What is refused ends the call at once, and scratch is given back.
func TestMemory(t *testing.T) {
	testkit.Simulation(t)
	for _, name := range []protoreflect.FullName{"test.three.All", "test.two.Old", "test.edition.New", "wide.Wide", "shapes.Chat", "shapes.Tree", "google.protobuf.Struct"} {
		p, md, types := testPlan(t, name)
		var wire []byte
		for n := uint64(0); len(wire) < 200_000 && n < 4000; n++ {
			w := newWireMaker(t, n, types)
			w.tidy, w.budget = true, 20
			one := w.message(nil, md, 2)
			if _, err := p.AppendJSON(nil, append(wire[:len(wire):len(wire)], one...), Options{}, Limits{}); err == nil || len(wire) > 100_000 {
				wire = append(wire, one...)
			}
			if len(wire) > 20_000 { // looking at each one becomes slow
				for len(wire) < 200_000 {
					wire = append(wire, wire...)
				}
			}
		}
		o := Options{EmitUnpopulated: true}
		text, err := p.AppendJSON(nil, wire, o, Limits{})
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		back, err := p.AppendWire(nil, text, Options{}, Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Run(string(name)+"/decode", func(t *testing.T) {
			testMemory(t, text, func(dst []byte, m Memory) ([]byte, error) { return p.AppendJSON(dst, wire, o, Limits{Memory: m}) })
		})
		t.Run(string(name)+"/encode", func(t *testing.T) {
			testMemory(t, back, func(dst []byte, m Memory) ([]byte, error) {
				return p.AppendWire(dst, text, Options{}, Limits{Memory: m})
			})
		})
	}
}

func testMemory(t *testing.T, want []byte, run func(dst []byte, m Memory) ([]byte, error)) {
	t.Helper()
	const before = "before"
	var m stingy
	got, err := run([]byte(before), &m)
	if err != nil || !bytes.Equal(got, append([]byte(before), want...)) || m.scratch != 0 {
		t.Fatalf("%v, %d bytes and not %d; %d bytes of scratch are left", err, len(got), len(want), m.scratch)
	}
	if cap(got) > 2*unasked && cap(got) != m.room {
		t.Errorf("the output has %d bytes, asked for were %d", cap(got), m.room)
	}
	t.Logf("%d bytes after %d questions", len(got), m.calls)
	for n := range m.calls {
		refusing := stingy{refuse: n + 1}
		got, err := run([]byte(before), &refusing)
		if refusing.calls <= n { // scratch is kept from one call to the next
			continue
		}
		if !errors.Is(err, errNone) || string(got) != before || refusing.scratch != 0 {
			t.Fatalf("question %d: %v, %q; %d bytes of scratch are left", n, err, got, refusing.scratch)
		}
	}
}
