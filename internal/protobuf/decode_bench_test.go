package protobuf

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/testkit"
)

// A shape is a message whose speed is measured, in both encodings.
type shape struct {
	name  string
	plan  *Plan
	desc  protoreflect.MessageDescriptor
	types Types
	wire  []byte
	json  []byte
}

// shapes are a flat message of 85 bytes, a chat of 2 kB, a text of 64 kB, a
// tree of 60 kB and a vector of 61 kB.
func shapes(t testing.TB) []shape {
	t.Helper()
	all := []shape{
		{name: "flat", json: flatJSON()},
		{name: "chat", json: chatJSON()},
		{name: "text", json: textJSON()},
		{name: "tree", json: treeJSON(rand.New(rand.NewPCG(1, 2)), 5)},
		{name: "vector", json: vectorJSON(15360)},
	}
	for i := range all {
		s := &all[i]
		s.plan, s.desc, s.types = testPlan(t, protoreflect.FullName("shapes."+strings.ToUpper(s.name[:1])+s.name[1:]))
		m := dynamicpb.NewMessage(s.desc)
		if err := protojson.Unmarshal(s.json, m); err != nil {
			t.Fatal(err)
		}
		var err error
		if s.wire, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func toJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

type object = map[string]any

func flatJSON() []byte {
	return toJSON(object{"id": "req-7f3a9c-0001-eu", "count": 42, "createdAt": "1764083063123", "score": 0.8725, "done": true,
		"kind": "KIND_SECOND", "owner": "team-search-1@example.org", "token": "c2x1aWNlLXRva2Vu"})
}

func chatJSON() []byte {
	text := "The quick brown fox jumps over the lazy dog, and says \"hello\".\nThen it goes home. "
	var messages []any
	for i := range 11 {
		role := [...]string{"ROLE_USER", "ROLE_ASSISTANT"}[i%2]
		messages = append(messages, object{"role": role, "content": []any{object{"text": strings.Repeat(text, 1+i%3)}}})
	}
	return toJSON(object{"model": "some-model-v3", "messages": messages, "temperature": 0.7, "maxTokens": 512,
		"tools":    []any{object{"name": "search", "description": "Searches the web.", "parameters": `{"type":"object","properties":{"q":{"type":"string"}}}`, "strict": true}},
		"metadata": object{"user": "u-1", "session": "s-2"},
		"usage":    object{"promptTokens": "321", "completionTokens": "123"}})
}

func textJSON() []byte {
	line := "Models answer in plain text, line by line, with some \"quotes\" here and there, as this one does.\n"
	return toJSON(object{"id": "t-1", "text": strings.Repeat(line, 64<<10/len(line)+1)[:64<<10]})
}

// treeJSON has five children at each of depth levels.
func treeJSON(r *rand.Rand, depth int) []byte {
	var node func(depth int) object
	node = func(depth int) object {
		n := object{"label": "node " + string(rune('a'+depth)), "id": strconv.FormatInt(r.Int64N(1<<40), 10), "weight": r.NormFloat64(), "kind": "KIND_FIRST"}
		if depth%2 == 0 {
			n["tags"] = []any{"a first tag of a node", "a second tag of a node", "a third tag of a node"}
		}
		var children []any
		for range 5 * min(depth, 1) {
			children = append(children, node(depth-1))
		}
		n["children"] = children
		return n
	}
	return toJSON(node(depth - 1))
}

func vectorJSON(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(r.NormFloat64() * 0.05)
	}
	return toJSON(object{"model": "some-embedding", "values": values})
}

func TestShapesDecode(t *testing.T) {
	testkit.Simulation(t)
	for _, s := range shapes(t) {
		out := agree(t, s.plan, s.desc, s.types, s.wire, Options{})
		t.Logf("%s: %d bytes of wire, %d of JSON", s.name, len(s.wire), len(out))
		if testkit.Race {
			continue
		}
		dst := make([]byte, 0, 2*len(out))
		n := testing.AllocsPerRun(20, func() {
			if _, err := s.plan.AppendJSON(dst, s.wire, Options{}, Limits{}); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: AppendJSON allocates %v times", s.name, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, s := range shapes(b) {
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(s.wire)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _ = s.plan.AppendJSON(dst[:0], s.wire, Options{}, Limits{})
			}
		})
	}
}

// BenchmarkDecodeProtojson is what BenchmarkDecode is held against.
func BenchmarkDecodeProtojson(b *testing.B) {
	for _, s := range shapes(b) {
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(s.wire)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := oracle(s.desc, s.types, s.wire, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
