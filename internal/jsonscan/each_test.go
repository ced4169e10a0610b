package jsonscan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"sluice/internal/testkit"
)

func TestEach(t *testing.T) {
	for _, c := range []struct{ body, names, values string }{
		{`{}`, "", ""}, {` { } `, "", ""}, {`[]`, "", ""}, {`null`, "", ""}, {``, "", ""}, {`{"a":1}`, "a", "1"},
		{" {\n\"a\" : [1, {\"b\":\"]}\"}] ,\t\"\\u0062\\\"\" : \"x\\\"y\" }\n", `a|b"`, `[1, {"b":"]}"}]|"x\"y"`},
		{`{"a"`, "", ""}, {`{"a":`, "", ""}, {`{"a":1,`, "a", "1"}, {`{"a":1]`, "a", "1"}, {`{"a" 1}`, "", ""},
	} {
		var names, values [][]byte
		for n, v := range MembersOf([]byte(c.body)) {
			names, values = append(names, slices.Clone(n)), append(values, v)
		}
		if got := string(bytes.Join(names, []byte("|"))); got != c.names {
			t.Errorf("%s: names %s", c.body, got)
		}
		if got := string(bytes.Join(values, []byte("|"))); got != c.values {
			t.Errorf("%s: values %s", c.body, got)
		}
	}
	for _, c := range []struct{ body, names, values string }{
		{`{"a":1,"a":2}`, "a", "2"}, {`{"a":1,"b":[1],"a":null,"c":3,"b":{}}`, "a|c|b", "null|3|{}"}, {`{"a":1,"\u0061":2}`, "a", "2"}, {`{"\u0061":1,"a":2,"":3,"":4}`, "a|", "2|4"},
		{`{"ab":1,"ba":2,"ab":3,"ab":4}`, "ba|ab", "2|4"},
	} {
		var names, values [][]byte
		for n, v := range MembersOf([]byte(c.body)) {
			names, values = append(names, slices.Clone(n)), append(values, v)
		}
		if got := string(bytes.Join(names, []byte("|"))); got != c.names {
			t.Errorf("%s: names %s", c.body, got)
		}
		if got := string(bytes.Join(values, []byte("|"))); got != c.values {
			t.Errorf("%s: values %s", c.body, got)
		}
	}
	for _, c := range []struct{ body, values string }{
		{`[]`, ""}, {`[ ]`, ""}, {`{}`, ""}, {``, ""}, {`[1]`, "1"}, {"[ \"a,]\" ,\n[2,3] , {} ]", `"a,]"|[2,3]|{}`}, {`[1,`, "1"}, {`[`, ""},
	} {
		var values [][]byte
		for v := range ElementsOf([]byte(c.body)) {
			values = append(values, v)
		}
		if got := string(bytes.Join(values, []byte("|"))); got != c.values {
			t.Errorf("%s: values %s", c.body, got)
		}
	}
	if got := Member([]byte(`{"b":null,"a":3,"a":{"a":2}}`), "a"); string(got) != `{"a":2}` {
		t.Errorf("member is %s", got)
	}
	if got := Member([]byte(`{"a":1,"a":null}`), "a"); got != nil {
		t.Errorf("null is %s", got)
	}
}

// TestEachLarge: in an object of many members, which would take minutes if the work were
// quadratic, the last of each name counts too.
func TestEachLarge(t *testing.T) {
	b := []byte("{")
	const names, times = 100_000, 3
	for i := range names * times {
		b = fmt.Appendf(b, `"%d":%d,`, i%names, i)
	}
	b[len(b)-1] = '}'
	n := 0
	for name, v := range MembersOf(b) {
		if want := strconv.Itoa(names*(times-1) + n); string(name) != strconv.Itoa(n) || string(v) != want {
			t.Fatalf("member %d is %s: %s", n, name, v)
		}
		n++
	}
	if n != names {
		t.Errorf("%d members, want %d", n, names)
	}
}

// FuzzEach holds the walk against encoding/json, on what is sound.
func FuzzEach(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"c":"\"]"}`, `[1,"a",[],{}]`, `{"a":1,"a":2}`, ` [ ] `, `{"\u0061":0}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		members, elements := 0, 0
		last := map[string][]byte{}
		for n, v := range MembersOf(b) {
			members++
			last[string(n)] = v
		}
		var list [][]byte
		for v := range ElementsOf(b) {
			elements++
			list = append(list, v)
		}
		if Validate(b, 100) != nil {
			return
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(b, &object) == nil && object != nil {
			for n, v := range object {
				if got, ok := last[n]; ok && !bytes.Equal(bytes.TrimSpace(got), v) {
					t.Errorf("%q of %q is %q, want %q", n, b, got, v)
				}
			}
			if members != len(object) {
				t.Errorf("%d members of %q, want %d", members, b, len(object))
			}
		}
		var array []json.RawMessage
		if json.Unmarshal(b, &array) == nil {
			if elements != len(array) {
				t.Fatalf("%d elements of %q, want %d", elements, b, len(array))
			}
			for i := range array {
				if !bytes.Equal(list[i], bytes.TrimSpace(array[i])) {
					t.Errorf("element %d of %q is %q", i, b, list[i])
				}
			}
		}
	})
}

func TestEachAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"hello"},{"role":"user","content":"hello"}],"stream":true}`)
	n := testing.AllocsPerRun(100, func() {
		for name, v := range MembersOf(body) {
			if string(name) != "messages" {
				continue
			}
			for m := range ElementsOf(v) {
				if Member(m, "role") == nil {
					t.Fatal("no role")
				}
			}
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
