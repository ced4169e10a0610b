package route

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sluice/internal/llm"
	"sluice/internal/testkit"
	"strings"
	"testing"
)

// saying makes a request of a body. The model's name is found where it is "m".
func saying(op llm.Operation, text string) *llm.Request {
	req := &llm.Request{Op: op, Model: "m", Body: []byte(text), BodyLen: int64(len(text))}
	if at := strings.Index(text, `"m"`); at >= 0 {
		req.ModelSpan = llm.Span{Start: at, End: at + 3}
	}
	return req
}

// common counts the marks that two requests begin with.
func common(t *testing.T, a, b *llm.Request) (n int, p, q prefix) {
	t.Helper()
	if !p.read(a, "m") || !q.read(b, "m") {
		t.Fatalf("nothing is read of %.100s or %.100s", a.Body, b.Body)
	}
	for n < p.n && n < q.n && p.marks[n] == q.marks[n] {
		n++
	}
	return n, p, q
}

// TestTurns: what follows leaves the marks where they are, and the conversation
// what it was known by, whatever the client and the API.
func TestTurns(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1000)
	for name, c := range map[string]struct {
		op            llm.Operation
		first, second string
	}{
		"one message":     {llm.Chat, `{"model":"m","messages":[{"role":"user","content":"a"}]}`, `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"stream":true}`},
		"spaces":          {llm.Chat, `{"messages": [{"content": "\"role\": \"x\" ]}", "role" : "user"}], "model": "m", "tools": [1]}`, `{"messages": [{"content": "\"role\": \"x\" ]}", "role" : "user"}, {"role": "user", "content": ""}], "model": "m", "temperature": 1, "tools": [1]}`},
		"long system":     {llm.Chat, `{"model":"m","messages":[{"role":"system","content":"` + long + `"},{"role":"user","content":"a"}]}`, `{"model":"m","messages":[{"role":"system","content":"` + long + `"},{"role":"user","content":"a"},{}]}`},
		"long turn":       {llm.Chat, `{"model":"m","messages":[{"role":"user","content":"` + long + `"}]}`, `{"model":"m","messages":[{"role":"user","content":"` + long + `"},{"role":"user","content":"` + long + long + long + long + long + `"}]}`},
		"prompt":          {llm.Completion, `{"model":"m","prompt":"` + long + `"}`, `{"model":"m","prompt":"` + long + `more"}`},
		"input":           {llm.Response, `{"model":"m","instructions":"be brief","input":[{"role":"user","content":"a"}]}`, `{"input":[{"role":"user","content":"a"},{"type":"reasoning"}],"model":"m","instructions":"be brief"}`},
		"members move":    {llm.Chat, `{"tools":[{"a":1}],"functions":[2],"messages":[{"role":"user"}],"model":"m"}`, `{"functions":[2],"user":"x","tools":[{"a":1}],"messages":[{"role":"user"},{}],"model":"m"}`},
		"other messages":  {llm.Messages, `{"model":"m","system":"s","messages":[{"role":"user","content":"a"}]}`, `{"model":"m","system":"s","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`},
		"beyond the head": {llm.Chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[1]}`, `{"model":"m","messages":[{"role":"user","content":"a"},{}],"tools":[1]}`},
	} {
		a, b := saying(c.op, c.first), saying(c.op, c.second)

		n, p, q := common(t, a, b)
		if n <= p.own && name != "prompt" || n == 0 || p.key != q.key {
			t.Errorf("%s: %d marks of %d and %d are the same, those from %d its own; known by %x and %x", name, n, p.n, q.n, p.own, p.key, q.key)
		}
	}
}

// TestOthers: conversations that differ are not taken for one another.
func TestOthers(t *testing.T) {
	base := `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]}`
	for _, other := range []string{
		`{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"b"}]}`,
		`{"model":"m","messages":[{"role":"system","content":"t"},{"role":"user","content":"a"}]}`,
		`{"tools":[],"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]}`,
	} {
		if n, p, q := common(t, saying(llm.Chat, base), saying(llm.Chat, other)); n > p.own || p.key == q.key {
			t.Errorf("%s: %d marks are the same", other, n)
		}
	}
	var p, q prefix
	if p.read(saying(llm.Chat, base), "m"); !q.read(saying(llm.Chat, base), "n") || p.key == q.key {
		t.Error("another model has the same beginnings")
	}
	for _, nothing := range []*llm.Request{
		saying(llm.Embedding, `{"model":"m","input":"a"}`), saying(llm.Chat, `{"model":"m"}`), saying(llm.Chat, `{"model":"m","messages":[]}`), saying(llm.Chat, ``),
		saying(llm.Chat, `[]`), saying(llm.Chat, `{"messages":7}`), saying(llm.Passthrough, base), {Op: llm.Chat, BodyReader: strings.NewReader(base)},
	} {
		if q = (prefix{}); q.read(nothing, "m") {
			t.Errorf("something is read of %s", nothing.Body)
		}
	}
}

// TestWindows: of a large body only its beginning is looked at.
func TestWindows(t *testing.T) {
	req := picking(t, 1, 4<<20).req
	var p, q prefix
	p.read(&req, "m")
	clear(req.Body[len(`{"model":"m","messages":`)+prefixWindow:])
	if q.read(&req, "m"); p != q || p.n == 0 {
		t.Error("what is behind the window counts")
	}
	last := p.marks[p.n-1].at
	if last < prefixWindow/2 || last > prefixWindow {
		t.Errorf("the last mark is at %d", last)
	}
	// A member in front that is larger than what is searched.
	long := saying(llm.Chat, `{"metadata":"`+strings.Repeat("x", scanWindow)+`","messages":[{"role":"user"}]}`)
	if q = (prefix{}); q.read(long, "m") {
		t.Error("the whole of a member was passed over")
	}
}

// TestPrefixesAreBounded: those that are used stay, however many others there are.
func TestPrefixesAreBounded(t *testing.T) {
	testkit.Simulation(t)
	var ps prefixes
	used, other := &prefix{n: 4}, &prefix{n: maxMarks}
	for i := range used.n {
		used.marks[i] = mark{hash: uint64(i + 1)}
	}
	if ps.had(1) != 0 {
		t.Error("something is known at first")
	}
	ps.learn(used, 1)
	ps.learn(used, 4)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		for m := range other.marks {
			other.marks[m].hash = random.Uint64()
		}
		if ps.learn(other, 2); i%200 == 0 {
			ps.learn(used, 1)
		}
	}
	if ps.had(1) != 5 || ps.had(4) != 5 || ps.had(other.marks[0].hash) != 2 {
		t.Errorf("%b, %b, %b", ps.had(1), ps.had(4), ps.had(other.marks[0].hash))
	}
}

func FuzzPrefix(f *testing.F) {
	for _, text := range []string{
		`{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":[1]}`,
		`{"prompt":"a\"b","model":"m"}`, `{"input":["a",["b"]],"instructions":"x"}`, `{"messages":[`, `{"messages":["`, `{"":`, `{"system":{"messages":[]}}`,
		`{"model":"m","messages":[{"role":"system","content":"` + strings.Repeat("long ", 3000) + `"},{"role" : "user"}]}`,
	} {
		f.Add([]byte(text), 9, 12, uint8(0))
	}
	f.Fuzz(func(t *testing.T, text []byte, start, end int, op uint8) {
		req := &llm.Request{Op: llm.Operation(op % 8), Path: "/v1/messages", Body: text, ModelSpan: llm.Span{Start: start, End: end}}
		given := bytes.Clone(text)
		var p prefix
		ok := p.read(req, "m")
		if !bytes.Equal(given, text) {
			t.Fatal("the body was changed")
		}
		if ok != (p.n > 0) || p.n > maxMarks || p.own < 0 || p.own >= max(p.n, 1) {
			t.Fatalf("%d marks, own from %d, %v", p.n, p.own, ok)
		}
		for i, m := range p.marks[:p.n] {
			if i > 0 && m.at < p.marks[i-1].at || m.at > 2*scanWindow+prefixWindow {
				t.Fatalf("mark %d is at %d", i, m.at)
			}
		}
		// What follows does not move the marks that are not at the end.
		if i := bytes.LastIndexByte(text, ']'); ok && i >= 0 && bytes.HasPrefix(text, []byte(`{"messages":[`)) && op%8 == 0 {
			var q prefix
			req.Body = fmt.Appendf(nil, `%s,{"role":"user"}]}`, text[:i])
			if q.read(req, "m") && p.n > 2 && len(text) < prefixWindow && !bytes.ContainsAny(text[13:i], "[]") && q.n > 0 && q.marks[0] != p.marks[0] {
				t.Fatalf("the first mark moved from %v to %v", p.marks[0], q.marks[0])
			}
		}
	})
}
