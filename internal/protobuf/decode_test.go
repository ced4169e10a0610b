package protobuf

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// record appends a field that is a text, bytes or a message.
func record(b []byte, num protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), value)
}

// Faults name the byte where they are, in the input even where parts of it were
// merged.
func TestDecodeFaults(t *testing.T) {
	deep := ""
	for range 200 {
		deep = string(record(nil, 6, deep))
	}
	parts := string(record(record(nil, 17, "\x08\x01"), 17, "\x72\x01\xff"))
	for _, c := range []struct {
		name   protoreflect.FullName
		wire   string
		limits Limits
		offset int // -1: any
		msg    string
	}{
		{"shapes.Flat", "\x0a\x05ab", Limits{}, 1, "a length that reaches beyond the end"},
		{"shapes.Flat", "\x0a\x01a\x10\xff", Limits{}, 4, "unexpected end inside a varint"},
		{"shapes.Flat", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Limits{}, 1, "a varint of more than 64 bits"},
		{"shapes.Flat", "\x21\x00", Limits{}, 1, "unexpected end inside a number"},
		{"shapes.Flat", "\x00", Limits{}, 0, "a field number out of range"},
		{"shapes.Flat", "\x0f", Limits{}, 1, "a reserved wire type"},
		{"shapes.Flat", "\x0c", Limits{}, 0, "end of another group"},
		{"shapes.Flat", "\x0a\x02a\xff", Limits{}, 2, "invalid UTF-8 in a string"},
		{"shapes.Chat", "\x12\x06\x12\x04\x0a\x02a\xff", Limits{}, 6, "invalid UTF-8 in a string"},
		{"shapes.Flat", "\x10\x01\x18\x01\x28\x01", Limits{MaxFields: 2}, 4, "more fields than the limit allows"},
		{"shapes.Flat", string(record(nil, 1, strings.Repeat("x", 100))), Limits{MaxOutput: 100}, 102, "more output than the limit allows"},
		{"shapes.Vector", string(record(nil, 2, strings.Repeat("\x00", 400))), Limits{MaxOutput: 100}, -1, "more output than the limit allows"},
		{"shapes.Tree", deep, Limits{}, 300, "messages nest deeper than the limit allows"},
		{"shapes.Tree", "\x32\x02\x32\x00", Limits{MaxDepth: 2}, 4, "messages nest deeper than the limit allows"},
		{"shapes.Tree", "\x9b\x01\x9b\x01\x9c\x01\x9c\x01", Limits{MaxDepth: 2}, 4, "groups nest deeper than the limit allows"},
		{"test.two.Old", "\x58\x01", Limits{}, 2, "required field test.two.Old.id is not set"},
		{"test.three.All", parts, Limits{}, 2, "invalid UTF-8 in a string"},
	} {
		p, _, _ := testPlan(t, c.name)
		out, err := p.AppendJSON([]byte("kept"), []byte(c.wire), Options{}, c.limits)
		var e *Error
		if !errors.As(err, &e) || e.Msg != c.msg || (c.offset >= 0 && e.Offset != c.offset) || string(out) != "kept" {
			t.Errorf("%s %x: error %v, output %q; want %q at byte %d", c.name, c.wire[:min(len(c.wire), 20)], err, out, c.msg, c.offset)
		}
		if e != nil && e.Limit != strings.HasSuffix(c.msg, "the limit allows") {
			t.Errorf("%s: a limit's fault: %v", c.msg, e.Limit)
		}
	}
}

// Limits hold for what they name and no less.
func TestDecodeLimitsReached(t *testing.T) {
	p, _, _ := testPlan(t, "shapes.Tree")
	wire := []byte("\x0a\x01a\x32\x05\x32\x03\x0a\x01b")
	want := `{"label":"a","children":[{"children":[{"label":"b"}]}]}`
	out, err := p.AppendJSON(nil, wire, Options{}, Limits{MaxOutput: len(want), MaxDepth: 3, MaxFields: 4})
	if err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
}

// Keys are compared one by one at first and through a table later; either way
// the last entry of a key counts.
func TestDecodeManyKeys(t *testing.T) {
	p, md, types := testPlan(t, "test.three.All")
	for _, n := range []int{2, fewKeys, fewKeys + 1, 100, 3000} {
		for _, again := range []int{-1, 0, n / 2, n - 1} {
			var wire []byte
			for i := range n + 1 {
				if i == n && again < 0 {
					break
				} else if i == n {
					i = again
				}
				key := protowire.AppendVarint([]byte{0x08}, uint64(i))
				wire = record(wire, 51, string(append(key, 0x10, byte(len(wire)%100))))
				text := record(nil, 1, strings.Repeat("k", i%7)+string(rune('a'+i)))
				wire = record(wire, 50, string(record(text, 2, string(key))))
			}
			agree(t, p, md, types, wire, Options{})
		}
	}
}

// Every byte below 256 in every place of a word, alone and after another.
func TestAppendText(t *testing.T) {
	p, md, types := testPlan(t, "shapes.Text")
	for c := range 256 {
		for at := range 20 {
			text := bytes.Repeat([]byte("x"), 20)
			text[at] = byte(c)
			agree(t, p, md, types, record(nil, 2, string(text)), Options{})
			text[(at+3)%20] = '"'
			agree(t, p, md, types, record(nil, 2, string(text)), Options{})
		}
	}
	agree(t, p, md, types, record(nil, 2, strings.Repeat("\x01\"\\é", 1000)), Options{})
}

// A value that another one replaced is read for its encoding only.
func TestDecodeReplaced(t *testing.T) {
	p, md, types := testPlan(t, "test.three.All")
	value := func(num protowire.Number, v string) string { return string(record(nil, num, v)) }
	for _, wire := range []string{
		"\xf2\x03\x00" + "\xea\x03\x01",                     // c_child, then c_int
		value(60, "a") + "\xe8\x03\x05" + value(60, "\xff"), // text that is replaced by itself
		value(62, "\x08\x01") + value(60, "a") + value(62, "\x10\x02"),
		value(62, "\x08\x01") + value(62, "\x10\x02"),
		value(64, "") + value(60, "a"),                                          // a Value without a value
		value(58, "\x0a\x01k\x12\x00") + value(58, "\x0a\x01k\x12\x02\x08\x00"), // the same in a map
		value(62, "\x72\x01\xff") + value(60, "a"),
		value(71, "\x10\xff\xff\xff\xff\x07") + value(71, "\x10\x01"), // nanos
		value(17, "\x08") + value(17, "\x01"),                         // sound only together
		value(57, "\x12\x01\x08\x12\x01\x01"),
		value(17, value(17, "\x08\x01")) + value(17, value(17, "\x10\x01")),
		"\x08\x01\x10\x05\x08\x00",
		"\xf8\x01\x01\xf8\x01\x02\x08\x01\xf8\x01\x03" + value(31, "\x04\x05"),
	} {
		for n := range uint8(8) {
			agree(t, p, md, types, []byte(wire), optionsOf(n))
		}
	}
}

func TestPlanIsRefused(t *testing.T) {
	files, err := testFiles()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := files.FindDescriptorByName("google.protobuf.Timestamp")
	fake := renamed{d.(protoreflect.MessageDescriptor), "google.protobuf.Struct"}
	if _, err := Compile(fake, nil); !errors.Is(err, errShape) {
		t.Errorf("a Struct with other fields: %v", err)
	}
}

type renamed struct {
	protoreflect.MessageDescriptor
	name protoreflect.FullName
}

func (r renamed) FullName() protoreflect.FullName { return r.name }
func (r renamed) Name() protoreflect.Name         { return r.name.Name() }
