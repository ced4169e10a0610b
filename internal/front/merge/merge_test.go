//go:build !race

package merge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/dialect/known"
	"sluice/internal/llm"
)

var chats = known.TextsOf(llm.Chat)

func chatChunk(delta string) string {
	return `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` +
		delta + `,"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
}

// join joins two events, if they can be joined.
func join(dst []byte, op llm.Operation, a, b []byte) (out []byte, ok bool) {
	out, n := Events(dst, known.TextsOf(op), [][]byte{a, b})
	return out, n == 1
}

func TestChunks(t *testing.T) {
	event := func(object string) string { return "data: " + object + "\n\n" }
	third := strings.Repeat("a", maxEvent/3)
	tests := []struct{ name, a, b, want string }{
		{"content", chatChunk(`{"content":"a"}`), chatChunk(`{"content":"b"}`), chatChunk(`{"content":"ab"}`)},
		{"escapes", chatChunk(`{"content":"\ud83d"}`), chatChunk(`{"content":"\ude00\""}`), chatChunk(`{"content":"\ud83d\ude00\""}`)},
		{"empty first", chatChunk(`{"content":""}`), chatChunk(`{"content":"b"}`), chatChunk(`{"content":"b"}`)},
		{"empty second", chatChunk(`{"content":"a"}`), chatChunk(`{"content":""}`), chatChunk(`{"content":"a"}`)},
		{"both empty", chatChunk(`{"content":""}`), chatChunk(`{"content":""}`), ""},
		{"reasoning", chatChunk(`{"content":null,"reasoning_content":"a"}`), chatChunk(`{"content":null,"reasoning_content":"b"}`), chatChunk(`{"content":null,"reasoning_content":"ab"}`)},
		{"thought in details", chatChunk(`{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]}`), chatChunk(`{"reasoning_content":"\"b","reasoning_details":[{"type":"reasoning.text","text":"\"b","index":0}]}`), chatChunk(`{"reasoning_content":"a\"b","reasoning_details":[{"type":"reasoning.text","text":"a\"b","index":0}]}`)},
		{"thought in details, of OpenRouter", chatChunk(`{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a","format":null,"index":0}]}`), chatChunk(`{"reasoning":"b","reasoning_details":[{"type":"reasoning.text","text":"b","format":null,"index":0}]}`), chatChunk(`{"reasoning":"ab","reasoning_details":[{"type":"reasoning.text","text":"ab","format":null,"index":0}]}`)},
		{"another thought in details", chatChunk(`{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]}`), chatChunk(`{"reasoning_content":"b","reasoning_details":[{"type":"reasoning.text","text":"b","index":1}]}`), ""},
		{"another text in details", chatChunk(`{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","text":"c","index":0}]}`), chatChunk(`{"reasoning_content":"b","reasoning_details":[{"type":"reasoning.text","text":"c","index":0}]}`), ""},
		{"signature in details", chatChunk(`{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","text":"a","signature":"s"}]}`), chatChunk(`{"reasoning_content":"b","reasoning_details":[{"type":"reasoning.text","text":"b","signature":"s"}]}`), ""},
		{"details before the thought", chatChunk(`{"reasoning_details":[{"text":"a"}],"reasoning":"a"}`), chatChunk(`{"reasoning_details":[{"text":"b"}],"reasoning":"b"}`), ""},
		{"details once", chatChunk(`{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]}`), chatChunk(`{"reasoning_content":"b"}`), ""},
		{"two details", chatChunk(`{"reasoning":"a","reasoning_details":[{"text":"a"},{"text":"a"}]}`), chatChunk(`{"reasoning":"b","reasoning_details":[{"text":"b"},{"text":"b"}]}`), ""},
		{"details without a text", chatChunk(`{"reasoning":"a","reasoning_details":[{"type":"reasoning.text"}]}`), chatChunk(`{"reasoning":"b","reasoning_details":[{"type":"reasoning.text"}]}`), ""},
		{"details of a content", chatChunk(`{"content":"a","reasoning_details":[{"text":"a"}]}`), chatChunk(`{"content":"b","reasoning_details":[{"text":"b"}]}`), ""},
		{"refusal", chatChunk(`{"refusal":"a"}`), chatChunk(`{"refusal":"b"}`), chatChunk(`{"refusal":"ab"}`)},
		{"role repeated", chatChunk(`{"role":"assistant","content":"a"}`), chatChunk(`{"role":"assistant","content":"b"}`), chatChunk(`{"role":"assistant","content":"ab"}`)},
		{"role once", chatChunk(`{"role":"assistant","content":""}`), chatChunk(`{"content":"b"}`), ""},
		{"arguments", chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]}`), chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}`), chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}`)},
		{"other call", chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}`), chatChunk(`{"tool_calls":[{"index":1,"function":{"arguments":"a"}}]}`), ""},
		{"opening a call", chatChunk(`{"tool_calls":[{"index":0,"id":"","function":{"name":"f","arguments":""}}]}`), chatChunk(`{"tool_calls":[{"index":0,"id":"","function":{"name":"f","arguments":"a"}}]}`), ""},
		{"two calls", chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"a"}},{"index":1}]}`), chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"b"}},{"index":1}]}`), ""},
		{"two texts", chatChunk(`{"content":"a","reasoning":"r"}`), chatChunk(`{"content":"b","reasoning":"r"}`), ""},
		{"other text", chatChunk(`{"content":"a","reasoning":""}`), chatChunk(`{"content":"","reasoning":"r"}`), ""},
		{"unknown list", chatChunk(`{"content":"a","annotations":[1]}`), chatChunk(`{"content":"b","annotations":[1]}`), ""},
		{"twice the same key", chatChunk(`{"content":"a","content":"x"}`), chatChunk(`{"content":"b","content":"x"}`), ""},
		{"not a string", chatChunk(`{"content":[1]}`), chatChunk(`{"content":[1]}`), ""},
		{"completion", event(`{"choices":[{"text":"a","index":0}]}`), event(`{"choices":[{"text":"b","index":0}]}`), event(`{"choices":[{"text":"ab","index":0}]}`)},
		{"obfuscation", event(`{"choices":[{"text":"a"}],"obfuscation":"xxx"}`), event(`{"choices":[{"text":"b"}],"obfuscation":"y"}`), event(`{"choices":[{"text":"ab"}],"obfuscation":"y"}`)},
		{"obfuscation first", event(`{"obfuscation":"xxx","choices":[{"text":"a"}]}`), event(`{"obfuscation":"y","choices":[{"text":"b"}]}`), event(`{"obfuscation":"y","choices":[{"text":"ab"}]}`)},
		{"obfuscation once", event(`{"choices":[{"text":"a"}],"obfuscation":"xxx"}`), event(`{"choices":[{"text":"b"}]}`), ""},
		{"finish reason", event(`{"choices":[{"text":"a","finish_reason":"stop"}]}`), event(`{"choices":[{"text":"b","finish_reason":"stop"}]}`), ""},
		{"usage", event(`{"choices":[{"text":"a"}],"usage":{"total_tokens":1}}`), event(`{"choices":[{"text":"b"}],"usage":{"total_tokens":1}}`), ""},
		{"logprobs", event(`{"choices":[{"text":"a","logprobs":{"content":[]}}]}`), event(`{"choices":[{"text":"b","logprobs":{"content":[]}}]}`), ""},
		{"two choices", event(`{"choices":[{"text":"a"},{"text":""}]}`), event(`{"choices":[{"text":"b"},{"text":""}]}`), ""},
		{"no choice", event(`{"choices":[]}`), event(`{"choices":[]}`), ""},
		{"other index", event(`{"choices":[{"index":0,"text":"a"}]}`), event(`{"choices":[{"index":1,"text":"a"}]}`), ""},
		{"other id", event(`{"id":"1","choices":[{"text":"a"}]}`), event(`{"id":"2","choices":[{"text":"b"}]}`), ""},
		{"other spelling", event(`{"created":1,"choices":[{"text":"a"}]}`), event(`{"created":1.0,"choices":[{"text":"b"}]}`), ""},
		{"error", event(`{"error":"e","choices":[{"text":"a"}]}`), event(`{"error":"e","choices":[{"text":"b"}]}`), ""},
		{"done", "data: [DONE]\n\n", "data: [DONE]\n\n", ""},
		{"broken", event(`{"choices":[{"text":"a"}]`), event(`{"choices":[{"text":"b"}]`), ""},
		{"two data lines", "data: {\"choices\":\ndata: [{\"text\":\"a\"}]}\n\n", "data: {\"choices\":\ndata: [{\"text\":\"b\"}]}\n\n", ""},
		{"not finished", "data: {\"choices\":[{\"text\":\"a\"}]}\n", "data: {\"choices\":[{\"text\":\"b\"}]}\n", ""},
		{"CRLF", "data:{\"choices\":[{\"text\":\"a\"}]}\r\n\r\n", "data:{\"choices\":[{\"text\":\"b\"}]}\r\n\r\n", "data:{\"choices\":[{\"text\":\"ab\"}]}\r\n\r\n"},
		{"other line ends", "data:{\"choices\":[{\"text\":\"a\"}]}\r\n\r\n", "data:{\"choices\":[{\"text\":\"b\"}]}\n\n", ""},
		{"too large in two places", event(`{"choices":[{"delta":{"reasoning":"` + third + `","reasoning_details":[{"text":"` + third + `"}]}}]}`), event(`{"choices":[{"delta":{"reasoning":"` + third + `","reasoning_details":[{"text":"` + third + `"}]}}]}`), ""},
		{"too large", event(`{"choices":[{"text":"` + strings.Repeat("a", maxEvent/2) + `"}]}`), event(`{"choices":[{"text":"` + strings.Repeat("b", maxEvent/2) + `"}]}`), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want == "" {
				want = tt.a + tt.b
			}
			if got, ok := join([]byte("kept"), llm.Chat, []byte(tt.a), []byte(tt.b)); string(got) != "kept"+want || ok != (tt.want != "") {
				t.Errorf("got %v, %.300s", ok, got)
			}
		})
	}
}

// small makes n events of one token each.
func small(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = []byte(chatChunk(fmt.Sprintf(`{"content":" word%d"}`, i)))
	}
	return list
}

func TestLongRun(t *testing.T) {
	list := small(10_000)
	out, n := Events(nil, chats, list)
	if n > 5 {
		t.Errorf("10,000 small events became %d", n)
	}
	same(t, understand(t, events(t, out)), understand(t, list))
}

// TestLongThought: many pieces become few events, with the text of all in both places.
func TestLongThought(t *testing.T) {
	var list [][]byte
	for i := range 3000 {
		list = append(list, []byte(chatChunk(fmt.Sprintf(`{"reasoning_content":" word%d","reasoning_details":[{"type":"reasoning.text","text":" word%[1]d","index":0}]}`, i))))
	}
	out, n := Events(nil, chats, list)
	if n > 4 {
		t.Errorf("3,000 small events became %d", n)
	}
	for _, raw := range events(t, out) {
		if len(raw) > maxEvent {
			t.Errorf("an event of %d bytes", len(raw))
		}
	}
	same(t, understand(t, events(t, out)), understand(t, list))
}

func BenchmarkEvents(b *testing.B) {
	list := small(10_000)
	buf, _ := Events(nil, chats, list)
	b.SetBytes(int64(len(bytes.Join(list, nil))))
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = Events(buf[:0], chats, list)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte(chatChunk(`{"content":"a"}`)), []byte(chatChunk(`{"content":"\"b"}`)))
	f.Add([]byte(chatChunk(`{"reasoning_content":"a","reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]}`)), []byte(chatChunk(`{"reasoning_content":"\"b","reasoning_details":[{"type":"reasoning.text","text":"\"b","index":0}]}`)))
	f.Add([]byte(chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]}`)), []byte(chatChunk(`{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}`)))
	f.Add([]byte("data: {\"choices\":[{\"text\":\"a\"}],\"obfuscation\":\"x\"}\r\n\r\n"), []byte("data: {\"choices\":[{\"text\":\"b\"}],\"obfuscation\":\"\"}\r\n\r\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		out, ok := join(nil, llm.Chat, a, b)
		if !ok {
			if string(out) != string(a)+string(b) {
				t.Fatalf("refused and wrote %q", out)
			}
			return
		}
		if got := events(t, out); len(got) != 1 {
			t.Fatalf("wrote %d events: %q", len(got), out)
		}
		same(t, understand(t, [][]byte{out}), understand(t, [][]byte{a, b}))
	})
}
