package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/internal/llm"
	"sluice/internal/testkit"
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

func TestMembersFaults(t *testing.T) {
	stop := errors.New("stop")
	if err := Members([]byte(`{"a":1,"b":`), 0, func([]byte, llm.Span) error { return stop }); err != stop {
		t.Errorf("the visitor's error became %v", err)
	}
	for doc, want := range map[string]Error{
		`[1]`:             {Offset: 0, Msg: "expected an object"},
		``:                {Offset: 0, Msg: "unexpected end, expected an object"},
		`{"a":1} x`:       {Offset: 8, Msg: "expected nothing after the document"},
		`{"a":1,}`:        {Offset: 7, Msg: "expected a key in double quotes"},
		`{"a":[[[1]]]}`:   {Offset: 7, Msg: "nested too deeply", Limit: true},
		"{\n \"é\": tru}": {Offset: 12, Msg: "expected true, false or null"},
	} {
		var fault *Error
		err := Members([]byte(doc), 3, func([]byte, llm.Span) error { return nil })
		if !errors.As(err, &fault) || *fault != want {
			t.Errorf("%s: %v, want %v", doc, err, &want)
		}
	}
	if line, column := (&Error{Offset: 12}).Position([]byte("{\n \"é\": tru}")); line != 2 || column != 10 {
		t.Errorf("line %d, column %d", line, column)
	}
}

func TestGet(t *testing.T) {
	doc := []byte(` {"error":{"m\u0065ssage":"x"},"list":[1,{"a":[true]}]} `)
	for path, want := range map[string]string{
		"error": `{"m\u0065ssage":"x"}`, "error.message": `"x"`, "list.0": "1", "list.1.a.0": "true",
		"list.2": "", "list.-1": "", "list.x": "", "error.0": "", "error.message.x": "", "none": "",
	} {
		v, ok := Get(doc, strings.Split(path, ".")...)
		if string(doc[v.Start:v.End]) != want || ok != (want != "") {
			t.Errorf("%s: %v, %s", path, ok, doc[v.Start:v.End])
		}
	}
	if v, ok := Get(doc); !ok || v.Start != 1 || v.End != len(doc)-1 {
		t.Errorf("the whole document is at %v, %v", v, ok)
	}
	for _, broken := range []string{"", " ", "{", `{"a"`, `{"a":`, "[", "[1", "x"} {
		if v, ok := Get([]byte(broken), "a"); ok {
			t.Errorf("%q: found %v", broken, v)
		}
	}
}

func TestElements(t *testing.T) {
	var got []string
	doc := []byte(` [1, "a" ,[]] `)
	Elements(doc, func(v llm.Span) bool {
		got = append(got, string(doc[v.Start:v.End]))
		return len(got) < 2
	})
	if !slices.Equal(got, []string{"1", `"a"`}) {
		t.Errorf("visited %q", got)
	}
	Elements([]byte("{}"), func(llm.Span) bool { t.Error("an object has no elements"); return false })
}

func TestStringFaults(t *testing.T) {
	for _, raw := range []string{``, `"`, `a`, `"a`, `"a"b`, `"\x"`, `"\u12"`, "\"\n\"", "\"\xff\"", ` "a"`} {
		if got, err := String([]byte(raw)); err == nil {
			t.Errorf("%q was decoded as %q", raw, got)
		}
	}
	if got, err := String([]byte(`"\ud83d\ude00 \ud83d \ude00\ud83dx\/"`)); err != nil || got != "😀 \ufffd \ufffd\ufffdx/" {
		t.Errorf("decoded %q, %v", got, err)
	}
}

func TestBool(t *testing.T) {
	for raw, want := range map[string][2]bool{"true": {true, true}, "false": {false, true}, "null": {}, `"true"`: {}, "": {}} {
		if value, ok := Bool([]byte(raw)); value != want[0] || ok != want[1] {
			t.Errorf("%s: %v, %v", raw, value, ok)
		}
	}
}

// TestPlain moves every byte value through every place of a word.
func TestPlain(t *testing.T) {
	for c := range 256 {
		for n := range 20 {
			text := []byte(strings.Repeat("a", n) + string([]byte{byte(c)}) + strings.Repeat("\x00", 12))
			stop := c < ' ' || c == '"' || c == '\\' || c >= 0x80
			if got := plain(text, 0); stop != (got == n) {
				t.Fatalf("byte %#x at %d: stopped at %d", c, n, got)
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	doc := chatRequest(20)
	if n := testing.AllocsPerRun(100, func() {
		found := 0
		err := Members(doc, 0, func(key []byte, v llm.Span) error {
			if string(key) == "model" {
				found = v.Start
			}
			return nil
		})
		if _, ok := Get(doc, "messages", "3", "content"); err != nil || found == 0 || !ok {
			t.Fatal(err, found, ok)
		}
	}); n > 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// chatRequest makes a chat request with n messages of 500 bytes.
func chatRequest(n int) []byte {
	text := strings.Repeat(`the quick brown fox jumps over \"the\" lazy dog\n`, 10)
	message := `{"role":"user","content":"` + text + `"}`
	return []byte(`{"model":"m","stream":true,"messages":[` + strings.Repeat(message+",", n-1) + message + `]}`)
}

func BenchmarkValidate(b *testing.B) {
	docs := map[string][]byte{
		"chat":    chatRequest(20),
		"russian": []byte(`{"content":"` + strings.Repeat("Съешь же ещё этих мягких французских булок. ", 200) + `"}`),
		"numbers": []byte(`[` + strings.Repeat("-0.012345678, ", 1000) + `0]`),
	}
	for name, doc := range docs {
		b.Run(name+"/jsonscan", func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if Validate(doc, 0) != nil {
					b.Fatal("refused")
				}
			}
		})
		b.Run(name+"/encoding_json", func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if !json.Valid(doc) {
					b.Fatal("refused")
				}
			}
		})
	}
}

// FuzzValidate compares with encoding/json, which also accepts bytes that are
// not UTF-8 and more nesting, and no less.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,true,null,"\u00e9\ud800é"]}`, `"`, `[1 2]`, "\"\xff\"", `{"a":1,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Validate(b, lenientDepth)
		if want := json.Valid(b) && utf8.Valid(b); want != (err == nil) {
			t.Fatalf("got %v, encoding/json says %v", err, want)
		}
		Get(b, "a", "0")
		var s string
		if err == nil && json.Unmarshal(b, &s) == nil {
			if got, err := String(bytes.TrimSpace(b)); string(b) != "null" && b[0] == '"' && (err != nil || got != s) {
				t.Fatalf("decoded %q, %v, want %q", got, err, s)
			}
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\n\x00\xffé\u2028")
	f.Fuzz(checkString)
}
