package mapping

import (
	"bytes"
	"encoding/base64"
	"errors"
	"runtime"
	"strings"
	"testing"

	"sluice/internal/testkit"
)

var errFull = errors.New("it is full")

// budget is memory that is counted.
type budget struct {
	most  int
	held  int
	taken int // in all
}

func (b *budget) reserve(n int) error {
	if b.held+n > b.most {
		return errFull
	}
	b.held += n
	b.taken += max(n, 0)
	return nil
}

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// TestMemoryAlloc: what a small message becomes, and what a mapping makes of a request, is
// reserved before it is there, and given back. What is refused is not made.
func TestMemoryAlloc(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	const row = "        - values: =r.tensors[0].floats\n          width: =r.tensors[0].shape[1]\n"
	each := invented(t, row, "        $each: t in r.tensors\n        values: =t.floats\n").Embed
	width := invented(t, "width: =r.tensors[0].shape[1]", "width: 1").Embed
	loose := invented(t, row, "        - {values: '=json(r.tensors[0].loose) + json(r.tensors) == \"\" ? r.tensors[0].loose : list(r.texts)[0]'}\n").Embed
	bytesOf := invented(t, "values: =r.tensors[0].floats", "values: =list(r.texts)[0]", "width: =r.tensors[0].shape[1]", "width: 1").Embed
	chat := func(content string) *Call {
		list, err := load(t, schemaOf(t, "xai.proto"), "x:\n  call: {unary: xai_api.Chat/GetCompletion}\n  response: {}\n  request:\n    model: "+content+"\n")
		if err != nil {
			t.Fatal(err)
		}
		return list[0].Unary
	}
	few := `{"messages":[` + strings.Repeat(`{"role":"user","content":"x"},`, 100) + `{"role":""}]}`
	raw := base64.StdEncoding.EncodeToString(make([]byte, 1<<20))
	for _, c := range []struct {
		name string
		call *Call
		wire []byte // of a reply
		body string // of a request
	}{
		{"empty vectors", each, bytes.Repeat([]byte{1<<3 | 2, 0}, 200_000), ""},
		{"vectors of one number", width, message(t, width.Method.Output(), `{"tensors":[{"floats":[`+strings.Repeat("1,", 200_000)+`1]}]}`), ""},
		{"printed numbers", loose, message(t, loose.Method.Output(), `{"tensors":[{"loose":[`+strings.Repeat("1,", 50_000)+`1]}],"texts":["AAAAAA=="]}`), ""},
		{"base64", bytesOf, message(t, bytesOf.Method.Output(), `{"tensors":[{"used":"9"}],"texts":["`+raw+`"]}`), ""},
		{"a text put together", chat("{$each: a in req.messages, $join: '=json(req.messages) + json(req)'}"), nil, few},
		{"an array in a text", chat("{$json: {$each: [a in req.messages, b in req.messages], c: =a}}"), nil, few},
		{"lists put together", chat("{$each: [a in req.messages, b in req.messages + req.messages], $join: =a.role}"), nil, few},
		{"escapes", chat("{$each: a in req.messages, $join: '=a.content + \"\"'}"), nil, `{"messages":[{"content":"` + strings.Repeat(`\n`, 500_000) + `"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := []byte(c.body)
			work := func(b *budget) (err error) {
				if c.wire == nil {
					_, err = c.call.AppendMessage(nil, &Input{Body: body, UpstreamModel: "m", Reserve: b.reserve})
					return err
				}
				r := c.call.NewReader()
				r.Reserve = b.reserve
				_, err = r.Read(c.wire)
				r.Reset()
				return err
			}
			large := &budget{most: 1 << 30}
			var err error
			if n := allocated(func() { err = work(large) }); n > large.taken+large.taken/4+512<<10 {
				t.Errorf("%d bytes were allocated, and %d reserved", n, large.taken)
			}
			if err != nil {
				t.Error(err)
			}
			if c.wire != nil && large.held != 0 {
				t.Errorf("%d bytes are still reserved", large.held)
			}
			small := &budget{most: 256 << 10}
			if n := allocated(func() { err = work(small) }); n > 1<<20 {
				t.Errorf("%d bytes were allocated, of %d that there are", n, small.most)
			}
			if !errors.Is(err, errFull) || small.held != 0 {
				t.Errorf("%v, %d bytes are still reserved", err, small.held)
			}
		})
	}
}

// TestManyVectors: a message with more vectors than there are inputs is none.
func TestManyVectors(t *testing.T) {
	r := invented(t).Embed.NewReader()
	wire := message(t, r.call.Method.Output(), `{"tensors":[{"shape":["3","1"],"floats":[1,2,3]}]}`)
	r.Vectors = 2
	if _, err := r.Read(wire); err == nil || !strings.Contains(err.Error(), "more than the 2 vectors that are expected") {
		t.Errorf("%v", err)
	}
	r.Vectors = 3
	if e, err := r.Read(wire); err != nil || len(e.Embeddings) != 3 {
		t.Errorf("%v", err)
	}
}

// TestManyCalls: of calls of tools no reply has more than a number, in all choices.
func TestManyCalls(t *testing.T) {
	c := xai(t).Unary
	wire := message(t, c.Method.Output(), `{"outputs":[{"message":{"toolCalls":[`+strings.Repeat("{},", 200_000)+`{}]}}]}`)
	if _, err := c.NewReader().Read(wire); err == nil || !strings.Contains(err.Error(), tooMany) {
		t.Errorf("%v", err)
	}
	b := &budget{most: 8 << 20}
	all, w := Collector{Reserve: b.reserve}, Writer{}
	var out []byte
	for i := range 2 * maxCalls {
		e := &Event{Choices: []Choice{{Index: i % 7, ToolCalls: []ToolCall{{Index: i, Arguments: []byte(`"a"`)}}}}}
		if err := all.Add(e); err != nil {
			t.Fatal(err)
		}
		out = w.AppendChunks(out[:0], e)
	}
	n := 0
	for _, c := range all.Event().Choices {
		n += len(c.ToolCalls)
	}
	if n != maxCalls || w.calls != maxCalls {
		t.Errorf("%d and %d calls", n, w.calls)
	}
	b.most = b.held + 100<<10
	if err := all.Add(&Event{Choices: []Choice{{Text: []byte(`"` + strings.Repeat("x", 200<<10) + `"`)}}}); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}
