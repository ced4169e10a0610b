//go:build !race

package embeddings

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// listed is a form whose elements are in a list and have indices.
func listed() *Form {
	return &Form{
		Op: llm.Embedding, Inputs: "input", Data: "data", Vector: "embedding", Index: "index",
		Head: `{"object":"list","data":[`, Tail: "]", Model: `,"model":`,
		Counts: [2]string{`,"usage":{"prompt_tokens":`, `,"total_tokens":`}, CountsEnd: "}", End: "}",
	}
}

// objects is one whose inputs are objects, of calls that have a list of them or are one.
func objects(one bool) *Form {
	f := &Form{Op: llm.BatchEmbedContents, Shared: true, Objects: true, Vector: "values", Counts: [2]string{`,"count":{"n":`}, CountsEnd: "}", End: "}"}
	if one {
		f.One, f.Head = "embedding", `{"embedding":`
	} else {
		f.Inputs, f.Data, f.Head, f.Tail = "requests", "embeddings", `{"embeddings":[`, "]"
	}
	return f
}

// call makes a call of an input, as JSON, that stands before the model or after it.
func call(input string, after bool) *llm.Request {
	body := `{"dimensions":3,"input":` + input + `, "model" : "m","encoding_format":"base64","user":"u"}`
	if after {
		body = `{"model":"m","user":"u", "input" :` + input + `}`
	}
	at := strings.LastIndex(body, `"m"`)
	return &llm.Request{Op: llm.Embedding, Model: "m", ModelSpan: llm.Span{Start: at, End: at + 3}, Body: []byte(body), BodyLen: int64(len(body))}
}

// split gives a call's inputs.
func split(t testing.TB, in *Inputs, body []byte) (inputs [][]byte) {
	t.Helper()
	if !in.Split(listed(), body) {
		t.Fatalf("%s was not split", body)
	}
	for _, at := range in.Items {
		inputs = append(inputs, body[at.Start:at.End])
	}
	return inputs
}

// taker is a sink that checks what it is promised.
type taker struct {
	t           testing.TB
	head        llm.Head
	body        bytes.Buffer
	events      int
	longest     int
	start, send error
}

func (k *taker) Start(h *llm.Head) error { k.head = *h; return k.start }

func (k *taker) Send(events []llm.Event) error {
	for _, e := range events {
		k.events++
		k.longest = max(k.longest, len(e.Raw))
		k.body.Write(e.Raw)
	}
	return k.send
}

var errGone = errors.New("gone")

// sent composes a body and gives what a client gets of it.
func sent(t testing.TB, b Body) (string, *taker) {
	t.Helper()
	k, c := &taker{t: t}, Composer{}
	head := llm.Head{Status: 200}
	if _, err := c.Send(&head, b, k, nil); err != nil {
		t.Fatal(err)
	}
	if k.head.Length != int64(k.body.Len()) || (k.head.Kind == llm.Unary) != (k.body.Len() <= MaxPiece) || k.head.Kind == llm.Unary && k.events != 1 {
		t.Fatalf("%d events of %d bytes, head %+v", k.events, k.body.Len(), k.head)
	}
	return k.body.String(), k
}

// list is a Body of the usual form, framed one of the form of an earlier reply.
type list struct {
	reply  *Reply
	inputs []int // of the reply
	tokens uint64
}

func (l list) Compose(c *Composer) {
	c.List(listed(), len(l.inputs), func(i int) Vector { return l.reply.Vector(l.inputs[i]) }, `"m"`, l.tokens)
}

type framed struct {
	frame  Frame
	vector func(int) Vector
}

func (f framed) Compose(c *Composer) { c.Frame(f.frame, f.vector) }

// replyOf makes a reply of elements.
func replyOf(elements ...string) string {
	return `{ "data" : [` + strings.Join(elements, " , ") + `],"model":"gpt-e","usage":{"prompt_tokens":9,"total_tokens":9},"x":1}`
}

// counted makes n elements with their indices.
func counted(n int) (elements []string) {
	for i := range n {
		elements = append(elements, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%d.5]}`, i, i))
	}
	return elements
}
