package protobuf

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Both directions count depth as it is on the wire: what one makes under a limit
// the other reads under the same limit, and under no lower one.
func TestDepthOfBothDirections(t *testing.T) {
	for _, c := range []struct {
		name  protoreflect.FullName
		json  string
		depth int
	}{
		{"test.three.All", `{"st":"x"}`, 1},
		{"test.three.All", `{"child":{"rChild":[{}]}}`, 3},
		{"test.three.All", `{"mI32":{"1":1}}`, 2},
		{"test.three.All", `{"mI32":{},"mB":{"true":{"mB":{"false":{}}}}}`, 5},
		{"google.protobuf.Struct", `{"a":{"b":1}}`, 6},
		{"google.protobuf.Value", `[[1]]`, 5},
		{"google.protobuf.Value", `{"a":[]}`, 5},
		{"test.three.All", `{"any":{"@type":"x/test.three.All","child":{}}}`, 4},
		{"test.three.All", `{"any":{"child":{},"@type":"x/test.three.All"}}`, 4},
		{"test.three.All", `{"any":{"@type":"x/test.three.All","rChild":[{"rChild":[{"rChild":[{}]}]}]}}`, 6},
		{"test.three.All", `{"any":{"@type":"x/google.protobuf.Value","value":[[]]}}`, 6},
		{"google.protobuf.Any", `{"@type":"x/google.protobuf.Duration","value":"1s"}`, 2},
	} {
		p, _, _ := testPlan(t, c.name)
		wire, err := p.AppendWire(nil, []byte(c.json), Options{}, Limits{MaxDepth: c.depth})
		if err != nil {
			t.Errorf("%s: encode at %d: %v", c.json, c.depth, err)
			continue
		}
		if _, err := p.AppendJSON(nil, wire, Options{}, Limits{MaxDepth: c.depth}); err != nil {
			t.Errorf("%s: decode at %d: %v", c.json, c.depth, err)
		}
		if c.depth == 1 {
			continue
		}
		var encode, decode *Error
		_, err = p.AppendWire(nil, []byte(c.json), Options{}, Limits{MaxDepth: c.depth - 1})
		_, err2 := p.AppendJSON(nil, wire, Options{}, Limits{MaxDepth: c.depth - 1})
		if !errors.As(err, &encode) || !errors.As(err2, &decode) || !encode.Limit || !decode.Limit {
			t.Errorf("%s: at %d: encode %v, decode %v", c.json, c.depth-1, err, err2)
		}
	}
}
