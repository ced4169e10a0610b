package jsonscan

import (
	"encoding/json"
	"testing"

	"sluice/internal/llm"
)

func TestMembers(t *testing.T) {
	doc := []byte(` {"a": 1, "\u0062":"x\"y" , "a":[{"a":2}], "":{} } `)
	var got []string
	err := Members(doc, 0, func(key []byte, v llm.Span) error {
		got = append(got, string(key)+"="+string(doc[v.Start:v.End]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a=1", `b="x\"y"`, `a=[{"a":2}]`, "={}"}
	if len(got) != len(want) {
		t.Fatalf("visited %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("member %d is %q, want %q", i, got[i], want[i])
		}
	}
}

func FuzzValidate(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,true,null,"\u00e9\ud800é"]}`, `"`, `[1 2]`, "\"\xff\"", `{"a":1,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := Validate(b, 0); err == nil && !json.Valid(b) {
			t.Fatal("accepted what encoding/json refuses")
		}
	})
}
