package protobuf

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"sluice/internal/testkit"
)

// jsonMaker writes JSON for a message type that is mostly right, with what
// readers disagree on sprinkled in.
type jsonMaker struct {
	*rand.Rand
	files *protoregistry.Files
	left  int // how many values may still come
	bad   int // one value in so many is of the wrong type
}

func (w *jsonMaker) one(of ...string) string { return of[w.IntN(len(of))] }

func (w *jsonMaker) message(md protoreflect.MessageDescriptor, depth int) string {
	if w.left--; w.IntN(w.bad) == 0 {
		return w.anything(2)
	}
	switch md.FullName() {
	case "google.protobuf.Any":
		return w.anyValue(depth)
	case "google.protobuf.Timestamp":
		return w.one(`"2024-02-29T23:59:59.25Z"`, `"1970-01-01T00:00:00Z"`, `"2020-01-01T00:00:00.123456789+01:30"`, `"1969-12-31T23:59:59.9Z"`)
	case "google.protobuf.Duration":
		return w.one(`"1s"`, `"-1.5s"`, `".5s"`, `"0s"`, `"-0.000000001s"`)
	case "google.protobuf.FieldMask":
		return w.one(`""`, `"a,b.cD"`, `"fooBar"`)
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue":
		return w.anything(depth)
	}
	if fds := md.Fields(); md.ParentFile().Path() == "google/protobuf/wrappers.proto" {
		return w.value(fds.Get(0), depth)
	}
	return "{" + w.members(md, depth) + "}"
}

func (w *jsonMaker) members(md protoreflect.MessageDescriptor, depth int) string {
	var list []string
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		switch {
		case fd.Cardinality() == protoreflect.Required && w.IntN(20) > 0:
		case depth <= 0 && fd.Message() != nil, w.left <= 0, w.IntN(md.Fields().Len()) > 4:
			continue
		}
		list = append(list, w.name(fd)+":"+w.field(fd, depth-1))
	}
	for w.IntN(w.bad) < 10 {
		list = append(list, w.one(`"unknown"`, `"[test.two.x_int]"`, `"[test.two.x_packed]"`, `"[no.such]"`, `"@type"`, `"value"`)+":"+w.anything(2))
	}
	if len(list) > 0 && w.IntN(w.bad) < 5 {
		list = append(list, list[w.IntN(len(list))])
	}
	w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return strings.Join(list, w.one(",", ",", ",", " , ", "\n,"))
}

func (w *jsonMaker) name(fd protoreflect.FieldDescriptor) string {
	if w.IntN(4) == 0 {
		return strconv.Quote(fd.TextName())
	}
	return strconv.Quote(fd.JSONName())
}

func (w *jsonMaker) field(fd protoreflect.FieldDescriptor, depth int) string {
	if w.IntN(20) == 0 {
		return "null"
	}
	var list []string
	switch {
	case fd.IsMap():
		for range w.size() {
			list = append(list, `"`+w.key(fd.MapKey())+`":`+w.value(fd.MapValue(), depth))
		}
		return "{" + strings.Join(list, ",") + "}"
	case fd.IsList():
		for range w.size() {
			list = append(list, w.value(fd, depth))
		}
		return "[" + strings.Join(list, ",") + "]"
	default:
		return w.value(fd, depth)
	}
}

func (w *jsonMaker) size() int {
	if w.IntN(15) == 0 {
		return min(w.IntN(60), max(w.left, 0))
	}
	return w.IntN(4)
}

func (w *jsonMaker) key(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return w.one("", "a", `\u0061`, "é", "k") + strconv.Itoa(w.IntN(10*w.bad))
	case protoreflect.BoolKind:
		return w.one("true", "false")
	default:
		return w.one("", "", "", "", "+") + strconv.Itoa(w.IntN(10*w.bad))
	}
}

func (w *jsonMaker) value(fd protoreflect.FieldDescriptor, depth int) string {
	if fd.Message() != nil {
		return w.message(fd.Message(), depth)
	}
	if w.left--; w.IntN(w.bad) == 0 {
		return w.anything(1)
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return w.one("true", "false")
	case protoreflect.StringKind:
		return w.text()
	case protoreflect.BytesKind:
		return `"` + strings.Repeat(w.one("YQ==", "YWJj", "-_-_", "+/+/", ""), w.IntN(80)/40+1) + `"`
	case protoreflect.EnumKind:
		if w.IntN(w.bad) < 10 {
			return w.one(`"NO_SUCH"`, "null")
		}
		values := fd.Enum().Values()
		v := values.Get(w.IntN(values.Len()))
		return w.one(strconv.Quote(string(v.Name())), strconv.Itoa(int(v.Number())), "77")
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return w.one(`"NaN"`, `"-Infinity"`, "0", "-0", "1e30", strconv.FormatFloat(w.NormFloat64(), 'g', -1, 64), strconv.FormatFloat(w.ExpFloat64()*1e-20, 'e', w.IntN(20), 64))
	default:
		n := strconv.Itoa(w.IntN(1 << w.IntN(31)))
		if w.IntN(w.bad) < 10 {
			n = strconv.FormatInt(int64(w.Uint64())>>w.IntN(64), 10)
		}
		return w.one(n, n, `"`+n+`"`, n+"0e-1", n+".0", "0", "1e1")
	}
}

func (w *jsonMaker) text() string {
	var b strings.Builder
	b.WriteByte('"')
	for range w.IntN(4) * w.IntN(4) * w.IntN(8) {
		b.WriteString(w.one("a", "bcdefghij", " ", "é", "€", "😀", `\n`, `\"`, `\\`, `\/`, `\u20ac`, `\ud83d\ude00`, "\x7f", "\ufffd"))
	}
	if w.IntN(w.bad) == 0 {
		b.WriteString(w.one(`\ud800`, "\xff", "\n", `\x`, "\xed\xa0\x80"))
	}
	return b.String() + `"`
}

func (w *jsonMaker) anything(depth int) string {
	w.left--
	kinds := 6
	if depth > 0 && w.left > 0 {
		kinds = 8
	}
	switch w.IntN(kinds) {
	case 0:
		return "null"
	case 1:
		return w.one("true", "false")
	case 2, 3:
		return w.text()
	case 4, 5:
		if w.IntN(w.bad) == 0 {
			return w.one("1e", "01", "-", "1e999")
		}
		return w.one("0", "-1", "1.5", "1e3", "123456789012")
	}
	var list []string
	object := w.IntN(2) == 0
	for range w.size() {
		v := w.anything(depth - 1)
		if object {
			v = `"` + w.one("a", "b", "@type", "value") + strconv.Itoa(w.IntN(10*w.bad)) + `":` + v
		}
		list = append(list, v)
	}
	if object {
		return "{" + strings.Join(list, ",") + "}"
	}
	return "[" + strings.Join(list, ",") + "]"
}

func (w *jsonMaker) anyValue(depth int) string {
	name := w.one("test.three.All", "test.two.Old", "google.protobuf.Value", "google.protobuf.Struct", "google.protobuf.Any", "google.protobuf.Timestamp", "google.protobuf.Int64Value", "google.protobuf.Empty", "no.Such")
	list := []string{`"@type":"type.googleapis.com/` + name + `"`}
	if d, err := w.files.FindDescriptorByName(protoreflect.FullName(name)); err == nil {
		if md := d.(protoreflect.MessageDescriptor); strings.HasPrefix(name, "test.") {
			if m := w.members(md, depth-1); m != "" {
				list = append(list, m)
			}
		} else if w.IntN(10) > 0 {
			list = append(list, `"value":`+w.message(md, depth-1))
		}
	}
	if w.IntN(10) == 0 {
		list = append(list, `"other":`+w.anything(1))
	}
	if w.IntN(3) == 0 {
		w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return "{" + strings.Join(list, ",") + "}"
}

// makeJSON gives the same JSON for the same seed. Some of it is broken.
func makeJSON(t testing.TB, seed uint64, md protoreflect.MessageDescriptor) []byte {
	files, err := testFiles()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 2))
	w := jsonMaker{Rand: r, files: files, left: 4 + r.IntN(60), bad: []int{1000, 200, 50}[r.IntN(3)]}
	text := []byte(w.message(md, 5))
	for r.IntN(4) == 0 && len(text) > 0 {
		i := r.IntN(len(text))
		switch r.IntN(3) {
		case 0:
			text = slices.Delete(text, i, i+1)
		case 1:
			j := i + r.IntN(min(len(text)-i, 20))
			text = slices.Insert(text, r.IntN(len(text)), text[i:j]...)
		default:
			text = slices.Insert(text, i, []byte(w.one(",", ":", "{", "}", "[", "]", `"`, `\`, "0", "-", ".", "e", " ", "null", `\u00`, "\xff", "\x00", `"@type":"",`))...)
		}
	}
	return text
}

func TestEncodeRandom(t *testing.T) {
	testkit.Simulation(t)
	taken, n := 0, 3000
	for seed := range uint64(n) {
		for _, name := range encodeNames[:6] {
			p := encodePlan(t, name)
			if _, ok := checkEncode(t, p, makeJSON(t, seed, p.root.desc), seed%4 == 0); ok {
				taken++
			}
		}
		if t.Failed() {
			return
		}
	}
	if taken < n {
		t.Errorf("only %d of the messages were right", taken)
	}
}
