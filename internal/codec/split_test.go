package codec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestItemAt(t *testing.T) {
	for _, test := range []struct{ in, whole, data string }{
		{`{"data":1},2`, `{"data":1}`, "1"},
		{`{"data": [ ] } `, `{"data": [ ] }`, "[ ]"},
		{`{"data":"}\"\\"}]`, `{"data":"}\"\\"}`, `"}\"\\"`},
		{`{"data":{"a":"]}"},"type":"x"},1`, `{"data":{"a":"]}"},"type":"x"}`, ""},
		{`{"type":"\\\"}","data":1}}`, `{"type":"\\\"}","data":1}`, ""},
		{`{"data":é}`, `{"data":é}`, "é"},
		{"tru ]", "tru", ""}, {`"a\\\\"b`, `"a\\\\"`, ""}, {"[1,[2]],", "[1,[2]]", ""}, {`["1234567\",]",8]9`, `["1234567\",]",8]`, ""},
		{`{"data":`, "", ""}, {`{"data":}`, "", ""}, {`{"data":1`, "", ""}, {`"a\"`, "", ""}, {`{"a":"}`, "", ""}, {",", "", ""}, {"", "", ""},
	} {
		it, ok := itemAt([]byte(test.in), 0)
		if ok != (test.whole != "") || ok && (test.in[:it.end] != test.whole || test.in[it.data:it.dataEnd] != test.data) {
			t.Errorf("%s: %+v, %v", test.in, it, ok)
		}
	}
}

func TestItemsAt(t *testing.T) {
	for in, want := range map[string]string{
		`{"items":[1]}`: "[1]}", ` { "type" : "a\"b" , "options":{"x":[]},"items" : [1]}`: "[1]}",
		`{"data":1,"items":[1]}`: "", `{"items":{}}`: "", `{"items"`: "", `{"ite`: "", `["items":[`: "", `{}`: "", ``: "", `{"a":`: "", `{"a":1 "items":[]`: "",
	} {
		got := ""
		if i := itemsAt([]byte(in)); i >= 0 {
			got = in[i:]
		}
		if got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// FuzzBatch has a batch be answered the same whether its items are found at a
// glance or after its envelope was read strictly.
func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		`{"data":{"data":[{"data":1},{"data":"},{\"data\":"},{"data":[{"data":2}]}]}}, {"data":{"data":null}}`,
		`{"data":{"text":"hi"}},{"data":{"text":"ho","x":[tru]}},{"data":{}}`, `{"data":{"x":"` + "\xff" + `"}}`, `{"data":{"x":1e}}`,
		`{"data":1}]},{"data":1}`, `[[]`, `1],"type":"test.Note","x":[2`, `{"data":"CgJoaQ=="},{"data":"CgJo\u0061Q==","type":"test.Note"}`, `[[}]`, ``,
	} {
		for form := range byte(6) {
			f.Add(s, form)
		}
	}
	c := newCodec(f, func(c *Config) { c.Workers, c.MaxItems, c.ResultCacheBytes = 1, 1e6, 0 })
	putFree(f, c)
	f.Fuzz(func(t *testing.T, items string, form byte) {
		path, typ := "encode", "test.Note"
		switch form % 3 {
		case 1:
			path = "decode"
		case 2:
			typ = "free.Free"
		}
		list := items
		if n := len(items); form&8 == 0 && n > 0 {
			list = strings.Repeat(items+",", 20<<10/n) + items // several chunks
		}
		body := fmt.Sprintf(`{"type":%q,"options":{"discard_unknown":%t},"items":[%s]}`, typ, form&16 == 0, list)
		got := send(c, post(path, body, asJSON))
		want := send(c, post(path, strings.Replace(body, `"items":[`, `"\u0069tems":[`, 1), asJSON))
		// Both name the place, and the second body is longer by five bytes.
		for _, fault := range []string{"400 invalid_json : ", "413 limit_exceeded : "} {
			if strings.HasPrefix(got, fault) && strings.HasPrefix(want, fault) {
				got, want = fault, fault
			}
		}
		if got != want {
			t.Errorf("%.300q:\ngot  %.300s\nwant %.300s", items, got, want)
		}
		if strings.HasPrefix(got, "application/json") && !json.Valid([]byte(body)) {
			t.Errorf("%.300q: taken and no JSON", items)
		}
	})
}
