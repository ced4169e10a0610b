package protobuf

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/testkit"
)

// protojsonWire is what AppendWire is measured by.
func protojsonWire(s *shape) ([]byte, error) {
	m := dynamicpb.NewMessage(s.desc)
	if err := (protojson.UnmarshalOptions{Resolver: s.types}).Unmarshal(s.json, m); err != nil {
		return nil, err
	}
	return proto.Marshal(m)
}

// plainJSON are messages whose parts are all plain, beyond those of shapes.
var plainJSON = []string{
	`{"child":{"child":{"st":"a\n\u00e9","by":"YWJj","color":"RED","rFl":[1.5,"NaN",-0.006929283495992422],"i64":"-5"}}}`,
	`{"mSt":{"a":"b","c":"d"},"mI32":{"1":2,"3":4,"5":6,"7":8,"9":10,"11":12,"13":14,"15":16,"17":18,"19":20}}`,
	`{"struct":{"a":[1,null,{"b":"c"}]},"value":"x","time":"2024-01-02T03:04:05.678Z","span":"1.5s","mask":"a,bC","wI64":"7"}`,
	`{"any":{"@type":"type.googleapis.com/test.three.All","i32":1,"b":true,"child":{"st":"a"}}}`,
}

func TestEncodeAllocs(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	free := func(name string, p *Plan, in []byte) {
		t.Helper()
		dst := make([]byte, 0, 2*len(in)+1024)
		n := testing.AllocsPerRun(50, func() {
			if _, err := p.AppendWire(dst, in, Options{}, Limits{}); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: AppendWire allocates %v times", name, n)
		}
	}
	for _, s := range shapes(t) {
		free(s.name, s.plan, s.json)
	}
	for _, in := range plainJSON {
		free(in, encodePlan(t, "test.three.All"), []byte(in))
	}
}

func TestShapesEncode(t *testing.T) {
	for _, s := range shapes(t) {
		checkEncode(t, s.plan, s.json, false)
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, s := range shapes(b) {
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(s.json)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _ = s.plan.AppendWire(dst[:0], s.json, Options{}, Limits{})
			}
		})
	}
}

// BenchmarkEncodeProtojson is what BenchmarkEncode is held against.
func BenchmarkEncodeProtojson(b *testing.B) {
	for _, s := range shapes(b) {
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(s.json)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protojsonWire(&s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
