package protobuf

import (
	"encoding/hex"
	"path"
	"regexp"
	"sluice/internal/testkit"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// vectors are the files of hyperpb's own tests: schemas and messages. A test
// does without on a machine that has none.
func vectors(t *testing.T) (schemas fstest.MapFS, messages map[string][]byte) {
	t.Helper()
	schemas, messages = fstest.MapFS{}, map[string][]byte{}
	testkit.Untar(t, "conformance/hyperpb-vectors.tar.xz", func(file string, body []byte) {
		_, name, _ := strings.Cut(file, "/internal/")
		if rest, ok := strings.CutPrefix(name, "proto/"); ok && path.Ext(name) == ".proto" {
			_, rest, _ = strings.Cut(rest, "/") // each folder is a root
			schemas[rest] = &fstest.MapFile{Data: body}
		} else if path.Ext(name) == ".yaml" {
			messages[name] = body
		}
	})
	return schemas, messages
}

// What hyperpb tests itself with: sound and broken wire of many forms.
func TestDecodeVectors(t *testing.T) {
	testkit.Simulation(t)
	schemas, messages := vectors(t)
	files, err := buildFiles(schemas, "test/test.proto", "test/proto2.proto", "test/editions.proto", "test/descriptor.proto",
		"rsb/log/log.proto", "rsb/minecraft/minecraft.proto")
	if err != nil {
		t.Fatal(err)
	}
	count, accepted := 0, 0
	for name, body := range messages {
		var v struct {
			Type       protoreflect.FullName
			Protoscope []string
			Textproto  []string
			Hex        []string
		}
		if err := yaml.Unmarshal(body, &v); err != nil {
			t.Fatal(name, err)
		}
		p, md, types := planOf(t, files, v.Type)
		var wires [][]byte
		for _, source := range v.Protoscope {
			wire, err := assemble(source)
			if err != nil {
				t.Fatalf("%s: %v in %.200s", name, err, source)
			}
			wires = append(wires, wire)
		}
		for _, text := range v.Textproto {
			m := dynamicpb.NewMessage(md)
			if err := (prototext.UnmarshalOptions{Resolver: types}).Unmarshal([]byte(text), m); err != nil {
				t.Fatal(name, err)
			}
			wire, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(name, err)
			}
			wires = append(wires, wire)
		}
		for _, digits := range v.Hex {
			wire, err := hex.DecodeString(notHex.ReplaceAllString(digits, ""))
			if err != nil {
				t.Fatal(name, err)
			}
			wires = append(wires, wire)
		}
		for n, wire := range wires {
			if testkit.Race && len(wire) > 1<<16 {
				continue // takes minutes
			}
			if agree(t, p, md, types, wire, optionsOf(uint8(n))) != nil {
				accepted++
			}
		}
		count += len(wires)
	}
	t.Logf("%d messages of %d files, %d of them accepted", count, len(messages), accepted)
	if count < 490 || accepted < 300 {
		t.Errorf("%d messages, %d of them accepted", count, accepted)
	}
}

var notHex = regexp.MustCompile(`#[^\n]*|\s+`)

// TestDecodeOwnVectors is the same with wire of our own.
func TestDecodeOwnVectors(t *testing.T) {
	p := encodePlan(t, "test.three.All")
	accepted := 0
	list := []string{
		"",               // nothing
		"00", "07", "0f", // field 0, unknown wire types
		"08", "0880", "08ffffffffffffffffff7f", "08ffffffffffffffffff01", // varints: none, cut, too large, the largest
		"0801", "0801 0802", "08 80808080808080808000", // once, twice, long-winded
		"0d", "0d010203", "0d01020304", "09 0102030405060708", // fixed, cut and whole
		"0a", "0a05 6162", "0a00", "0a ff ff ff ff 0f", // lengths: none, beyond the end, zero, 4 GiB
		"0b", "0b 0c", "0b 0801 0c", "0b 14", "0c", // groups: open, empty, filled, closed by another, closed only
		"0b 0b 0b 0c 0c 0c", "c23e 03 616263", "f8ffffff0f 01", "8080808010 01", // nested, unknown, the last field, past it
	}
	for field := range 40 { // each field in each wire type, sound and cut
		for wireType := range 6 {
			tag := hex.EncodeToString(protowire.AppendVarint(nil, uint64(field<<3|wireType)))
			list = append(list, tag+"01", tag+"0161", tag+"02c328", tag+"0102030405060708", tag+"080102030405060708")
		}
	}
	for n, digits := range list {
		wire, err := hex.DecodeString(notHex.ReplaceAllString(digits, ""))
		if err != nil {
			t.Fatal(digits, err)
		}
		if agree(t, p, p.root.desc, p.types, wire, optionsOf(uint8(n))) != nil {
			accepted++
		}
	}
	if t.Logf("%d of %d messages accepted", accepted, len(list)); accepted < 100 || accepted == len(list) {
		t.Errorf("%d of %d messages accepted", accepted, len(list))
	}
}
