package dedup

import (
	"bytes"
	"encoding/json"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

// dialects are the operations whose requests are looked into.
func dialects() []llm.Operation {
	return []llm.Operation{llm.Chat, llm.Response, llm.Messages, llm.GenerateContent}
}

// talk is a conversation in a dialect: its messages, and members of the body before them.
type talk struct {
	prompt   string
	messages []json.RawMessage
}

func (c talk) body(op llm.Operation) []byte {
	return bytes.Replace(body(op, c.messages), []byte(`{"model":"m",`), []byte(`{"model":"m",`+c.prompt), 1)
}

// translated gives messages of a chat completion in another dialect, all of them as translation
// writes them.
func translated(t testing.TB, op llm.Operation, messages []json.RawMessage) talk {
	t.Helper()
	switch op {
	case llm.Chat:
		return talk{messages: messages}
	case llm.Response:
		return talk{messages: items(messages)}
	}
	c := dialect.Conversation{Model: "m"}
	if err := known.Of(llm.Chat).ReadRequest(&c, body(llm.Chat, messages)); err != nil {
		t.Fatal(err)
	}
	asked, err := known.Of(op).WriteRequest(nil, &c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		System             json.RawMessage
		SystemInstruction  json.RawMessage
		Messages, Contents []json.RawMessage
	}
	if err := json.Unmarshal(asked.Body, &said); err != nil {
		t.Fatal(err)
	}
	var c2 talk
	switch c2.messages = said.Messages; {
	case op == llm.GenerateContent:
		if c2.messages = said.Contents; said.SystemInstruction != nil {
			c2.prompt = `"systemInstruction":` + string(said.SystemInstruction) + `,`
		}
	case said.System != nil:
		c2.prompt = `"system":` + string(said.System) + `,`
	}
	if len(c2.messages) == 0 {
		t.Fatalf("nothing was written: %s", asked.Body)
	}
	return c2
}
