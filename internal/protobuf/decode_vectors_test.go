package protobuf

import (
	"archive/tar"
	"bufio"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goccy/go-yaml"
	"github.com/ulikunitz/xz"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// vectors are the files of hyperpb's own tests: schemas and messages. A test
// does without on a machine that has none.
func vectors(t *testing.T) (schemas fstest.MapFS, messages map[string][]byte) {
	t.Helper()
	f, err := os.Open("../../../shared/data/conformance/hyperpb-vectors.tar.xz")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	defer f.Close()
	plain, err := xz.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	schemas, messages = fstest.MapFS{}, map[string][]byte{}
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return schemas, messages
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/internal/")
		if rest, ok := strings.CutPrefix(name, "proto/"); ok && path.Ext(name) == ".proto" {
			_, rest, _ = strings.Cut(rest, "/") // each folder is a root
			schemas[rest] = &fstest.MapFile{Data: body}
		} else if path.Ext(name) == ".yaml" {
			messages[name] = body
		}
	}
}

// What hyperpb tests itself with: sound and broken wire of many forms.
func TestDecodeVectors(t *testing.T) {
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
			if raceEnabled && len(wire) > 1<<16 {
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
