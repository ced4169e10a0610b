package protobuf

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// encodeNames are the messages that encoding is tested with.
var encodeNames = []protoreflect.FullName{
	"test.three.All", "test.two.Old", "test.two.Free", "test.edition.New",
	"google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue",
	"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask", "google.protobuf.Empty",
	"google.protobuf.Int32Value", "google.protobuf.UInt64Value", "google.protobuf.FloatValue",
	"google.protobuf.DoubleValue", "google.protobuf.StringValue", "google.protobuf.BytesValue", "google.protobuf.BoolValue",
}

// encodePlan gives the plan of one of encodeNames.
func encodePlan(t testing.TB, name protoreflect.FullName) *Plan {
	t.Helper()
	if p, ok := encodePlans.Load(name); ok {
		return p.(*Plan)
	}
	p, _, _ := testPlan(t, name)
	encodePlans.Store(name, p)
	return p
}

var encodePlans sync.Map

// checkDepth is deeper than what is compared with protojson, which counts depth in
// another way.
const checkDepth = 10_000

// checkEncode compares the verdict and the message with those of protojson.
func checkEncode(t testing.TB, p *Plan, in []byte, discard bool) (wire []byte, ok bool) {
	t.Helper()
	md := p.root.desc
	want := dynamicpb.NewMessage(md)
	fault := protojson.UnmarshalOptions{
		DiscardUnknown: discard, Resolver: p.types, RecursionLimit: checkDepth,
	}.Unmarshal(in, want)
	if fault == nil && !json.Valid(in) { // "1e"
		fault = errors.New("not JSON")
	}
	wire, err := p.AppendWire([]byte("before"), in, Options{DiscardUnknown: discard}, Limits{MaxDepth: checkDepth})
	wire, kept := bytes.CutPrefix(wire, []byte("before"))
	switch {
	case !kept:
		t.Errorf("%s %q: what stood in the output is gone", md.FullName(), in)
	case err == nil && fault != nil:
		t.Errorf("%s %q (discard %v): taken as %x, protojson: %v", md.FullName(), in, discard, wire, fault)
	case err != nil && fault == nil:
		t.Errorf("%s %q (discard %v): %v, protojson takes it", md.FullName(), in, discard, err)
	case err != nil && len(wire) > 0:
		t.Errorf("%s %q: output with an error", md.FullName(), in)
	case err != nil:
		var e *Error
		if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(in) {
			t.Errorf("%s %q: error %#v", md.FullName(), in, err)
		}
	}
	roomy := append(make([]byte, 0, 2*len(in)+100), "before"...)
	if again, err2 := p.AppendWire(roomy, in, Options{DiscardUnknown: discard}, Limits{MaxDepth: checkDepth}); !bytes.Equal(again[len("before"):], wire) || (err2 == nil) != (err == nil) {
		t.Errorf("%s %q: wrote %x, with room in the output %x", md.FullName(), in, wire, again)
	}
	if err != nil || fault != nil {
		return nil, false
	}
	got := dynamicpb.NewMessage(md)
	if err := (proto.UnmarshalOptions{Resolver: p.types}).Unmarshal(wire, got); err != nil {
		t.Errorf("%s %q: wrote %x: %v", md.FullName(), in, wire, err)
		return nil, false
	}
	if !proto.Equal(got, want) {
		t.Errorf("%s %q (discard %v): wrote %x\n got %v\nwant %v", md.FullName(), in, discard, wire, got, want)
	}
	return wire, true
}

// Every line is a message type and a JSON text, which both we and protojson
// see, with and without DiscardUnknown.
func TestEncodeVerdicts(t *testing.T) {
	b, err := os.ReadFile("testdata/encode/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		name, text, ok := strings.Cut(line, " ")
		if !ok || name == "#" {
			continue
		}
		n++
		p := encodePlan(t, protoreflect.FullName(name))
		for _, discard := range []bool{false, true} {
			checkEncode(t, p, []byte(text), discard)
		}
	}
	if n < 300 {
		t.Errorf("only %d cases", n)
	}
}

func TestEncodeMessageSet(t *testing.T) {
	_, md, types := testPlan(t, "test.two.Free")
	p, err := Compile(messageSet{md}, types)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{`{}`, `{"n":1}`} {
		if _, ok := checkEncode(t, p, []byte(in), false); ok {
			t.Errorf("%s was taken", in)
		}
	}
	if want := "test.two.Free (message set): 0 decoded, 4 encoded"; len(p.Fallback()) != 1 || p.Fallback()[0] != want {
		t.Errorf("Fallback() = %q, want %q", p.Fallback(), want)
	}
}

// What a plan learns from Types while it is used is learned by all at once.
func TestEncodeConcurrent(t *testing.T) {
	p, _, _ := testPlan(t, "test.two.Free")
	in := []byte(`{"[test.two.f_text]":"a","[test.two.f_old]":{"id":1,"must":1,"[test.two.x_int]":2}}`)
	a, _, _ := testPlan(t, "google.protobuf.Any")
	wrapped := []byte(`{"@type":"x/test.two.Free","[test.two.f_text]":"a","old":{"[test.two.x_int]":1}}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			checkEncode(t, p, in, false)
			checkEncode(t, a, wrapped, false)
		})
	}
	wg.Wait()
}
