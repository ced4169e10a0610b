package protobuf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestEncodeErrors(t *testing.T) {
	for _, c := range []struct {
		name         protoreflect.FullName
		in, path, at string
	}{
		{"shapes.Chat", `{"messages":[{},{},{"content":[{"text":1}]}]}`, "messages[2].content[0].text", "1}]}"},
		{"shapes.Chat", `{"messages":[{"role":"ROLE_X"}]}`, "messages[0].role", `"ROLE_X"`},
		{"shapes.Chat", `{"usage":{"no_such":1}}`, "usage.no_such", `"no_such"`},
		{"shapes.Chat", `{"metadata":{"a":"b","c d":1}}`, `metadata["c d"]`, "1}}"},
		{"shapes.Chat", `{"model":"a","model":"b"}`, "model", `"model":"b"`},
		{"shapes.Chat", `{"model":"a"`, "", ""},
		{"shapes.Chat", `{"model":"a"} x`, "", "x"},
		{"shapes.Chat", `{"maxTokens":1e99}`, "maxTokens", "1e99"},
		{"google.protobuf.Struct", `{"a":{"b":[1,{"c":tru}]}}`, `["a"]["b"][1]["c"]`, "tru}"},
		{"test.three.All", `{"mI32":{"x":1}}`, `mI32["x"]`, `"x"`},
		{"test.three.All", `{"any":{"@type":"x/google.protobuf.Duration","value":1}}`, "any.value", "1}}"},
		{"test.three.All", `{"any":{"i32":1,"@type":"x/no.Such"}}`, "any", `"x/no`},
		{"test.two.Free", `{"[test.two.f_old]":{"must":1}}`, "[test.two.f_old]", "}}"},
	} {
		p, _, _ := testPlan(t, c.name)
		out, err := p.AppendWire([]byte("kept"), []byte(c.in), Options{}, Limits{})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v", c.in, err)
			continue
		}
		if e.Limit {
			t.Errorf("%s: said to be a limit's fault: %v", c.in, e)
		}
		if e.Path != c.path || !strings.HasPrefix(c.in[e.Offset:], c.at) || e.Offset == len(c.in) != (c.at == "") || string(out) != "kept" {
			t.Errorf("%s: %v, want the path %q and %q; output %q", c.in, e, c.path, c.at, out)
		}
	}
}

func TestEncodeLimits(t *testing.T) {
	p, _, _ := testPlan(t, "google.protobuf.Value")
	all, _, _ := testPlan(t, "test.three.All")
	for _, c := range []struct {
		plan  *Plan
		in    string
		least Limits // what lets it pass; one less of anything does not
	}{
		{p, `[[[1,2,3],[],4]]`, Limits{MaxDepth: 7, MaxFields: 7, MaxOutput: 58}},
		{all, `{"st":"` + strings.Repeat("x", 200) + `","child":{"st":"y"}}`, Limits{MaxDepth: 2, MaxFields: 3, MaxOutput: 203 + 6}},
		{all, `{"rI32":[1,2,3]}`, Limits{MaxFields: 4, MaxOutput: 6}},
	} {
		if out, err := c.plan.AppendWire(nil, []byte(c.in), Options{}, c.least); err != nil {
			t.Errorf("%s: %v, output %d", c.in, err, len(out))
		}
		less := []Limits{c.least, c.least, c.least}
		less[0].MaxDepth--
		less[1].MaxFields--
		less[2].MaxOutput--
		for _, l := range less {
			if l.MaxDepth < 1 && c.least.MaxDepth == 0 {
				continue
			}
			var fault *Error
			if _, err := c.plan.AppendWire(nil, []byte(c.in), Options{}, l); !errors.As(err, &fault) || !fault.Limit {
				t.Errorf("%s under %+v: %v", c.in, l, err)
			}
		}
	}
	skipped := `{"x":[` + strings.Repeat("1,", 100) + `1]}`
	if _, err := all.AppendWire(nil, []byte(skipped), Options{DiscardUnknown: true}, Limits{MaxFields: 100}); err == nil {
		t.Error("what is passed over does not count as fields")
	}
}

// Each length takes two bytes or more, so every level needs room that was not
// left for it.
func TestEncodeDeepLengths(t *testing.T) {
	p := encodePlan(t, "test.three.All")
	for _, size := range []int{0, 60, 120, 126, 127, 128, 16000, 16383} {
		in := fmt.Sprintf(`{"st":"%s"}`, strings.Repeat("x", size))
		for range 90 {
			in = `{"child":` + in + `,"st":"y","rChild":[{"i32":1},{}]}`
		}
		checkEncode(t, p, []byte(in), false)
	}
}

// An Any whose type comes last, in another one and so on: the innermost must
// not be looked at once for each that is around it.
func TestEncodeAnyTypesLast(t *testing.T) {
	p := encodePlan(t, "google.protobuf.Any")
	in := `{"@type":"x/test.three.All","st":"` + strings.Repeat("x", 100) + `"}`
	for i := range 40 {
		in = fmt.Sprintf(`{"value":%s,"@type":"x/google.protobuf.Any"}`, in)
		if i%7 == 0 {
			in = fmt.Sprintf(`{"any":%s,"rAny":[{},{"i32":1,"@type":"x/test.three.All"}],"@type":"x/test.three.All"}`, in)
		}
	}
	checkEncode(t, p, []byte(in), false)
	// Members and elements count once when they are searched and once when they
	// are read, however deep they are.
	if _, err := p.AppendWire(nil, []byte(in), Options{}, Limits{MaxFields: 2 * (strings.Count(in, ":") + strings.Count(in, "{"))}); err != nil {
		t.Error(err)
	}
}
