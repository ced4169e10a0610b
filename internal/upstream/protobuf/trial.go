package protobuf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/upstream"
)

// Trial shows what a mapping makes of a request, without a call: for people who write
// one.
type Trial struct {
	Method  string // that would be called, as /package.Service/Method
	Message []byte // that would be sent, as JSON

	method *method
	op     llm.Operation
	body   []byte
	model  string
	stream bool
}

// Try makes a Trial of a request for the upstream called name: embeddings where it has
// "input", a completion where it has "prompt", else a chat. The upstream itself is asked
// for its schema alone, where it is the one to tell it; way is its TLS. upstreamModel gives
// the upstream's name of a model from that in the request.
func (c *Config) Try(ctx context.Context, name string, way *upstream.TLS, body []byte, upstreamModel func(model string) (string, error)) (*Trial, error) {
	if err := jsonscan.Validate(body, 0); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	from, err := newSource(*c, Paths{}, name, way)
	if err != nil {
		return nil, err
	}
	s, err := from.service(ctx)
	if err != nil {
		return nil, err
	}
	t := &Trial{op: llm.Chat, body: body}
	has := func(name string) bool { _, ok := jsonscan.Get(body, name); return ok }
	switch {
	case has("messages"):
	case has("input"):
		t.op = llm.Embedding
	case has("prompt"):
		t.op = llm.Completion
	}
	if v, ok := jsonscan.Get(body, "stream"); ok {
		t.stream, _ = jsonscan.Bool(body[v.Start:v.End])
	}
	if v, ok := jsonscan.Get(body, "model"); ok && body[v.Start] == '"' {
		if t.model, err = jsonscan.String(body[v.Start:v.End]); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
	}
	theirs, err := upstreamModel(t.model)
	if err != nil {
		return nil, err
	}
	if t.method = choose(s, &llm.Request{Op: t.op, Stream: t.stream}); t.method == nil {
		return nil, fmt.Errorf("the mapping has no call for %s", t.op)
	}
	t.Method = t.method.Path()
	in := mapping.Input{Body: body, UpstreamModel: theirs, RequestID: "req_trial-1", Stream: t.stream}
	if in.Prompt, err = s.prompts.of(t.op, body, nil); err != nil {
		return nil, err
	}
	if t.Message, err = t.method.AppendJSON(nil, &in); err != nil {
		return nil, err
	}
	// What JSON says may still be nothing that a field takes.
	if _, err := t.method.AppendMessage(nil, &in); err != nil {
		return nil, err
	}
	return t, nil
}

// Reply gives what a client would get for the service's reply: one message in JSON, or,
// of a stream, several one after the other.
func (t *Trial) Reply(messages []byte) ([]byte, error) {
	r := t.method.NewReader()
	w := mapping.Writer{ID: "trial", Model: t.model, Text: t.op == llm.Completion}
	events := t.stream && t.op != llm.Embedding
	w.IncludeUsage = events && wantsUsage(t.body)
	var all mapping.Collector
	var out []byte
	for n, in := 1, json.NewDecoder(bytes.NewReader(messages)); ; n++ {
		var message json.RawMessage
		if err := in.Decode(&message); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read message %d: %w", n, err)
		}
		e, err := t.read(r, message)
		if err != nil {
			return nil, fmt.Errorf("read message %d: %w", n, err)
		}
		switch {
		case e.Error != nil:
			return nil, fmt.Errorf("message %d tells of an error: %s, code %s", n, e.Error.Message, e.Error.Code)
		case t.op == llm.Embedding:
			return w.AppendEmbeddings(nil, e, wantsBase64(t.body))
		case events:
			out = w.AppendChunks(out, e)
		default:
			err = all.Add(e)
		}
		if err != nil {
			return nil, err
		}
	}
	if events {
		return append(w.AppendEnd(out, r.Usage()), "data: [DONE]\n\n"...), nil
	}
	if len(all.Event().Choices) == 0 {
		return nil, errors.New("the reply has no choice")
	}
	return w.AppendReply(nil, all.Event()), nil
}

func (t *Trial) read(r *mapping.Reader, message []byte) (*mapping.Event, error) {
	wire, err := t.method.AppendReply(nil, message)
	if err != nil {
		return nil, err
	}
	return r.Read(wire)
}
