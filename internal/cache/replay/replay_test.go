//go:build !race

package replay

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/testkit"
)

// recorded gives the whole replies of the OpenAI protocol.
func recorded(t testing.TB, in testkit.Inputs) map[llm.Operation][][]byte {
	t.Helper()
	replies := map[llm.Operation][][]byte{}
	for _, p := range in.Pairs(t) {
		path, _, _ := strings.Cut(p.URL, "?")
		switch {
		case p.Status != 200:
		case strings.HasSuffix(path, "/chat/completions"):
			replies[llm.Chat] = append(replies[llm.Chat], []byte(p.Response))
		case strings.HasSuffix(path, "/responses"):
			replies[llm.Response] = append(replies[llm.Response], []byte(p.Response))
		}
	}
	if len(replies[llm.Chat]) < in.Least(500) || len(replies[llm.Response]) < in.Least(200) {
		t.Fatalf("found %d chats and %d responses", len(replies[llm.Chat]), len(replies[llm.Response]))
	}
	return replies
}

// stream replays a reply and gives the names and payloads of its events.
func stream(t testing.TB, op llm.Operation, body []byte, usage bool) (names []string, datas [][]byte, ok bool) {
	t.Helper()
	before, first := []byte("before"), []uint32{6}
	dst, ends, ok := Append(before, first, op, body, usage)
	if !ok {
		if string(dst) != "before" || len(ends) != 1 {
			t.Fatalf("%s: appended %q and %v", body, dst, ends)
		}
		return nil, nil, false
	}
	if !bytes.HasPrefix(dst, before) || ends[0] != 6 || int(ends[len(ends)-1]) != len(dst) {
		t.Fatalf("%s: %q, %v", body, dst, ends)
	}
	for i := 1; i < len(ends); i++ {
		raw := dst[ends[i-1]:ends[i]]
		data, found := sse.Data(raw, nil)
		name := string(sse.Name(raw))
		if want := sse.AppendEvent(nil, name, data); !found || !bytes.Equal(raw, want) {
			t.Fatalf("%s: event %q", body, raw)
		}
		if op == llm.Response || i < len(ends)-1 {
			if !json.Valid(data) {
				t.Fatalf("%s: event %q", body, raw)
			}
		} else if string(data) != "[DONE]" {
			t.Fatalf("%s: last event %q", body, raw)
		} else {
			break
		}
		names, datas = append(names, name), append(datas, data)
	}
	return names, datas, true
}

func TestNotUnderstood(t *testing.T) {
	chat := `{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}`
	done := `{"status":"completed","output":[`
	for op, bodies := range map[llm.Operation][]string{
		llm.Chat: {
			``, `null`, `[]`, `{}`, `{"choices":null}`, `{"choices":{}}`, `{"choices":[]}`, `{"choices":[1]}`, chat + "x", chat[:len(chat)-1],
			`{"error":{"message":"m"},` + chat[1:],
			`{"choices":[{"message":{"content":"x"}}]}`,
			`{"choices":[{"message":{"content":"x"},"finish_reason":null}]}`,
			`{"choices":[{"message":{"content":"x"},"finish_reason":"stop","index":"0"}]}`,
			`{"choices":[{"message":"x","finish_reason":"stop"}]}`,
			`{"choices":[{"text":"x","finish_reason":"stop"}]}`,
			`{"choices":[{"message":{"tool_calls":{}},"finish_reason":"stop"}]}`,
			`{"choices":[{"message":{"tool_calls":[1]},"finish_reason":"stop"}]}`,
			`{"choices":[{"message":{},"finish_reason":"stop"},{"finish_reason":"stop"}]}`,
		},
		llm.Completion: {chat, `{"choices":[{"text":1,"finish_reason":"stop"}]}`, `{"choices":[{"text":"x","finish_reason":"stop"},{}]}`},
		llm.Response: {
			``, `[]`, `{}`, chat, `{"status":"completed"}`, `{"status":"completed","output":{}}`, `{"status":"in_progress","output":[]}`,
			`{"status":"failed","output":[]}`, `{"status":"completed","output":[],"error":{"code":"c"}}`,
			done + `1]}`, done + `{}]}`, done + `{"type":1}]}`, done + `{"type":"message","content":[]}]}`,
			done + `{"type":"message","id":"i","content":"x"}]}`, done + `{"type":"message","id":"i","content":[{"text":"x"}]}]}`,
			done + `{"type":"message","id":"i","content":[{"type":"output_text"}]}]}`,
			done + `{"type":"message","id":"i","content":[{"type":"output_text","text":"x","annotations":{}}]}]}`,
			done + `{"type":"function_call","id":"i"}]}`, done + `{"type":"reasoning","id":"i","summary":[{"type":"summary_text"}]}]}`,
			done + `]}]`,
		},
		llm.Embedding: {`{"object":"list","data":[]}`}, llm.Passthrough: {chat}, llm.ListModels: {`{"object":"list","data":[]}`},
	} {
		for _, body := range bodies {
			if _, datas, ok := stream(t, op, []byte(body), false); ok {
				t.Errorf("%v: %s became %q", op, body, datas)
			}
		}
	}
	if _, _, ok := stream(t, llm.Chat, []byte(chat), true); !ok {
		t.Error("refused a sound reply")
	}
}

func TestAllocations(t *testing.T) {
	for op, body := range samples {
		var dst []byte
		var ends []uint32
		body := []byte(body)
		if n := testing.AllocsPerRun(100, func() {
			var ok bool
			if dst, ends, ok = Append(dst[:0], ends[:0], op, body, true); !ok {
				t.Fatal("refused")
			}
		}); n > 0 {
			t.Errorf("%v: %v allocations, want 0", op, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for op, body := range samples {
		b.Run(op.String(), func(b *testing.B) {
			var dst []byte
			var ends []uint32
			body := []byte(body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				dst, ends, _ = Append(dst[:0], ends[:0], op, body, true)
			}
		})
	}
}

func FuzzAppend(f *testing.F) {
	for op, body := range samples {
		f.Add(uint8(op), []byte(body), true)
	}
	f.Add(uint8(llm.Response), []byte(`{"status":"completed","output":[{"type":"x","\n":{}}]}`), false)
	f.Add(uint8(llm.Chat), []byte("{\"choices\":[{\"message\":{},\r\"finish_reason\":\"\"\n\n }] }"), false)
	f.Fuzz(func(t *testing.T, op uint8, body []byte, usage bool) {
		stream(t, llm.Operation(op), body, usage)
	})
}
