//go:build !race

package dialect

import (
	"encoding/json"
	"testing"

	"sluice/internal/jsonscan"
)

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		in, object, text string
		ok               bool
	}{
		{``, `{}`, `"{}"`, true},
		{`""`, `{}`, `""`, true},
		{`"{}"`, `{}`, `"{}"`, true},
		{`{"a":"b\n"}`, `{"a":"b\n"}`, `"{\"a\":\"b\\n\"}"`, true},
		{`"{\"a\": [1,\"\\\"\"]}"`, `{"a": [1,"\""]}`, `"{\"a\": [1,\"\\\"\"]}"`, true},
		{`"{\"a\": "`, `{}`, `"{\"a\": "`, false},
		{`"[1]"`, `{}`, `"[1]"`, false},
		{"{\n\t\"a\": 1}", "{ \t\"a\": 1}", `"{\n\t\"a\": 1}"`, true},
		{`"{\r\n\"a\":\n1}\n"`, "{  \"a\": 1}", `"{\r\n\"a\":\n1}\n"`, true},
	} {
		var in []byte
		if c.in != "" {
			in = []byte(c.in)
		}
		object, ok := AppendObject(nil, in)
		if string(object) != c.object || ok != c.ok {
			t.Errorf("object of %s is %s, %v", c.in, object, ok)
		}
		text := AppendArguments(nil, in)
		if string(text) != c.text {
			t.Errorf("text of %s is %s", c.in, text)
		}
	}
}

func TestDataURL(t *testing.T) {
	for _, c := range []struct {
		url, kind, data string
		ok              bool
	}{
		{`"data:image/png;base64,AAA="`, "image/png", "AAA=", true},
		{`"data:image\/png;base64,A\/A="`, "image/png", `A\/A=`, true},
		{`"data:audio/wav;codec=x;base64,AA"`, "audio/wav", "AA", true},
		{`"data:text/plain,hello"`, "", "", false},
		{`"data:text/plain;base64"`, "", "", false},
		{`"https://h/data:image/png;base64,A"`, "", "", false},
		{`7`, "", "", false},
	} {
		kind, data, ok := DataURL([]byte(c.url))
		if kind != c.kind || string(data) != c.data || ok != c.ok {
			t.Errorf("%s: %q %q %v", c.url, kind, data, ok)
		}
		if ok && !json.Valid(AppendDataURL(nil, kind, data)) {
			t.Errorf("%s written again is no JSON", c.url)
		}
	}
	if got := string(AppendDataURL([]byte("x"), "image/png", []byte("AA"))); got != `x"data:image/png;base64,AA"` {
		t.Error(got)
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		v, s string
		want bool
	}{{`"a"`, "a", true}, {`"\u0061"`, "a", true}, {`"b"`, "a", false}, {`a`, "a", false}, {``, "", false}, {`""`, "", true}, {`"\u006"`, "a", false}} {
		if got := Is([]byte(c.v), c.s); got != c.want {
			t.Errorf("%s is %q: %v", c.v, c.s, got)
		}
	}
	if got := string(AppendJoined(nil, [][]byte{[]byte(`"a\n"`), []byte(`"b"`)}, `\n`)); got != `"a\n\nb"` {
		t.Error(got)
	}
	for v, want := range map[string]int64{"12": 12, "-1": -1, "1.5": 0, `"1"`: 0, "9999999999999999": 0, "": 0} {
		if got := Int([]byte(v)); got != want {
			t.Errorf("%s is %d", v, got)
		}
	}
}

func TestLosses(t *testing.T) {
	var l Losses
	for _, n := range []string{"top_k", "a b", "top_k", "x\r\ny", "cache_control"} {
		l.Add(n)
	}
	if got := l.String(); got != "top_k, other, cache_control" {
		t.Error(got)
	}
	for i := range 1000 {
		l.AddName([]byte{'n', byte('a' + i%26), byte('a' + i/26%26)})
	}
	if len(l.Names()) != maxLosses {
		t.Errorf("%d names", len(l.Names()))
	}
}

// FuzzArguments: whatever a call's arguments are, they become an object, and JSON.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{`"{}"`, `"{\"a\":1}"`, `{"a":"\\"}`, `"`, `"[`, `"{\"a\":"`, `" {}"`, `"\u00a0{}\t"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if jsonscan.Validate(b, maxDepth) != nil {
			return
		}
		if object, _ := AppendObject(nil, b); !json.Valid(object) || !IsObject(object) {
			t.Errorf("%q became %q", b, object)
		}
		if IsText(b) || IsObject(b) {
			text := AppendArguments(nil, b)
			var s string
			if err := json.Unmarshal(text, &s); err != nil {
				t.Errorf("%q became %q: %v", b, text, err)
			}
			if IsObject(b) && s != string(b) {
				t.Errorf("%q became %q", b, s)
			}
		}
	})
}
