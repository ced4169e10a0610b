package protobuf

import (
	"math"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/testkit"
)

// wireMaker makes random encodings that are mostly sound, and not in the form
// that an encoder would choose: fields in any order, twice, in parts, unknown,
// of a wrong wire type, packed or not.
type wireMaker struct {
	*rand.Rand
	types  Types
	names  []protoreflect.FullName
	exts   []protowire.Number
	tidy   bool // as an encoder would write it
	budget int
}

func (w *wireMaker) message(b []byte, md protoreflect.MessageDescriptor, depth int) []byte {
	fds := md.Fields()
	if w.tidy {
		oneofs := map[int]bool{}
		for i := range fds.Len() {
			fd := fds.Get(i)
			od := fd.ContainingOneof()
			if fd.Cardinality() != protoreflect.Required && w.IntN(3) > 0 || od != nil && oneofs[od.Index()] {
				continue
			}
			if od != nil {
				oneofs[od.Index()] = true
			}
			for range 1 + w.IntN(3) {
				b = w.field(b, fd, depth)
				if !fd.IsList() {
					break
				}
			}
		}
		return b
	}
	for range w.IntN(7) {
		switch k := w.IntN(20); {
		case k == 0:
			b = w.unknown(b, 0)
		case k == 1 && md.ExtensionRanges().Len() > 0:
			if xt, err := w.types.FindExtensionByNumber(md.FullName(), w.exts[w.IntN(len(w.exts))]); err == nil {
				b = w.field(b, xt.TypeDescriptor(), depth)
			}
		case fds.Len() > 0:
			fd := fds.Get(w.IntN(fds.Len()))
			for range 1 + w.IntN(3) {
				b = w.field(b, fd, depth)
			}
		}
	}
	for i := range fds.Len() {
		if fds.Get(i).Cardinality() == protoreflect.Required && w.IntN(9) > 0 {
			b = w.field(b, fds.Get(i), depth)
		}
	}
	return b
}

func (w *wireMaker) unknown(b []byte, depth int) []byte {
	num := protowire.Number(1 + w.IntN(3000))
	switch w.IntN(5) {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), w.Uint64())
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), w.Uint32())
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), w.Uint64())
	case 3:
		return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), "unknown")
	default:
		b = protowire.AppendTag(b, num, protowire.StartGroupType)
		if depth < 3 {
			b = w.unknown(b, depth+1)
		}
		return protowire.AppendTag(b, num, protowire.EndGroupType)
	}
}

// field appends one record of a field.
func (w *wireMaker) field(b []byte, fd protoreflect.FieldDescriptor, depth int) []byte {
	num := fd.Number()
	if !w.tidy && w.IntN(40) == 0 {
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), 1)
	}
	if fd.IsMap() {
		var e []byte
		if w.tidy || w.IntN(8) > 0 {
			e = w.field(e, fd.MapKey(), depth)
		}
		for n := w.IntN(8); ; n += 3 {
			if w.tidy || n < 7 {
				e = w.field(e, fd.MapValue(), depth+1)
			}
			if w.tidy || n > 1 {
				break
			}
		}
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), e)
	}
	wt := wireType(fd.Kind())
	if fd.IsList() && wt != protowire.BytesType && wt != protowire.StartGroupType && w.IntN(2) == 0 {
		var e []byte
		for range w.IntN(4) {
			e = w.value(e, fd, depth)
		}
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), e)
	}
	if fd.Kind() == protoreflect.MessageKind && !w.tidy && w.IntN(12) == 0 { // in parts, cut anywhere
		whole, _ := protowire.ConsumeBytes(w.value(nil, fd, depth))
		cut := w.IntN(len(whole) + 1)
		b = protowire.AppendBytes(protowire.AppendTag(b, num, wt), whole[:cut])
		return protowire.AppendBytes(protowire.AppendTag(b, num, wt), whole[cut:])
	}
	b = w.value(protowire.AppendTag(b, num, wt), fd, depth)
	if wt == protowire.StartGroupType {
		b = protowire.AppendTag(b, num, protowire.EndGroupType)
	}
	return b
}

func (w *wireMaker) value(b []byte, fd protoreflect.FieldDescriptor, depth int) []byte {
	switch k := fd.Kind(); k {
	case protoreflect.StringKind:
		return protowire.AppendString(b, w.text(fd))
	case protoreflect.BytesKind:
		if fd.FullName() == "google.protobuf.Any.value" {
			return protowire.AppendBytes(b, w.anyValue())
		}
		return protowire.AppendString(b, w.text(fd))
	case protoreflect.MessageKind, protoreflect.GroupKind:
		var m []byte
		if w.budget--; depth < 5 && w.budget > 0 {
			m = w.message(nil, fd.Message(), depth+1)
		}
		if k == protoreflect.GroupKind {
			return append(b, m...)
		}
		return protowire.AppendBytes(b, m)
	case protoreflect.EnumKind:
		n := fd.Enum().Values().Get(w.IntN(fd.Enum().Values().Len())).Number()
		if w.IntN(10) == 0 {
			n = protoreflect.EnumNumber(w.Uint32())
		}
		return protowire.AppendVarint(b, uint64(int64(n)))
	default:
		v := w.number(k)
		switch wireType(k) {
		case protowire.Fixed32Type:
			return protowire.AppendFixed32(b, uint32(v))
		case protowire.Fixed64Type:
			return protowire.AppendFixed64(b, v)
		}
		return protowire.AppendVarint(b, v)
	}
}

// number favours small numbers and those near bounds.
func (w *wireMaker) number(k protoreflect.Kind) uint64 {
	switch w.IntN(4) {
	case 0:
		return uint64(w.IntN(3))
	case 1:
		return w.Uint64()
	case 2:
		edges := [...]uint64{math.MaxUint64, math.MaxInt64, math.MaxUint32, math.MaxInt32, 1 << 31, 1 << 63, 1 << 32,
			math.Float64bits(1e21), math.Float64bits(1e-7), math.Float64bits(math.Inf(-1)), math.Float64bits(math.NaN())}
		return edges[w.IntN(len(edges))]
	}
	if k == protoreflect.FloatKind {
		return uint64(math.Float32bits(float32(w.NormFloat64() * math.Pow10(w.IntN(60)-30))))
	}
	return math.Float64bits(w.NormFloat64() * math.Pow10(w.IntN(60)-30))
}

func (w *wireMaker) text(fd protoreflect.FieldDescriptor) string {
	texts := [...]string{"", "a", "b", "plain text that is a little longer", "quote \" and \\ and \x01\n", "ünïcödé €, 😀", "foo_bar.baz", "\u2028\x7f"}
	if fd.FullName() == "google.protobuf.Any.type_url" {
		return "type.test/" + string(w.names[w.IntN(len(w.names))])
	}
	if !w.tidy && w.IntN(60) == 0 {
		return "broken \xff"
	}
	return texts[w.IntN(len(texts))]
}

// anyValue suits some type; whether it suits the URL beside it is chance, and
// mostly it does not matter.
func (w *wireMaker) anyValue() []byte {
	mt, err := w.types.FindMessageByName(w.names[w.IntN(len(w.names))])
	if err != nil {
		return nil
	}
	w.budget -= 5
	if w.budget < 0 {
		return nil
	}
	return w.message(nil, mt.Descriptor(), 3)
}

func newWireMaker(t testing.TB, seed uint64, types Types) *wireMaker {
	return &wireMaker{Rand: rand.New(rand.NewPCG(seed, 1)), types: types, names: allTypes(t),
		exts: []protowire.Number{100, 101, 102, 103, 104, 105, 1000, 1001, 1002}}
}

func optionsOf(n uint8) Options {
	return Options{UseProtoNames: n&1 != 0, EmitUnpopulated: n&2 != 0, UseEnumNumbers: n&4 != 0}
}

// TestRoundTrip encodes what was decoded and decodes it again: what it means
// stays, wherever it does so for protojson.
func TestRoundTrip(t *testing.T) {
	rounds, same := 40, 0
	if testkit.Race || testing.Short() {
		rounds = 4
	}
	for _, name := range allTypes(t) {
		p, md, types := testPlan(t, name)
		for n := range rounds {
			w := newWireMaker(t, uint64(n), types)
			w.tidy, w.budget = true, 40
			first, err := p.AppendJSON(nil, w.message(nil, md, 0), Options{}, Limits{})
			if err != nil {
				continue
			}
			m := dynamicpb.NewMessage(md)
			if (protojson.UnmarshalOptions{Resolver: types}).Unmarshal(first, m) != nil {
				continue
			}
			wire, err := p.AppendWire(nil, first, Options{}, Limits{})
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, first)
			}
			second, err := p.AppendJSON(nil, wire, Options{}, Limits{})
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, first)
			}
			if sameJSON(first, second) {
				same++
			} else if want, err := (protojson.MarshalOptions{Resolver: types}).Marshal(m); err != nil || sameJSON(first, want) {
				t.Fatalf("%s:\n%s\ncomes back as\n%s", name, first, second)
			}
		}
	}
	if same < 10*rounds {
		t.Errorf("only %d messages came back the same", same)
	}
}

// TestDecodeRandom holds the decoder against protojson on many encodings of
// every message in testdata, sound ones, disordered ones and cut ones.
func TestDecodeRandom(t *testing.T) {
	rounds := 60
	if testkit.Race || testing.Short() {
		rounds = 6
	}
	for _, name := range allTypes(t) {
		p, md, types := testPlan(t, name)
		for n := range rounds {
			w := newWireMaker(t, uint64(n), types)
			w.tidy, w.budget = n%4 == 0, 60
			wire := w.message(nil, md, 0)
			agree(t, p, md, types, wire, optionsOf(uint8(n)))
			if len(wire) > 0 && n%6 == 1 {
				agree(t, p, md, types, wire[:w.IntN(len(wire))], optionsOf(uint8(n)))
			}
		}
	}
}
