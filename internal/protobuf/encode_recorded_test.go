package protobuf

import (
	"encoding/json"
	"reflect"
	"sluice/internal/testkit"
	"testing"
)

// Recorded requests and replies go into a Struct and come back the same.
func TestEncodeRecorded(t *testing.T) {
	testkit.Simulation(t)
	testkit.Each(t, testEncodePairs)
}

func testEncodePairs(t *testing.T, in testkit.Inputs) {
	p := encodePlan(t, "google.protobuf.Struct")
	n := 0
	for _, pair := range in.Pairs(t) {
		for _, body := range []string{pair.Request, pair.Response} {
			wire, ok := checkEncode(t, p, []byte(body), false)
			if !ok {
				continue
			}
			n++
			back, err := p.AppendJSON(nil, wire, Options{}, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var was, is any
			if json.Unmarshal([]byte(body), &was) != nil || json.Unmarshal(back, &is) != nil || !reflect.DeepEqual(was, is) {
				t.Errorf("%s\ncame back as\n%s", body, back)
			}
		}
	}
	if n < in.Least(1000) {
		t.Errorf("only %d bodies were taken", n)
	}
	t.Logf("%d bodies", n)
}
