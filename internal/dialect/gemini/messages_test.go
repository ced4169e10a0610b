package gemini

import (
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/dialect/messages"
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
