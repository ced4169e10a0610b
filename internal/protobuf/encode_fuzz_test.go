package protobuf

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// shared gives a file of the shared data, or nil on a machine that has none.
func shared(t testing.TB, name string) io.Reader {
	t.Helper()
	f, err := os.Open(filepath.Join("../../../shared/data", filepath.FromSlash(name)))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		return nil
	}
	t.Cleanup(func() { f.Close() })
	return bufio.NewReader(f)
}

// jsonSuite calls visit with each file of the JSON test suite.
func jsonSuite(t testing.TB, visit func(name string, text []byte)) (n int) {
	t.Helper()
	f := shared(t, "conformance/jsontestsuite.tar.xz")
	if f == nil {
		return 0
	}
	plain, err := xz.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(plain); ; n++ {
		h, err := archive.Next()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		visit(h.Name, text)
	}
}

// naughty gives the big list of naughty strings.
func naughty(t testing.TB) (list []string) {
	t.Helper()
	f := shared(t, "conformance/blns/blns.json")
	if f == nil {
		return nil
	}
	if err := json.NewDecoder(f).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

// wrapped puts a JSON text into fields of test.three.All.
func wrapped(text string) []string {
	return []string{
		`{"value":` + text + `}`, `{"struct":{"a":` + text + `}}`, `{"list":[` + text + `]}`, `{"unknown":` + text + `}`,
		`{"st":` + text + `,"i32":1}`, `{"rI32":` + text + `}`, `{"db":` + text + `}`, `{"mSt":{"k":` + text + `}}`,
	}
}

func TestEncodeJSONTestSuite(t *testing.T) {
	p := encodePlan(t, "test.three.All")
	n := jsonSuite(t, func(name string, text []byte) {
		for _, in := range wrapped(string(text)) {
			for _, discard := range []bool{false, true} {
				if _, ok := checkEncode(t, p, []byte(in), discard); ok && strings.Contains(name, "/n_") && !json.Valid([]byte(in)) {
					t.Errorf("%s was taken", name)
				}
			}
		}
	})
	if n == 0 {
		t.Skip("no shared data")
	}
	if n < 300 {
		t.Errorf("found only %d files", n)
	}
}

func TestEncodeNaughtyStrings(t *testing.T) {
	p := encodePlan(t, "test.three.All")
	list := naughty(t)
	if list == nil {
		t.Skip("no shared data")
	}
	for _, s := range list {
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
	jsonSuite(f, func(_ string, text []byte) {
		if len(text) < 1000 {
			f.Add(uint8(0), true, []byte(wrapped(string(text))[len(text)%8]))
		}
	})
	for i, s := range naughty(f) {
		if text, err := json.Marshal(s); err == nil {
			f.Add(uint8(0), false, []byte(wrapped(string(text))[i%8]))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, discard bool, in []byte) {
		checkEncode(t, plans[int(which)%len(plans)], in, discard)
	})
}
