//go:build !race

package known

import (
	"testing"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

func ends(op llm.Operation, raw []byte) bool { return StreamOf(op).Ends(raw) }

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
		if chat, response, may := ends(llm.Chat, raw), ends(llm.Response, raw), MayEnd(llm.Passthrough, raw); chat != c.chat || response != c.response || may != c.may {
			t.Errorf("%q: chat %v, response %v, may %v", c.raw, chat, response, may)
		}
		if ends(llm.Completion, raw) != c.chat || ends(llm.Messages, raw) || ends(llm.GenerateContent, raw) {
			t.Errorf("%q ends others", c.raw)
		}
		if own := MayEnd(llm.Chat, raw) || MayEnd(llm.Response, raw); own != c.may || MayEnd(llm.Messages, raw) || MayEnd(llm.GenerateContent, raw) {
			t.Errorf("%q: may %v", c.raw, own)
		}
	}
	for op, want := range map[llm.Operation]bool{llm.Chat: true, llm.Completion: true, llm.Response: true, llm.Messages: true, llm.GenerateContent: true, llm.Embedding: false, llm.Passthrough: false, llm.Operations: false} {
		if known := StreamOf(op) != nil; known != want {
			t.Errorf("%v: known %v", op, known)
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
		if got := StreamOf(llm.GenerateContent).Completes([]byte(raw)); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
	if !StreamOf(llm.Chat).Completes([]byte("data: [DONE]\n\n")) || StreamOf(llm.Chat).Completes([]byte("data: {\"candidates\":[{\"finishReason\": \"STOP\"}]}\n\n")) {
		t.Error("chat")
	}
}

// TestLookingAllocatesNothing: every event is looked at.
func TestLookingAllocatesNothing(t *testing.T) {
	for op := range llm.Operations {
		s := StreamOf(op)
		if s == nil {
			continue
		}
		for _, raw := range [][]byte{[]byte("data: {\"choices\":[{\"delta\":{\"content\":\"[DONE]\"}}]}\n\n"), []byte("data: {\"type\":\"message_stop\"}\n\n"), []byte("event: response.completed\ndata: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n")} {
			if n := testing.AllocsPerRun(100, func() { _, _, _ = s.Ends(raw), s.Completes(raw), MayEnd(op, raw) }); n > 0 {
				t.Errorf("%v: %v allocations for %q", op, n, raw)
			}
		}
	}
}

// FuzzEnds: the end of a stream is told alike by all who ask.
func FuzzEnds(f *testing.F) {
	for _, raw := range []string{"data: [DONE]\n\n", "event: response.completed\ndata: {}\n\n", "data: {\"type\":\"response.failed\"}\r\r", "event: message_stop\n\n", "data: {\"candidates\":[{\"finishReason\": \"STOP\"}]}\n\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for op := range llm.Operations {
			s := StreamOf(op)
			if s == nil {
				continue
			}
			if s.Ends(raw) && !s.Completes(raw) {
				t.Fatalf("%v: %q ends a stream that is not complete", op, raw)
			}
			if s.MayEnd(raw) && !MayEnd(llm.Passthrough, raw) {
				t.Fatalf("%v: %q may end it alone", op, raw)
			}
		}
		if data, _ := sse.Data(raw, nil); ends(llm.Chat, raw) && !sse.IsDone(data) {
			t.Fatalf("%q: ends a chat", raw)
		}
	})
}
