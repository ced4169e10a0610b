//go:build !race

package gemini

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/chat"
	"sluice/internal/dialect/messages"
	"sluice/internal/sse"
)

// TestSignaturesThroughMessages: a client of the Messages API that sends a message back as it
// got it has the service see its own signature where that was, whole and streamed.
func TestSignaturesThroughMessages(t *testing.T) {
	const thought = `{"text":"Hm.","thought":true},`
	for name, parts := range map[string]string{
		"thought and call":   thought + `{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"AA=="},{"functionCall":{"id":"b","name":"f","args":{}}}`,
		"call alone":         `{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"AA=="}`,
		"thought, then text": thought + `{"text":"So.","thoughtSignature":"AA=="}`,
	} {
		reply := `{"candidates":[{"content":{"parts":[` + parts + `],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3}}`
		var said dialect.Said
		if err := (Dialect{}).NewReader().Whole([]byte(reply), said.Add); err != nil {
			t.Fatal(err)
		}
		w := messages.Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		again(t, name, w.Whole(nil, &said), parts)

		// As a stream, whose blocks a client puts together.
		var streamed dialect.Said
		r := messages.Dialect{}.NewReader()
		for _, raw := range split(t, []byte(translated(t, Dialect{}, messages.Dialect{}, "data: "+reply+"\n\n"))) {
			if err := r.Event(raw, streamed.Add); err != nil {
				t.Fatal(err)
			}
		}
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		again(t, name+", streamed", w.Whole(nil, &streamed), parts)
	}
}

// again has a message of the Messages API sent back to a service of this one.
func again(t *testing.T, name string, message []byte, want string) {
	t.Helper()
	_, content, _ := strings.Cut(string(message), `"content":`)
	content, _, _ = strings.Cut(content, `,"stop_reason"`)
	asked, lost := ask(t, messages.Dialect{}, Dialect{}, "gemini-3-flash", `{"model":"gemini-3-flash","max_tokens":9,"messages":[{"role":"assistant","content":`+content+`}]}`)
	equal(t, name, asked.Body, `{"contents":[{"role":"model","parts":[`+want+`]}],"generationConfig":{"maxOutputTokens":9}}`)
	if lost != "" {
		t.Errorf("%s loses %s", name, lost)
	}
}

// TestSignaturesThroughChat is the same for a client of Chat Completions, whose message has its
// text in one place and its calls in another.
func TestSignaturesThroughChat(t *testing.T) {
	const (
		thought = `{"text":"Hm.","thought":true},`
		callA   = `{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"AA=="}`
		callB   = `{"functionCall":{"id":"b","name":"g","args":{}}`
	)
	for _, parts := range []string{
		thought + callA + "," + callB + "}",
		callA,
		callA + "," + callB + `,"thoughtSignature":"BB=="}`,
		thought + `{"text":"So.","thoughtSignature":"AA=="}`,
		`{"text":"So."},` + callA,
		`{"text":"So."},` + callA + "," + callB + "}",
		thought + `{"text":"So."},` + callA,
		thought + `{"text":"So.","thoughtSignature":"CC=="},` + callA + "," + callB + `,"thoughtSignature":"BB=="}`,
	} {
		reply := `{"candidates":[{"content":{"parts":[` + parts + `],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3}}`
		var said dialect.Said
		if err := (Dialect{}).NewReader().Whole([]byte(reply), said.Add); err != nil {
			t.Fatal(err)
		}
		w := chat.Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		var whole struct {
			Choices []struct{ Message json.RawMessage }
		}
		if err := json.Unmarshal(w.Whole(nil, &said), &whole); err != nil {
			t.Fatal(err)
		}
		backFromChat(t, whole.Choices[0].Message, parts)
		backFromChat(t, gatheredChat(t, translated(t, Dialect{}, chat.Dialect{}, "data: "+reply+"\n\n")), parts)
	}
}

// gatheredChat is the message that a client puts together of a stream whose calls come whole.
func gatheredChat(t *testing.T, stream string) []byte {
	t.Helper()
	message := struct {
		Role             string            `json:"role"`
		Content          string            `json:"content"`
		ReasoningContent string            `json:"reasoning_content,omitempty"`
		ReasoningDetails []json.RawMessage `json:"reasoning_details,omitempty"`
		ToolCalls        []json.RawMessage `json:"tool_calls,omitempty"`
	}{}
	for _, raw := range split(t, []byte(stream)) {
		data, ok := sse.Data(raw, nil)
		if !ok || sse.IsDone(data) {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta json.RawMessage }
		}
		if err := json.Unmarshal(data, &chunk); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunk.Choices {
			before := message
			message.ReasoningDetails, message.ToolCalls, message.Content, message.ReasoningContent = nil, nil, "", ""
			if err := json.Unmarshal(c.Delta, &message); err != nil {
				t.Fatal(err)
			}
			message.Content, message.ReasoningContent = before.Content+message.Content, before.ReasoningContent+message.ReasoningContent
			message.ReasoningDetails = append(before.ReasoningDetails, message.ReasoningDetails...)
			message.ToolCalls = append(before.ToolCalls, message.ToolCalls...)
		}
	}
	body, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// backFromChat has a message of Chat Completions sent back to a service of this API.
func backFromChat(t *testing.T, message []byte, want string) {
	t.Helper()
	asked, lost := ask(t, chat.Dialect{}, Dialect{}, "gemini-2.5-flash", `{"model":"gemini-2.5-flash","messages":[`+string(message)+`]}`)
	equal(t, string(message), asked.Body, `{"contents":[{"role":"model","parts":[`+want+`]}],"generationConfig":{}}`)
	if lost != "" {
		t.Errorf("%s loses %s", message, lost)
	}
}
