package sse

import (
	"testing"

	"sluice/internal/llm"
)

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		raw            string
		chat, response bool // whether it ends such a stream
		may            bool // whether a client may read no further
	}{
		{"data: [DONE]\n\n", true, false, true},
		{"data:[DONE]\r\n\r\n", true, false, true},
		{"data: [DONE]", true, false, true},
		{"data: [DONE] \n\n", true, false, true},
		{": x\ndata: [DONE]\n\n", true, false, false},
		{"event: response.completed\ndata: {}\n\n", false, true, true},
		{"event:response.failed\n", false, true, true},
		{"event: response.incomplete\r\n", false, true, true},
		{"data: {\"type\":\"response.completed\"}\n\n", false, true, false},
		{"data: {}\nevent: response.completed\n\n", false, true, false},
		{"event: response.completed.not\n\n", false, false, false},
		{"event: response.created\ndata: {\"type\":\"response.completed\"}\n\n", false, false, false},
		{"data: {\"type\":1}\n\n", false, false, false},
		{"data: {\"type\":\"", false, false, false},
		{"data: {\"x\":\"[DONE]\"}\n\n", false, false, false},
		{"data:", false, false, false},
		{"event:", false, false, false},
		{"", false, false, false},
	} {
		raw := []byte(c.raw)
		if chat, response, may := Ends(llm.Chat, raw), Ends(llm.Response, raw), MayEnd(raw); chat != c.chat || response != c.response || may != c.may {
			t.Errorf("%q: chat %v, response %v, may %v", c.raw, chat, response, may)
		}
		if Ends(llm.Completion, raw) != c.chat || Ends(llm.Passthrough, raw) || Ends(llm.Embedding, raw) {
			t.Errorf("%q ends others", c.raw)
		}
	}
	for op := range llm.Operations {
		known := Completes(op, []byte("data: {\"candidates\":[{},{\"finishReason\":\"STOP\"}]}\n\n")) || Ends(op, []byte("data: [DONE]\n\n")) || Ends(op, []byte("event: response.completed\n\n")) || Ends(op, []byte("event: message_stop\n\n"))
		if EndKnown(op) != known {
			t.Errorf("%v: known %v", op, !known)
		}
	}
}

// TestCompletes: a stream of Google's API has no event of its own at its end.
func TestCompletes(t *testing.T) {
	for raw, want := range map[string]bool{
		"data: {\"candidates\":[{\"finishReason\": \"STOP\"}]}\n\n": true, "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n": true,
		"data: {\"candidates\":[{\"finishReason\":null}]}\n\n": false, "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"finishReason\"}]}}]}\n\n": false,
		"data: {\"candidates\":[{\"finishReason\":\"STOP\"}]": false, "data: {\"candidates\":\"finishReason\"}": false, "data: [DONE]\n\n": false, "": false,
	} {
		if got := Completes(llm.GenerateContent, []byte(raw)); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
	if !Completes(llm.Chat, []byte("data: [DONE]\n\n")) || Completes(llm.Chat, []byte("data: {\"candidates\":[{\"finishReason\": \"STOP\"}]}\n\n")) {
		t.Error("chat")
	}
}

func TestOneField(t *testing.T) {
	for raw, want := range map[string]string{
		"data: {}\n\n": " {}", "data:{}\r\n\r\n": "{}", "data: {}\r\r": " {}", "data: {}\r\n\r": " {}", "data:\n\n": "",
	} {
		if v, ok := OneField([]byte(raw)); !ok || raw[v.Start:v.End] != want {
			t.Errorf("%q: %q %v", raw, raw[v.Start:v.End], ok)
		}
	}
	for _, raw := range []string{"", "data: {}", "data: {}\n", "data: {}\n\n\n", "data: 1\ndata: 2\n\n", "data: 1\rid: 2\n\n", "event: x\ndata: 1\n\n", "id: 1\n\n", ": x\n\n", "data\n\n"} {
		if _, ok := OneField([]byte(raw)); ok {
			t.Errorf("%q: is taken", raw)
		}
	}
}

func FuzzEnds(f *testing.F) {
	for _, raw := range []string{"data: [DONE]\n\n", "event: response.completed\ndata: {}\n\n", "data: {\"type\":\"response.failed\"}\r\r", "data: 1\ndata: 2\n\n", "data: {}\n\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		data, ok := Data(raw, nil)
		first, n := DataFields(raw)
		if ok != (n > 0) || n == 1 && string(data) != string(first) {
			t.Fatalf("%q: %q of %d data fields, but the payload is %q", raw, first, n, data)
		}
		if v, one := OneField(raw); one {
			if n != 1 || len(Name(raw)) > 0 {
				t.Fatalf("%q: is no single field", raw)
			}
			if value := raw[v.Start:v.End]; string(value) != string(data) && string(value) != " "+string(data) {
				t.Fatalf("%q: %q for %q", raw, value, data)
			}
		}
		if Ends(llm.Chat, raw) && !IsDone(data) {
			t.Fatalf("%q: ends a chat", raw)
		}
		MayEnd(raw)
		Ends(llm.Response, raw)
	})
}
