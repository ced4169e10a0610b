//go:build !race

package replay

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"sluice/internal/llm"
	"sluice/internal/testkit"
)

// TestEventsAsOpenAIDescribes validates every event of a replay. The chunks of
// completions are not described apart from whole replies.
func TestEventsAsOpenAIDescribes(t *testing.T) {
	testkit.Each(t, testEvents)
}

func testEvents(t *testing.T, in testkit.Inputs) {
	var described testkit.Descriptions
	for op, name := range map[llm.Operation]string{
		llm.Chat: "CreateChatCompletionStreamResponse", llm.Response: "ResponseStreamEvent",
	} {
		schema := described.Schema(t, in, name)
		_, datas, ok := stream(t, op, []byte(samples[op]), true)
		if !ok {
			t.Errorf("%v was refused", op)
		}
		for _, data := range datas {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := v.(object)["response"].(object); ok && r["usage"] == nil {
				delete(r, "usage") // OpenAI's servers send null, which is not in the description
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: %v", data, err)
			}
		}
	}
}
