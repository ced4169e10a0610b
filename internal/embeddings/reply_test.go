//go:build !race

package embeddings

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/llm"
)

func TestRead(t *testing.T) {
	item := func(members string) string { return `{` + members + `"embedding":"AA==" }` }
	for name, test := range map[string]struct {
		elements []string
		places   string // of each input's
	}{
		"one":               {[]string{item(`"index":0,`)}, "[0]"},
		"in order":          {counted(3), "[0 1 2]"},
		"in another order":  {[]string{item(`"index":2,`), item(`"o":1,"index" : 0 ,`), item(`"index":1,`)}, "[1 2 0]"},
		"without an index":  {[]string{item(``), item(`"o":{"index":7},`)}, "[0 1]"},
		"some have none":    {[]string{item(`"index":0,`), item(``)}, "[0 1]"},
		"some have others'": {[]string{item(`"index":2,`), item(``), item(`"index":0,`)}, "[2 1 0]"},
	} {
		t.Run(name, func(t *testing.T) {
			body := replyOf(test.elements...)
			r, err := Read(listed(), []byte(body), len(test.elements))
			if err != nil {
				t.Fatal(err)
			}
			var places []int
			for i, e := range r.Elements {
				places = append(places, e.Place)
				if got := body[e.At.Start:e.At.End]; got != test.elements[e.Place] {
					t.Errorf("input %d has %s", i, got)
				}
				v := r.Vector(i)
				index := ""
				if v.Indexed() {
					index = strconv.Itoa(i)
				}
				if got := string(v.Head) + index + string(v.Tail); got != test.elements[e.Place] {
					t.Errorf("input %d has the vector %s", i, got)
				}
			}
			if fmt.Sprint(places) != test.places || r.Model != `"gpt-e"` || r.Tokens != 9 {
				t.Errorf("%v, the model %s, %d tokens", places, r.Model, r.Tokens)
			}
			if got, _ := sent(t, framed{r.Frame(), r.Vector}); got != body || !r.Frame().Sound(len(r.Elements)) {
				t.Errorf("put together as %s, want %s", got, body)
			}
		})
	}
	r, err := Read(listed(), []byte(`{"data":[{"embedding":[]}],"model":7}`), 1)
	if err != nil || r.Model != "" || r.Tokens != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What is wrong with a reply is said, and not with the reply's own words.
func TestReadRefuses(t *testing.T) {
	for body, want := range map[string]string{
		`[`:                                   "no JSON",
		strings.Repeat("[", maxDepth+1):       "no JSON",
		`[]`:                                  "no data",
		`{}`:                                  "no data",
		`{"error":{"message":"m"},"data":[]}`: "tells of an error",
		`{"data":null}`:                       "0 elements for 2 inputs",
		`{"data":{"0":{"embedding":[]}}}`:     "0 elements for 2 inputs",
		replyOf():                             "0 elements for 2 inputs",
		replyOf(counted(1)...):                "1 elements for 2 inputs",
		replyOf(counted(3)...):                "more elements than the 2 inputs",
		replyOf(`{"index":0}`):                "element 0 has no embedding",
		replyOf(`{"embedding":[]}`, `{"index":1,"embedding":null}`): "element 1 has no embedding",
		replyOf(`7`, `8`): "element 0 has no embedding",
		replyOf(`{"index":1,"embedding":[]}`, `{"index":1,"embedding":1}`): "elements 0 and 1 are both of input 1",
		replyOf(`{"index":1,"embedding":[]}`, `{"embedding":1}`):           "elements 0 and 1 are both of input 1",
		replyOf(`{"index":2,"embedding":[]}`, `{"embedding":1}`):           "element 0 is that of none of the 2",
		replyOf(`{"index":-1,"embedding":[]}`):                             "element 0 is that of none of the 2",
		replyOf(`{"index":"1","embedding":[]}`):                            "element 0 is that of none of the 2",
		replyOf(`{"index":1.0,"embedding":[]}`):                            "element 0 is that of none of the 2",
		replyOf(`{"index":null,"embedding":[]}`):                           "element 0 is that of none of the 2",
		replyOf(`{"index":99999999999999999999,"embedding":[]}`):           "element 0 is that of none of the 2",
	} {
		if _, err := Read(listed(), []byte(body), 2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %s", body, err, want)
		}
	}
}

// The vectors of one reply are shared out to several callers, who get an index from
// 0 each and the tokens of theirs.
func TestList(t *testing.T) {
	elements := append(counted(3), `{"embedding":[3.5],"o":1}`)
	r, err := Read(listed(), []byte(replyOf(elements...)), 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		inputs []int
		tokens uint64
		want   string
	}{
		{[]int{2}, 3, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[2.5]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}`},
		{[]int{3, 0, 0}, 1 << 63, `{"object":"list","data":[{"index":0,"embedding":[3.5],"o":1},{"object":"embedding","index":1,"embedding":[0.5]},{"object":"embedding","index":2,"embedding":[0.5]}],` +
			`"model":"m","usage":{"prompt_tokens":9223372036854775808,"total_tokens":9223372036854775808}}`},
	} {
		if got, _ := sent(t, list{&r, test.inputs, test.tokens}); got != test.want {
			t.Errorf("got %s\nwant %s", got, test.want)
		}
	}
}

// A frame that comes from elsewhere is looked at before it is used.
func TestFrameSound(t *testing.T) {
	r, err := Read(listed(), []byte(replyOf(counted(2)...)), 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(f *Frame){
		"as it was":       func(*Frame) {},
		"too few":         func(f *Frame) { f.Ends = f.Ends[2:] },
		"too many":        func(f *Frame) { f.Ends = append(f.Ends, f.Ends[4], f.Ends[4]) },
		"none":            func(f *Frame) { f.Ends = nil },
		"no number":       func(f *Frame) { f.Body[f.Ends[0]] = 'x' },
		"negative":        func(f *Frame) { f.Ends[1]++; f.Body[f.Ends[0]], f.Body[f.Ends[0]+1] = '-', '1' },
		"far":             func(f *Frame) { f.Body[f.Ends[0]] = '9' },
		"twice":           func(f *Frame) { f.Body[f.Ends[0]] = '1' },
		"backwards":       func(f *Frame) { f.Ends[2], f.Ends[3] = f.Ends[3], f.Ends[2] },
		"before the last": func(f *Frame) { f.Ends[2], f.Ends[3] = 0, 0 },
		"beyond":          func(f *Frame) { f.Ends[3] = f.Ends[4] + 1 },
		"another end":     func(f *Frame) { f.Ends[4]-- },
	} {
		f := r.Frame()
		spoil(&f)
		if got := f.Sound(2); got != (name == "as it was") {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (Frame{Ends: make([]uint32, 2*MaxInputs+3)}).Sound(MaxInputs + 1) {
		t.Error("a frame of too many inputs is sound")
	}
}

// FuzzRead puts what was read together again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(replyOf(counted(2)...)), uint8(2))
	f.Add([]byte(`{"data":[{"embedding":[1]},{"index":0,"embedding":"AA"}]}`), uint8(2))
	f.Add([]byte(`{"usage":{"prompt_tokens":1e3},"data":[ {"index":0 ,"embedding":{}}, {"embedding":[],"index":2},{"index":1,"embedding":1}]}`), uint8(3))
	f.Fuzz(func(t *testing.T, body []byte, n uint8) {
		r, err := Read(listed(), body, int(n))
		if err != nil || n == 0 {
			return
		}
		frame := r.Frame()
		if !frame.Sound(int(n)) {
			t.Fatalf("%q has the frame %+v", body, frame)
		}
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		if got, _ := sent(t, framed{frame, r.Vector}); got != string(body) {
			t.Fatalf("%q was put together as %q", body, got)
		}
		got, _ := sent(t, list{&r, all, uint64(r.Tokens)})
		again, err := Read(listed(), []byte(got), int(n))
		if err != nil || !json.Valid([]byte(got)) || again.Tokens != r.Tokens {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		for i, e := range again.Elements {
			if e.Place != i || e.Index.End == 0 {
				t.Fatalf("%q became %q", body, got)
			}
			if v, w := r.Vector(i), again.Vector(i); v.Indexed() && string(v.Head)+string(v.Tail) != string(w.Head)+string(w.Tail) {
				t.Fatalf("vector %d was %q and is %q", i, v, w)
			}
		}
	})
}

// FuzzFrame looks at frames of anybody's making.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("a0b1c"), []byte{1, 2, 3, 4, 5}, uint8(2))
	f.Add([]byte("ab"), []byte{1, 1, 2}, uint8(1))
	f.Fuzz(func(t *testing.T, body, ends []byte, n uint8) {
		frame := Frame{Body: body}
		for _, end := range ends {
			frame.Ends = append(frame.Ends, uint32(end))
		}
		if !frame.Sound(int(n)) {
			return
		}
		seen := make([]bool, n)
		sent(t, framed{frame, func(i int) Vector {
			seen[i] = true
			return Vector{Tail: []byte(`{"embedding":1}`)}
		}})
		for i, ok := range seen {
			if !ok {
				t.Fatalf("%+v has no place for vector %d", frame, i)
			}
		}
	})
}

// Long vectors leave in pieces of a bounded length.
func TestPieces(t *testing.T) {
	for _, size := range []int{10, MaxPiece/3 - 100, MaxPiece, 3 * MaxPiece} {
		var elements []string
		for i := range 4 {
			elements = append(elements, fmt.Sprintf(`{"index":%d,"embedding":"%s"}`, i, strings.Repeat("x", size)))
		}
		r, err := Read(listed(), []byte(replyOf(elements...)), 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []Body{list{&r, []int{0, 1, 2, 3}, 1}, framed{r.Frame(), r.Vector}} {
			got, k := sent(t, b)
			if !json.Valid([]byte(got)) || k.longest > max(size, MaxPiece)+200 {
				t.Errorf("%d: %d events, the longest of %d bytes: %.100s", size, k.events, k.longest, got)
			}
		}
	}
}

// A client that has gone ends a reply.
func TestSendFails(t *testing.T) {
	long := strings.Repeat("x", 2*MaxPiece)
	r, err := Read(listed(), []byte(replyOf(`{"embedding":"`+long+`"}`, `{"embedding":"`+long+`"}`, `{"embedding":"`+long+`"}`)), 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*taker{{start: errGone}, {send: errGone}} {
		var c Composer
		buf := make([]byte, 0, 10)
		got, err := c.Send(&llm.Head{}, list{&r, []int{0, 1, 2}, 1}, k, buf)
		if err != errGone || k.events > 1 || got == nil {
			t.Errorf("%v after %d events", err, k.events)
		}
		if c.buf != nil || c.out != nil || c.err != nil {
			t.Errorf("the composer keeps %+v", c)
		}
	}
}

// none takes everything.
type none struct{}

func (none) Start(*llm.Head) error  { return nil }
func (none) Send([]llm.Event) error { return nil }

// Composing takes no memory, and reading a reply that of its elements.
func TestReplyAllocations(t *testing.T) {
	body := []byte(replyOf(counted(100)...))
	r, err := Read(listed(), body, 100)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int, 100)
	for i := range all {
		all[i] = i
	}
	c, buf, head := new(Composer), make([]byte, 0, MaxPiece), new(llm.Head)
	for name, b := range map[string]Body{"list": &list{&r, all, 9}, "frame": &framed{r.Frame(), r.Vector}} {
		if n := testing.AllocsPerRun(50, func() { _, _ = c.Send(head, b, none{}, buf) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	const ceiling = 2 // the elements, and the model's name
	if n := testing.AllocsPerRun(50, func() { _, _ = Read(listed(), body, 100) }); n > ceiling {
		t.Errorf("read with %v allocations, ceiling %d", n, ceiling)
	}
}

func BenchmarkCompose(b *testing.B) {
	vector := strings.Repeat("0.0123456789,", 1535) + "0"
	var elements []string
	for i := range 100 {
		elements = append(elements, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%s]}`, i, vector))
	}
	body := []byte(replyOf(elements...))
	r, err := Read(listed(), body, 100)
	if err != nil {
		b.Fatal(err)
	}
	c, buf, head := new(Composer), make([]byte, 0, MaxPiece), new(llm.Head)
	reply := &framed{r.Frame(), r.Vector}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = c.Send(head, reply, none{}, buf); err != nil {
			b.Fatal(err)
		}
	}
}
