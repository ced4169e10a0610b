package protobuf

import (
	"encoding/json"
	"sluice/internal/testkit"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// wrapped puts a JSON text into fields of test.three.All.
func wrapped(text string) []string {
	return []string{
		`{"value":` + text + `}`, `{"struct":{"a":` + text + `}}`, `{"list":[` + text + `]}`, `{"unknown":` + text + `}`,
		`{"st":` + text + `,"i32":1}`, `{"rI32":` + text + `}`, `{"db":` + text + `}`, `{"mSt":{"k":` + text + `}}`,
	}
}

func TestEncodeTexts(t *testing.T) {
	testkit.Simulation(t)
	testkit.Each(t, testEncodeTexts)
}

func testEncodeTexts(t *testing.T, inputs testkit.Inputs) {
	p := encodePlan(t, "test.three.All")
	for _, text := range inputs.Texts(t) {
		for _, in := range wrapped(string(text.Body)) {
			for _, discard := range []bool{false, true} {
				if _, ok := checkEncode(t, p, []byte(in), discard); ok && strings.HasPrefix(text.Name, "n_") && !json.Valid([]byte(in)) {
					t.Errorf("%s was taken", text.Name)
				}
			}
		}
	}
}

func TestEncodeNaughtyStrings(t *testing.T) { testkit.Each(t, testEncodeStrings) }

func testEncodeStrings(t *testing.T, inputs testkit.Inputs) {
	p := encodePlan(t, "test.three.All")
	for _, s := range inputs.Strings(t) {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		in := `{"st":` + string(text) + `,"mSt":{` + string(text) + `:` + string(text) + `},"struct":{` + string(text) + `:[` + string(text) + `]},"value":` + string(text) + `}`
		if _, ok := checkEncode(t, p, []byte(in), false); !ok {
			t.Errorf("%s was refused", in)
		}
		for _, field := range []string{"by", "i64", "fl", "time", "span", "mask", "color", "any"} {
			checkEncode(t, p, []byte(`{"`+field+`":`+string(text)+`}`), true)
		}
	}
}

func FuzzEncode(f *testing.F) {
	plans := make([]*Plan, len(encodeNames))
	for i, name := range encodeNames {
		plans[i] = encodePlan(f, name)
	}
	for seed := range uint64(120) {
		i := int(seed % 6)
		f.Add(uint8(i), seed%4 == 0, makeJSON(f, seed, plans[i].root.desc))
	}
	types := plans[0].types
	for seed := range uint64(40) { // as protojson itself writes it
		p := plans[seed%5]
		m := dynamicpb.NewMessage(p.root.desc)
		w := newWireMaker(f, seed, types)
		if (proto.UnmarshalOptions{Resolver: types}).Unmarshal(w.message(nil, p.root.desc, 3), m) == nil {
			if text, err := (protojson.MarshalOptions{Resolver: types}).Marshal(m); err == nil {
				f.Add(uint8(seed%5), false, text)
			}
		}
	}
	for _, inputs := range testkit.Seeds(f) {
		for _, text := range inputs.Texts(f) {
			if len(text.Body) < 1000 {
				f.Add(uint8(0), true, []byte(wrapped(string(text.Body))[len(text.Body)%8]))
			}
		}
		for i, s := range inputs.Strings(f) {
			if text, err := json.Marshal(s); err == nil {
				f.Add(uint8(0), false, []byte(wrapped(string(text))[i%8]))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, discard bool, in []byte) {
		checkEncode(t, plans[int(which)%len(plans)], in, discard)
	})
}
