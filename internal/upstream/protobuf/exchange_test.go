package protobuf

import (
	"testing"

	"sluice/internal/llm"
)

// Messages that say nothing, and are all the same, are not read as messages again, and
// are taken so many in a row.
func TestSilence(t *testing.T) {
	x, message := streaming(t)
	defer x.end()
	quiet, err := x.method.AppendReply(nil, []byte(`{"usage":{"promptTokens":4}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][]byte{nil, quiet} {
		if err := x.chunk(message); err != nil || x.silent != 0 {
			t.Fatalf("%v, %d after a message", err, x.silent)
		}
		for range 2 {
			if err := x.chunk(m); err != nil {
				t.Fatal(err)
			}
		}
		if !x.muted || string(x.mute) != string(m) {
			t.Errorf("%v: known is %q, want %q", x.muted, x.mute, m)
		}
		for err = nil; err == nil && x.silent <= maxSilent; {
			err = x.chunk(m)
		}
		if e := llm.AsError(err); err == nil || e.Fault != llm.BadReply || x.silent != maxSilent+1 {
			t.Errorf("%v after %d", err, x.silent)
		}
		if u := x.reader.Usage(); u.Prompt != 4 || u.Completion != 9 {
			t.Errorf("%+v", u)
		}
	}
}

func TestInputs(t *testing.T) {
	for body, want := range map[string]int{
		`{"input":"a"}`: 1, `{"input":["a"]}`: 1, `{"input":["a", "b"]}`: 2, `{"input":[1,2,3]}`: 1, `{"input":[[1],[2,3]]}`: 2,
		`{"input":[{"text":"a"},{"text":"b"}]}`: 2, `{"input":[]}`: 0, `{}`: 0,
	} {
		if n := inputs([]byte(body)); n != want {
			t.Errorf("%s: %d, want %d", body, n, want)
		}
	}
}

// FuzzMetadata: what goes on as metadata is what HTTP/2 and gRPC carry.
func FuzzMetadata(f *testing.F) {
	f.Add("X-A-Bin", "AAE=")
	f.Add("X-A", "caf\xe9")
	f.Fuzz(func(t *testing.T, name, value string) {
		for _, field := range passed(&llm.Request{Header: []llm.Field{{Name: name, Value: value}}}, true) {
			for _, c := range []byte(field.Value) {
				if c < 0x20 || c > 0x7e {
					t.Errorf("%q", field.Value)
				}
			}
		}
	})
}
