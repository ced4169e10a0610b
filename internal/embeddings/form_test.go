//go:build !race

package embeddings

import (
	"bytes"
	"encoding/json"
	"testing"

	"sluice/internal/llm"
)

// The inputs of a list of objects, and the one that is the whole body.
func TestSplitObjects(t *testing.T) {
	var in Inputs
	for _, c := range []struct {
		one        bool
		body, want string
	}{
		{false, `{"requests": [ {"a":1} , {} ] }`, `{"a":1} {}`},
		{false, `{"requests":[]}`, ``},
		{false, `{"requests":{"a":1}}`, ``},
		{false, `{"requests":"a"}`, ``},
		{false, `{"requests":[{},"a"]}`, ``},
		{false, `{"requests":[{},[1]]}`, ``},
		{false, `{"input":[{}]}`, ``},
		{true, " {\"a\": 1}\n", `{"a": 1}`},
		{true, ` []`, ``},
		{true, ` `, ``},
	} {
		var got [][]byte
		if in.Split(objects(c.one), []byte(c.body)) {
			for _, at := range in.Items {
				got = append(got, []byte(c.body)[at.Start:at.End])
			}
		}
		if s := string(bytes.Join(got, []byte(" "))); s != c.want {
			t.Errorf("%s: %s, want %s", c.body, s, c.want)
		}
	}
}

// What is put together of a reply's vectors, and which replies are none.
func TestReadObjects(t *testing.T) {
	for _, c := range []struct {
		one        bool
		body       string
		n          int
		whole, new string // of its frame, and without it; "" for a reply that is none
	}{
		{false, `{ "embeddings":[ {"values":[1e0, 2]},{"values":[3],"index":0} ],"usageMetadata":{"promptTokenCount":7}}`, 2, "same", `{"embeddings":[{"values":[1e0, 2]},{"values":[3],"index":0}],"count":{"n":7}}`},
		{false, `{"embeddings":[{"values":[1]}],"new":1}`, 1, "same", `{"embeddings":[{"values":[1]}]}`},
		{true, `{"embedding": {"values":[1.50]} ,"new":1}`, 1, "same", `{"embedding":{"values":[1.50]}}`},
		{false, `{"embeddings":[{"values":[1]}]}`, 2, "", ""},
		{false, `{"embeddings":[{"values":[1]},{"values":[1]}]}`, 1, "", ""},
		{false, `{"embeddings":[{"value":[1]}]}`, 1, "", ""},
		{false, `{"embeddings":[7]}`, 1, "", ""},
		{false, `{"embedding":{"values":[1]}}`, 1, "", ""},
		{false, `{"embeddings":[{"values":[1]}],"error":{}}`, 1, "", ""},
		{true, `{"embedding":{"values":null}}`, 1, "", ""},
		{true, `{"embedding":[{"values":[1]}]}`, 1, "", ""},
		{true, `{"embedding":null}`, 1, "", ""},
		{true, `{"embeddings":[{"values":[1]}]}`, 1, "", ""},
	} {
		r, err := Read(objects(c.one), []byte(c.body), c.n)
		if (err == nil) != (c.whole != "") {
			t.Errorf("%s: %v", c.body, err)
		}
		if err != nil {
			continue
		}
		if !r.Frame().Sound(c.n) {
			t.Errorf("%s: the frame is not sound", c.body)
		}
		if got, _ := sent(t, framed{r.Frame(), r.Vector}); got != c.body {
			t.Errorf("%s became %s", c.body, got)
		}
		if got, _ := sent(t, made{objects(c.one), &r}); got != c.new {
			t.Errorf("%s became %s, want %s", c.body, got, c.new)
		}
	}
}

// made is a Body of a form, of a reply's vectors.
type made struct {
	form  *Form
	reply *Reply
}

func (m made) Compose(c *Composer) {
	c.List(m.form, len(m.reply.Elements), m.reply.Vector, `"m"`, uint64(m.reply.Tokens))
}

// FuzzObjects takes calls and replies of objects apart, and puts them together.
func FuzzObjects(f *testing.F) {
	f.Add([]byte(`{"requests":[{"content":{}},{"a":1}]}`), []byte(`{"embeddings":[{"values":[1]},{"values":[2]}],"usageMetadata":{"promptTokenCount":3}}`), false)
	f.Add([]byte(` {"content":{"parts":[{"text":"a"}]}}`), []byte(`{"embedding": {"values":[1]}}`), true)
	f.Fuzz(func(t *testing.T, body, reply []byte, one bool) {
		var in Inputs
		if !json.Valid(body) || !in.Split(objects(one), body) {
			return
		}
		var inputs [][]byte
		for _, at := range in.Items {
			var object map[string]json.RawMessage
			if err := json.Unmarshal(body[at.Start:at.End], &object); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			inputs = append(inputs, body[at.Start:at.End])
		}
		if !one {
			got, err := in.With(nil, &llm.Request{Body: body, BodyLen: int64(len(body))}, inputs[:1])
			if err != nil || !json.Valid(got.Body) || !in.Split(objects(one), got.Body) || len(in.Items) != 1 {
				t.Fatalf("%q with its first input: %q, %v", body, got.Body, err)
			}
		}
		r, err := Read(objects(one), reply, len(inputs))
		if err != nil {
			return
		}
		if got, _ := sent(t, framed{r.Frame(), r.Vector}); got != string(reply) {
			t.Fatalf("%q became %q", reply, got)
		}
		got, _ := sent(t, made{objects(one), &r})
		again, err := Read(objects(one), []byte(got), len(inputs))
		if err != nil {
			t.Fatalf("%q became %q: %v", reply, got, err)
		}
		for i := range inputs {
			if !bytes.Equal(again.Vector(i).Tail, r.Vector(i).Tail) {
				t.Fatalf("%q became %q", reply, got)
			}
		}
	})
}
