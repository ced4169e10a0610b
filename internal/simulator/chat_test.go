package simulator

import (
	"encoding/json"
	"strings"
	"testing"
)

const hello = `{"model":"sim-chat","messages":[{"role":"user","content":"Hello there"}]`

func TestStreamSaysWhatUnarySays(t *testing.T) {
	_, url := start(t)
	var whole chatReply
	if err := json.Unmarshal(read(t, post(t, url+"/v1/chat/completions", "", hello+`}`)), &whole); err != nil {
		t.Fatal(err)
	}
	stream := read(t, post(t, url+"/v1/chat/completions", "", hello+`,"stream":true,"stream_options":{"include_usage":true}}`))
	events := payloads(t, stream)
	if string(events[len(events)-1]) != "[DONE]" {
		t.Fatalf("the stream ends in %q", events[len(events)-1])
	}
	var text strings.Builder
	var total *usage
	for _, data := range events[:len(events)-1] {
		var c countedChunk
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		if c.ID != whole.ID {
			t.Fatalf("chunk id %s, want %s", c.ID, whole.ID)
		}
		for _, choice := range c.Choices {
			text.WriteString(value(choice.Delta.Content, ""))
		}
		if c.Usage != nil {
			total = c.Usage
		}
	}
	if want := *whole.Choices[0].Message.Content; text.String() != want || want == "" {
		t.Errorf("streamed %q, whole %q", text.String(), want)
	}
	if total == nil || *total != *whole.Usage || total.CompletionTokens != countTokens(text.String()) {
		t.Errorf("usage streamed %+v, whole %+v", total, whole.Usage)
	}
}
