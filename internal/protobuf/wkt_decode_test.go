package protobuf

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice/internal/testkit"
)

// The JSON of each well-known type; "" where it has none.
func TestDecodeWellKnown(t *testing.T) {
	list := func(v ...any) proto.Message {
		l, err := structpb.NewList(v)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	mask := func(paths ...string) proto.Message { return &fieldmaskpb.FieldMask{Paths: paths} }
	for _, c := range []struct {
		m    proto.Message
		want string
	}{
		{&timestamppb.Timestamp{}, `"1970-01-01T00:00:00Z"`},
		{&timestamppb.Timestamp{Seconds: minTimestamp}, `"0001-01-01T00:00:00Z"`},
		{&timestamppb.Timestamp{Seconds: maxTimestamp, Nanos: 999999999}, `"9999-12-31T23:59:59.999999999Z"`},
		{&timestamppb.Timestamp{Seconds: 1e9, Nanos: 120000000}, `"2001-09-09T01:46:40.120Z"`},
		{&timestamppb.Timestamp{Nanos: 1000}, `"1970-01-01T00:00:00.000001Z"`},
		{&timestamppb.Timestamp{Seconds: minTimestamp - 1}, ""},
		{&timestamppb.Timestamp{Seconds: maxTimestamp + 1}, ""},
		{&timestamppb.Timestamp{Nanos: -1}, ""},
		{&timestamppb.Timestamp{Nanos: 1e9}, ""},

		{&durationpb.Duration{}, `"0s"`},
		{&durationpb.Duration{Seconds: maxDuration}, `"315576000000s"`},
		{&durationpb.Duration{Seconds: -1, Nanos: -500000000}, `"-1.500s"`},
		{&durationpb.Duration{Nanos: -1}, `"-0.000000001s"`},
		{&durationpb.Duration{Nanos: 10000}, `"0.000010s"`},
		{&durationpb.Duration{Seconds: maxDuration + 1}, ""},
		{&durationpb.Duration{Nanos: -1e9}, ""},
		{&durationpb.Duration{Seconds: 1, Nanos: -1}, ""},

		{mask(), `""`},
		{mask("a", "foo_bar.baz_qux", "_a1"), `"a,fooBar.bazQux,A1"`},
		{mask("fooBar"), ""}, {mask("foo__bar"), ""}, {mask("foo_1"), ""}, {mask("foo_"), ""}, {mask(""), ""},
		{mask("a..b"), ""}, {mask(".a"), ""}, {mask("a."), ""}, {mask("1a"), ""}, {mask("a,b"), ""}, {mask("é"), ""},

		{&structpb.Struct{}, `{}`},
		{&structpb.Struct{Fields: map[string]*structpb.Value{"a\"b": structpb.NewNumberValue(-1.5)}}, `{"a\"b":-1.5}`},
		{&structpb.Struct{Fields: map[string]*structpb.Value{"a": {}}}, ""},
		{&structpb.Value{}, ""},
		{structpb.NewNullValue(), `null`},
		{&structpb.Value{Kind: &structpb.Value_NullValue{NullValue: 5}}, `null`},
		{structpb.NewNumberValue(1e21), `1e+21`},
		{structpb.NewNumberValue(1e-7), `1e-7`},
		{structpb.NewStringValue(""), `""`},
		{structpb.NewBoolValue(false), `false`},
		{list(), `[]`},
		{list(nil, true, 1, "x", []any{}, map[string]any{}), `[null,true,1,"x",[],{}]`},

		{wrapperspb.Bool(false), `false`},
		{wrapperspb.Int32(-1), `-1`},
		{wrapperspb.Int64(-1), `"-1"`},
		{wrapperspb.UInt32(1<<32 - 1), `4294967295`},
		{wrapperspb.UInt64(1<<64 - 1), `"18446744073709551615"`},
		{wrapperspb.Float(0.1), `0.1`},
		{wrapperspb.Double(0.1), `0.1`},
		{wrapperspb.String("é"), `"é"`},
		{wrapperspb.Bytes([]byte{0xff, 0xfe}), `"//4="`},
	} {
		p, err := Compile(c.m.ProtoReflect().Descriptor(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wire, err := proto.Marshal(c.m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.AppendJSON(nil, wire, Options{}, Limits{})
		if string(got) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%T %v: %s, %v; want %s", c.m, c.m, got, err, c.want)
		}
		if _, err := protojson.Marshal(c.m); (err == nil) != (c.want != "") {
			t.Errorf("%T %v: the test is wrong, protojson says %v", c.m, c.m, err)
		}
	}
}

// An Any holds a message that Types finds: its members beside the type, or its
// own form as the value.
func TestDecodeAny(t *testing.T) {
	p, md, types := testPlan(t, "google.protobuf.Any")
	const prefix = "type.test/"
	for _, c := range []struct{ url, value, want string }{
		{"", "", `{}`},
		{"", "\x08\x01", ""},
		{prefix + "none.Such", "", ""},
		{prefix + "shapes.Flat", "\x10\x05", `{"@type":"type.test/shapes.Flat","count":5}`},
		{prefix + "shapes.Flat", "", `{"@type":"type.test/shapes.Flat"}`},
		{"/shapes.Flat", "\x10\x05", `{"@type":"/shapes.Flat","count":5}`},
		{prefix + "shapes.Flat", "\x10", ""},
		{prefix + "google.protobuf.Empty", "", `{"@type":"type.test/google.protobuf.Empty"}`},
		{prefix + "google.protobuf.Duration", "\x08\x05", `{"@type":"type.test/google.protobuf.Duration","value":"5s"}`},
		{prefix + "google.protobuf.Value", "\x08\x00", `{"@type":"type.test/google.protobuf.Value","value":null}`},
		{prefix + "google.protobuf.Value", "", ""},
		{prefix + "test.two.Old", "", `{"@type":"type.test/test.two.Old"}`}, // required fields are not asked for
		{prefix + "test.two.Old", "\xa0\x06\x07", `{"@type":"type.test/test.two.Old","[test.two.x_int]":7}`},
	} {
		wire := record(record(nil, 1, c.url), 2, c.value)
		got := agree(t, p, md, types, wire, Options{})
		if string(got) != c.want {
			t.Errorf("%s %x: %s, want %s", c.url, c.value, got, c.want)
		}
	}
	// Each inner Any counts for the depth.
	inner := record(nil, 1, prefix+"google.protobuf.Empty")
	for range 60 {
		inner = record(record(nil, 1, prefix+"google.protobuf.Any"), 2, string(inner))
	}
	if _, err := p.AppendJSON(nil, inner, Options{}, Limits{MaxDepth: 50}); err == nil || !strings.Contains(err.Error(), "deeper") {
		t.Errorf("60 levels of Any: %v", err)
	}
	agree(t, p, md, types, inner, Options{})
}

// A plan does not keep every URL that an input makes up.
func TestAnyManyURLs(t *testing.T) {
	p, _, _ := testPlan(t, "google.protobuf.Any")
	for i := range maxURLs + 100 {
		wire := record(nil, 1, strings.Repeat("x", i)+"/shapes.Flat")
		if _, err := p.AppendJSON(nil, wire, Options{}, Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(*p.urls.Load()); n != maxURLs {
		t.Errorf("%d URLs are kept, want %d", n, maxURLs)
	}
}

// Where null is a value, where it is none, and what unset fields look like.
func TestDecodeEmitUnpopulated(t *testing.T) {
	testkit.Simulation(t)
	for _, name := range []protoreflect.FullName{"test.three.All", "test.edition.New", "odd.Grouped", "wide.Wide", "shapes.Chat"} {
		p, md, types := testPlan(t, name)
		w := newWireMaker(t, 1, types)
		for range 20 {
			w.budget = 10
			for n := range uint8(8) {
				agree(t, p, md, types, w.message(nil, md, 4), optionsOf(n|2))
			}
		}
	}
}
