package translate

import (
	"context"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// TestEmbeddingsAreAskedTogether: several inputs are one request to a service, whichever of its API's
// operations for embeddings it is known by.
func TestEmbeddingsAreAskedTogether(t *testing.T) {
	for _, native := range []llm.Operation{llm.EmbedContent, llm.BatchEmbedContents} {
		var got *llm.Request
		o := Options{To: llm.GenerateContent, MaxReply: 1 << 20}
		o.Native[native] = true
		h := New(llm.HandlerFunc(func(_ context.Context, req *llm.Request, out llm.Sink) error {
			got = req
			if err := out.Start(&llm.Head{Status: 200, Kind: llm.Unary, Length: -1}); err != nil {
				return err
			}
			return out.Send([]llm.Event{{Raw: []byte(`{"embeddings":[{"values":[1]},{"values":[2]}]}`)}})
		}), o)
		const body = `{"model":"m","input":["a","b"]}`
		reply := testkit.Ask(t, h, &llm.Request{Op: llm.Embedding, Method: "POST", Path: "/v1/embeddings", Model: "m", Body: []byte(body), BodyLen: int64(len(body))})
		if got == nil || got.Op != llm.BatchEmbedContents {
			t.Errorf("%v: asked %+v", native, got)
		}
		if want := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]},{"object":"embedding","index":1,"embedding":[2]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`; string(reply.Body) != want {
			t.Errorf("%v: %s", native, reply.Body)
		}
	}
}

// TestEmbeddersAgree: what an API asks its services with is an operation of its own that takes
// what it has written.
func TestEmbeddersAgree(t *testing.T) {
	for op := range llm.Operations {
		e := known.EmbedderOf(op)
		if e == nil {
			continue
		}
		v := dialect.Vectors{Model: "m", Inputs: [][]byte{[]byte(`"a"`), []byte(`"b"`)}}
		asked := e.WriteInputs(nil, &v)
		to := known.EmbedderOf(asked.Op)
		if to == nil {
			t.Errorf("%v asks with %v, which takes no inputs", op, asked.Op)
			continue
		}
		read := dialect.Vectors{Model: "m"}
		if err := to.ReadInputs(&read, asked.Body); err != nil || len(read.Inputs) != 2 || to.WriteInputs(nil, &v).Op != asked.Op {
			t.Errorf("%v asks with %v, which reads %q, %v", op, asked.Op, read.Inputs, err)
		}
	}
}
