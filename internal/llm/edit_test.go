package llm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// named makes a request of a body in which the model is "m".
func named(body string) *Request {
	r := &Request{Op: Chat, ID: "1", Model: "m", Stream: true, Body: []byte(body), BodyLen: int64(len(body)), Header: []Field{{"A", "b"}}}
	if at := strings.Index(body, `"m"`); at >= 0 {
		r.ModelSpan = Span{at, at + 3}
	}
	return r
}

// put makes a Replacement.
func put(start, end int, with string) Replacement { return Replacement{Span{start, end}, []byte(with)} }

func TestEdit(t *testing.T) {
	const body = `{"a":1,"model":"m","b":[2,3]}` // the name is from 15 to 18
	for name, test := range map[string]struct {
		body         string
		replacements []Replacement
		want         string
	}{
		"nothing":             {body, nil, body},
		"before the model":    {body, []Replacement{put(5, 6, `"long"`)}, `{"a":"long","model":"m","b":[2,3]}`},
		"shorter before it":   {body, []Replacement{put(1, 7, "")}, `{"model":"m","b":[2,3]}`},
		"after the model":     {body, []Replacement{put(23, 28, `{}`)}, `{"a":1,"model":"m","b":{}}`},
		"on both sides":       {body, []Replacement{put(5, 6, `12`), put(24, 25, ``), put(26, 27, `45`)}, `{"a":12,"model":"m","b":[,45]}`},
		"up to it":            {body, []Replacement{put(7, 15, `"x":1,"model": `), put(18, 19, ` , `)}, `{"a":1,"x":1,"model": "m" , "b":[2,3]}`},
		"inserted next to it": {body, []Replacement{put(15, 15, ` `), put(18, 18, `  `)}, `{"a":1,"model": "m"  ,"b":[2,3]}`},
		"inserted in order":   {body, []Replacement{put(0, 0, `1`), put(0, 0, `2`), put(29, 29, `3`), put(29, 29, `4`)}, `12` + body + `34`},
		"no model":            {`[1]`, []Replacement{put(0, 0, ` `), put(1, 2, `22`)}, ` [22]`},
		"all of it":           {`[1]`, []Replacement{put(0, 3, ``)}, ``},
	} {
		t.Run(name, func(t *testing.T) {
			r := named(test.body)
			given := *r
			for _, dst := range [][]byte{nil, make([]byte, 0, 10), []byte("kept")} {
				got, err := r.Edit(dst, test.replacements)
				if err != nil {
					t.Fatal(err)
				}
				if string(got.Body) != test.want || got.BodyLen != int64(len(test.want)) {
					t.Errorf("got %s of %d bytes, want %s", got.Body, got.BodyLen, test.want)
				}
				if given.ModelSpan != (Span{}) && string(got.Body[got.ModelSpan.Start:got.ModelSpan.End]) != `"m"` || given.ModelSpan == (Span{}) && got.ModelSpan != (Span{}) {
					t.Errorf("the model at %v of %s", got.ModelSpan, got.Body)
				}
				if got.Op != Chat || got.ID != "1" || got.Model != "m" || !got.Stream || got.Get("A") != "b" {
					t.Errorf("the rest became %+v", got)
				}
				if len(dst) > 0 && string(dst) != "kept" {
					t.Errorf("dst became %s", dst)
				}
			}
			if string(r.Body) != test.body || r.ModelSpan != given.ModelSpan || r.BodyLen != given.BodyLen {
				t.Errorf("the request became %s", r.Body)
			}
		})
	}
}

func TestEditRefuses(t *testing.T) {
	const body = `{"a":1,"model":"m","b":[2,3]}`
	for name, replacements := range map[string][]Replacement{
		"below the body":        {put(-1, 0, "")},
		"beyond the body":       {put(28, 30, "")},
		"behind the body":       {put(30, 30, "")},
		"backwards":             {put(6, 5, "")},
		"out of order":          {put(24, 25, ""), put(5, 6, "")},
		"overlapping":           {put(1, 6, ""), put(5, 7, "")},
		"inside another":        {put(1, 6, ""), put(3, 3, "x")},
		"the model":             {put(15, 18, `"n"`)},
		"the model's beginning": {put(7, 16, "")},
		"the model's end":       {put(17, 19, "")},
		"around the model":      {put(0, 29, "{}")},
		"into the model":        {put(16, 16, "x")},
	} {
		if got, err := named(body).Edit(nil, replacements); err == nil {
			t.Errorf("%s: got %s", name, got.Body)
		}
	}
	streamed := &Request{BodyReader: strings.NewReader("x"), BodyLen: 1}
	if _, err := streamed.Edit(nil, nil); err == nil {
		t.Error("a body that is not held was edited")
	}
}

// A span that is none in the body says nothing of it.
func TestEditWithoutModel(t *testing.T) {
	for _, s := range []Span{{}, {2, 2}, {3, 1}, {-1, 2}, {1, 9}} {
		r := &Request{Body: []byte("[1]"), ModelSpan: s}
		got, err := r.Edit(nil, []Replacement{put(0, 0, " ")})
		if err != nil || got.ModelSpan != (Span{}) || string(got.Body) != " [1]" {
			t.Errorf("%v: %s, the model at %v, %v", s, got.Body, got.ModelSpan, err)
		}
		if before, after, ok := r.CutModel(); ok || string(before) != "[1]" || after != nil {
			t.Errorf("%v: cut into %s and %s", s, before, after)
		}
	}
}

func TestCutModel(t *testing.T) {
	r := named(`{"model":"m","a":1}`)
	if before, after, ok := r.CutModel(); !ok || string(before) != `{"model":` || string(after) != `,"a":1}` {
		t.Errorf("cut into %s and %s", before, after)
	}
}

// naive replaces from the end, so that no place before it moves.
func naive(body string, replacements []Replacement) string {
	for i := len(replacements) - 1; i >= 0; i-- {
		s := replacements[i]
		body = body[:s.Start] + string(s.With) + body[s.End:]
	}
	return body
}

// FuzzEdit edits any bytes at any places and compares that with the naive way,
// and it puts values into the place of values in JSON.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`), []byte{0, 1, 3, 13, 8, 0, 250, 1, 1}, uint8(9), uint8(12))
	f.Add([]byte(`{"input":["a","b"],"model":"m"}`), []byte{9, 3, 0, 1, 3, 9}, uint8(27), uint8(30))
	f.Add([]byte(`{"a":{"b":[1,true,null,""]},"model":"\u006d","c":-1e3}`), []byte{1, 2, 3, 4, 5, 6, 7, 8}, uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, body, script []byte, start, end uint8) {
		r := &Request{Body: body, BodyLen: int64(len(body)), ModelSpan: Span{int(start), int(end)}}
		var replacements []Replacement
		for at := 0; len(script) >= 3; script = script[3:] { // skipped, replaced, with
			s := Span{at + int(int8(script[0])), 0}
			s.End = s.Start + int(int8(script[1]))
			replacements = append(replacements, Replacement{s, bytes.Repeat([]byte("x"), int(script[2]))})
			at = s.End
		}
		checkEdit(t, r, replacements)

		spans, model := values(body)
		r.ModelSpan = model
		replacements = replacements[:0]
		for i, s := range spans {
			if with := [...]string{`{"k":[1]}`, `""`, `null`, ""}[(int(start)+i*int(end|1))%4]; with != "" && (s.End <= model.Start || s.Start >= model.End) {
				replacements = append(replacements, Replacement{s, []byte(with)})
			}
		}
		if edited := checkEdit(t, r, replacements); edited != nil && json.Valid(body) && !json.Valid(edited.Body) {
			t.Errorf("%s became %s", body, edited.Body)
		}
	})
}

// checkEdit edits and holds the result to what is promised of it. It is nil where
// the edit was rightly refused.
func checkEdit(t *testing.T, r *Request, replacements []Replacement) *Request {
	given := bytes.Clone(r.Body)
	model := r.ModelSpan
	named := model.Start < model.End && model.End <= len(given)
	sound, end := true, 0
	for _, s := range replacements {
		sound = sound && s.Start >= end && s.End >= s.Start && s.End <= len(given)
		sound = sound && !(named && s.Start < model.End && s.End > model.Start)
		end = s.End
	}
	got, err := r.Edit([]byte("dst"), replacements)
	if (err == nil) != sound {
		t.Fatalf("%v of %q, the model at %v: %v", replacements, given, model, err)
	}
	if !bytes.Equal(r.Body, given) || r.ModelSpan != model {
		t.Fatal("the request was changed")
	}
	if err != nil {
		return nil
	}
	if want := naive(string(given), replacements); string(got.Body) != want || got.BodyLen != int64(len(want)) {
		t.Fatalf("%v of %q: %q, want %q", replacements, given, got.Body, want)
	}
	if !named {
		if got.ModelSpan != (Span{}) {
			t.Fatalf("a model at %v", got.ModelSpan)
		}
	} else if s := got.ModelSpan; string(got.Body[s.Start:s.End]) != string(given[model.Start:model.End]) {
		t.Fatalf("%v of %q: the model is %q", replacements, given, got.Body[s.Start:s.End])
	}
	return &got
}

// values finds the scalar values in a JSON document, but for the keys, and the
// model's name at its top.
func values(body []byte) (spans []Span, model Span) {
	dec := json.NewDecoder(bytes.NewReader(body))
	var open []json.Delim
	key, last := false, "" // a key comes next; the one before
	for {
		from := int(dec.InputOffset())
		token, err := dec.Token()
		if err != nil {
			return spans, model
		}
		object := len(open) > 0 && open[len(open)-1] == '{'
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				open = append(open, v)
				key = v == '{'
				continue
			}
			open = open[:len(open)-1]
			key = len(open) > 0 && open[len(open)-1] == '{'
		default:
			if object && key {
				key, last = false, token.(string)
				continue
			}
			end := int(dec.InputOffset())
			s := Span{from + bytes.IndexFunc(body[from:end], func(r rune) bool { return !strings.ContainsRune(" \t\r\n,:", r) }), end}
			if _, text := token.(string); text && len(open) == 1 && last == "model" {
				model = s
			}
			spans = append(spans, s)
			key = object
		}
	}
}

// large is a request of some megabytes with a replacement for each of its many
// messages.
func large() (*Request, []Replacement) {
	const messages = 500
	var b bytes.Buffer
	b.WriteString(`{"messages":[`)
	var replacements []Replacement
	for i := range messages {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"role":"user","content":`)
		start := b.Len()
		fmt.Fprintf(&b, `"%s"`, strings.Repeat("word ", 1000))
		replacements = append(replacements, Replacement{Span{start, b.Len()}, []byte(`"as said above"`)})
		b.WriteByte('}')
	}
	b.WriteString(`],"model":"m"}`)
	r := named(b.String())
	return r, replacements
}

// An edit takes one buffer, and none where it is given one that is large enough,
// however much is replaced.
func TestEditAllocations(t *testing.T) {
	r, replacements := large()
	dst := make([]byte, 0, len(r.Body))
	for _, test := range []struct {
		name    string
		dst     []byte
		ceiling float64
	}{{"no buffer", nil, 1}, {"a small buffer", make([]byte, 0, 100), 1}, {"a large buffer", dst, 0}} {
		var got Request
		n := testing.AllocsPerRun(20, func() {
			var err error
			if got, err = r.Edit(test.dst, replacements); err != nil {
				t.Fatal(err)
			}
		})
		if n > test.ceiling || string(got.Body[got.ModelSpan.Start:got.ModelSpan.End]) != `"m"` {
			t.Errorf("%s: %v allocations, ceiling %v", test.name, n, test.ceiling)
		}
	}
	if n := testing.AllocsPerRun(20, func() { _, _, _ = r.CutModel() }); n > 0 {
		t.Errorf("the model is cut out with %v allocations", n)
	}
}

func BenchmarkEdit(b *testing.B) {
	r, replacements := large()
	for _, n := range []int{1, len(replacements)} {
		for _, with := range []string{"shorter", "as long"} {
			chosen := slices.Clone(replacements[:n])
			if with == "as long" {
				for i := range chosen {
					chosen[i].With = r.Body[chosen[i].Start:chosen[i].End]
				}
			}
			b.Run(fmt.Sprintf("%s/replacements=%d", with, n), func(b *testing.B) {
				dst := make([]byte, 0, len(r.Body))
				b.SetBytes(int64(len(r.Body)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Edit(dst, chosen); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
