package simulator

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compile(t testing.TB, raw string) (*jsonschema.Schema, error) {
	t.Helper()
	tree, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:///s.json", tree); err != nil {
		return nil, err
	}
	return c.Compile("mem:///s.json")
}

func TestInstanceIsValid(t *testing.T) {
	for _, raw := range []string{
		weather,
		`true`, `{}`, `{"type":"null"}`, `{"type":"boolean"}`, `{"const":{"a":[1]}}`, `{"enum":[1,"x",null]}`,
		`{"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":5}`,
		`{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1}`,
		`{"type":"integer","minimum":10,"multipleOf":7}`, `{"type":"integer","maximum":-10}`, `{"multipleOf":0.5,"maximum":3}`,
		`{"type":"string","minLength":40}`, `{"type":"string","maxLength":1}`, `{"type":"string","pattern":"^[A-Z]{2}-\\d+(x|y)?$"}`,
		`{"type":"string","pattern":"^a*$","minLength":5}`,
		`{"type":"string","format":"email"}`, `{"type":"string","format":"uuid"}`, `{"type":"string","format":"date-time"}`,
		`{"type":"string","format":"ipv6"}`, `{"type":"string","format":"uri"}`, `{"type":"string","format":"time"}`,
		`{"type":"array","items":{"type":"integer"},"minItems":5,"maxItems":6}`, `{"type":"array","maxItems":0}`,
		`{"type":"array","prefixItems":[{"type":"string"},{"type":"null"}],"items":{"type":"integer"}}`,
		`{"required":["a","b"],"properties":{"a":{"type":"integer"}}}`,
		`{"allOf":[{"type":"object","required":["a"]},{"properties":{"a":{"type":"boolean"}}}]}`,
		`{"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},{"type":"null"}]}`,
		`{"$ref":"#/definitions/x","definitions":{"x":{"anyOf":[{"$ref":"#/definitions/y"}]},"y":{"type":"integer","minimum":1e15}}}`,
		`{"type":"object","properties":{"tree":{"$ref":"#/$defs/t~1t"}},"required":["tree"],"$defs":{"t/t":{"type":"object","properties":{"kids":{"type":"array","items":{"$ref":"#/$defs/t~1t"}}},"required":["kids"]}}}`,
	} {
		s, err := compile(t, raw)
		if err != nil {
			t.Fatal(raw, err)
		}
		for seed := range uint64(50) {
			got, err := instance(json.RawMessage(raw), newDigest(seed).rand(0), new(room))
			if err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(got))
			if err != nil {
				t.Fatalf("%s: %v in %s", raw, err, got)
			}
			if err := s.Validate(v); err != nil {
				t.Fatalf("%s: %s: %v", raw, got, err)
			}
		}
	}
}

func TestImpossibleSchemas(t *testing.T) {
	for _, raw := range []string{
		`false`, `{"type":"shoe"}`, `{"$ref":"#"}`, `{"$ref":"#/none"}`, `{"$ref":"https://example.com/s"}`, `7`, `"x"`,
		`{"type":"integer","minimum":5,"maximum":4}`, `{"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":2}`,
		`{"type":"string","pattern":"("}`, `{"type":"string","pattern":"^a$","minLength":3}`,
		`{"type":"object","required":["a"],"properties":{"a":false}}`,
		`{"type":"array","minItems":100000}`, `{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}`,
	} {
		if got, err := instance(json.RawMessage(raw), newDigest(1).rand(0), new(room)); err == nil {
			t.Errorf("%s: got %s", raw, got)
		}
	}
}

// FuzzInstance looks for schemas that hang, crash or give no JSON.
func FuzzInstance(f *testing.F) {
	f.Add(weather)
	f.Add(`{"type":"string","pattern":"(a|b+){3,}[^c]"}`)
	f.Add(`{"allOf":[{"$ref":"#/x"}],"x":{"multipleOf":1e-300,"type":["array","null"],"minLength":99999999}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		if !json.Valid([]byte(raw)) {
			return
		}
		got, err := instance(json.RawMessage(raw), newDigest(1).rand(0), new(room))
		if err == nil && !json.Valid([]byte(got)) {
			t.Errorf("%s: got %s", raw, got)
		}
	})
}

func FuzzTokenise(f *testing.F) {
	f.Add("Straße, 水門 and\n\n a very-longcompoundedword.  ")
	f.Fuzz(func(t *testing.T, s string) {
		tokens := tokenise(s)
		if strings.Join(tokens, "") != s || len(tokens) != countTokens(s) {
			t.Errorf("%q became %q", s, tokens)
		}
	})
}

func FuzzParseFault(f *testing.F) {
	f.Add("latency=1s,cut=3,retry-after=Wed%2C 21 Oct")
	f.Fuzz(func(t *testing.T, spec string) {
		fault, err := parseFault(spec, ",", noFault())
		if err == nil && (fault.Cut < off || fault.Latency < 0 || fault.Status != 0 && fault.Status < 400) {
			t.Errorf("%q became %+v", spec, fault)
		}
	})
}
