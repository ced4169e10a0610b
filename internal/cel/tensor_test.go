package cel

import (
	"encoding/base64"
	"strings"
	"testing"

	"sluice/internal/jsonscan"
)

func evaluate(t testing.TB, expr, doc string, l Limits) (string, error) {
	t.Helper()
	p, err := Compile(expr, []Var{{Name: "r"}})
	if err != nil {
		t.Fatal(err)
	}
	e := Env{}
	e.Reset(l)
	e.Set(0, JSON([]byte(doc)))
	v, err := p.Eval(&e)
	return string(v.AppendJSON(nil)), err
}

// TestTensor: an output's elements are found by its name, whichever way they stand.
func TestTensor(t *testing.T) {
	raw := func(name, kind, b string) string {
		return `{"outputs":[{"name":"other","datatype":"BYTES"},{"name":"` + name + `","datatype":"` + kind + `"}],"raw_output_contents":["AAA=","` +
			base64.StdEncoding.EncodeToString([]byte(b)) + `"]}`
	}
	for _, c := range []struct{ doc, want string }{
		{`{}`, `[]`},
		{`{"outputs":[]}`, `[]`},
		{raw("y", "BYTES", ""), `[]`},
		{raw("x", "BYTES", "\x01\x00\x00\x00a\x00\x00\x00\x00\x02\x00\x00\x00\xc3\xb6"), `["a","","ö"]`},
		{raw("x", "BYTES", "\x02\x00\x00\x00a\xff"), `["a�"]`},
		{raw("x", "BOOL", "\x00\x01"), `[false,true]`},
		{raw("x", "INT8", "\xff\x7f"), `[-1,127]`},
		{raw("x", "UINT8", "\xff"), `[255]`},
		{raw("x", "INT16", "\x00\x80"), `[-32768]`},
		{raw("x", "UINT32", "\xff\xff\xff\xff"), `[4294967295]`},
		{raw("x", "INT64", "\xfe\xff\xff\xff\xff\xff\xff\xff"), `[-2]`},
		{raw("x", "FP32", "\x00\x00\x00\x3f"), `[0.5]`},
		{raw("x", "FP64", "\x00\x00\x00\x00\x00\x00\xe0\x3f"), `[0.5]`},
		{`{"outputs":[{"name":"x","datatype":"FP32","contents":{"fp32_contents":[0.5,1]}}]}`, `[0.5,1]`},
		{`{"outputs":[{"name":"x","datatype":"INT64","contents":{"int64_contents":["5"]}}]}`, `[5]`},
		{`{"outputs":[{"name":"x","datatype":"BYTES","contents":{"bytes_contents":["YQ==","/w=="]}}]}`, `["a","�"]`},
	} {
		if got, err := evaluate(t, `tensor(r, "x")`, c.doc, Limits{}); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.doc, got, err, c.want)
		}
	}
	if got, err := evaluate(t, `tensor(r, "x")[0] + 1`, `{"outputs":[{"name":"x","datatype":"INT64","contents":{"int64_contents":["5"]}}]}`, Limits{}); err != nil || got != "6" {
		t.Errorf("%s, %v", got, err)
	}
	for doc, want := range map[string]string{
		raw("x", "BYTES", "\x05\x00\x00\x00a"):       "a tensor ends within an element",
		raw("x", "BYTES", "\x05\x00"):                "a tensor ends within an element",
		raw("x", "FP32", "\x05\x00"):                 "a tensor ends within an element",
		raw("x", "FP16", "\x05\x00"):                 "tensors of the type FP16 cannot be read",
		raw("x", "UINT8", strings.Repeat("a", 5000)): "it takes more steps, or bytes, than the limit allows",
	} {
		if _, err := evaluate(t, `tensor(r, "x")`, doc, Limits{Steps: 1000}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// FuzzTensor: whatever a server sends, what comes of it is JSON.
func FuzzTensor(f *testing.F) {
	f.Add("BYTES", []byte("\x01\x00\x00\x00a"))
	f.Add("FP64", []byte("\x00\x00\x00\x00\x00\x00\xf8\x7f"))
	f.Fuzz(func(t *testing.T, kind string, b []byte) {
		doc := `{"outputs":[{"name":"x","datatype":` + string(jsonscan.AppendString(nil, kind)) + `}],"raw_output_contents":["` + base64.StdEncoding.EncodeToString(b) + `"]}`
		got, err := evaluate(t, `tensor(r, "x")`, doc, Limits{})
		if err == nil && jsonscan.Validate([]byte(got), 0) != nil {
			t.Errorf("%q of %s: %s", b, kind, got)
		}
	})
}
