package ratelimit

import (
	"strings"
	"testing"

	"sluice/internal/llm"
)

func TestEstimate(t *testing.T) {
	text := strings.Repeat("word ", 800) // 4000 bytes
	bytes := strings.Repeat("iVBORw0KGg", 100_000)
	image := `"data:image/png;base64,` + bytes + `"`
	for _, c := range []struct {
		op      llm.Operation
		method  string
		body    string
		in, out int64
	}{
		{llm.Chat, "POST", `{"messages":"` + text + `"}`, 1003, 0},
		{llm.Chat, "POST", `{"max_tokens":50}`, 4, 50},
		{llm.Chat, "POST", `{"max_completion_tokens":50, "n": 3}`, 9, 150},
		{llm.Response, "POST", `{"max_output_tokens":5}`, 5, 5},
		{llm.Completion, "POST", `{"max_tokens":5,"max_tokens":7}`, 7, 7},
		{llm.Chat, "POST", `{"max_tokens":100000000000000000000000000000000}`, 12, 4096},
		{llm.Chat, "POST", `{"max_tokens":-5,"n":-1}`, 6, 0},
		{llm.Chat, "POST", `{"max_tokens":1e9,"n":99999999999}`, 8, 0},
		{llm.Chat, "POST", `{"max_tokens":null,"n":null,"x":{"max_tokens":9}}`, 12, 0},
		{llm.Chat, "POST", `{"max_tokens":"7"}`, 4, 0},
		{llm.Embedding, "POST", `{"input":"x","max_tokens":9}`, 7, 0},
		{llm.Passthrough, "POST", `not JSON at all`, 3, 0},
		{llm.Passthrough, "POST", `{}`, 1, 0},
		{llm.Passthrough, "GET", ``, 0, 0},
		{llm.Passthrough, "DELETE", `{"max_tokens":9}`, 0, 0},
		{llm.Chat, "POST", `{"url":` + image + `}`, 1000 + 8, 0},
		{llm.Chat, "POST", `{"url":[` + image + `,` + image + `,"` + text + `"]}`, 2*1000 + 1015, 0},
		{llm.Chat, "POST", `{"text":";base64,"}`, 4, 0},
		{llm.Chat, "POST", `{"text":"data:x;base64,` + text + `"}`, 1006, 0},
		{llm.Chat, "POST", `{"text":"see ![](data:x;base64,` + bytes + `)"}`, 250_000 + 8, 0},
		{llm.Messages, "POST", `{"source":{"type":"base64","data":"` + bytes + `"}}`, 1000 + 9, 0},
		{llm.Messages, "POST", `{"source":{"type":"text","data":"` + text + text + `"}}`, 2000 + 9, 0},
		{llm.Messages, "POST", `{"source":{"data" : ` + "\n" + `"` + strings.Repeat(`AA\/\n`, 10_000) + `"}}`, 1000 + 6, 0},
		{llm.GenerateContent, "POST", `{"inlineData":{"data":"` + bytes + `"},"inline_data":{"data":"` + bytes + `"}}`, 2*1000 + 13, 0},
		{llm.Chat, "POST", `{"input_audio":{"data":"` + bytes + `"}}`, 1000 + 6, 0},
		{llm.Response, "POST", `{"file_data":"` + bytes + `","result":"` + bytes + `"}`, 2*1000 + 7, 0},
		{llm.Response, "POST", `{"output":"` + bytes + `"}`, 250_000 + 3, 0}, // a text, for the model
		{llm.Response, "POST", `{"arguments":"{\"data\":\"` + bytes + `\"}"}`, 250_000 + 7, 0},
		{llm.Response, "POST", `{"data":"` + strings.Repeat("文字", 2000) + `"}`, 3000 + 2, 0},
		{llm.GenerateContent, "POST", `{"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}`, 15, 14},
		{llm.GenerateContent, "POST", `{"generation_config":{"generation_config":{"maxOutputTokens":7}}}`, 16, 0},
	} {
		in, out := estimate(&llm.Request{Op: c.op, Method: c.method, Body: []byte(c.body)}, 4096)
		if in != c.in || out != c.out {
			t.Errorf("%v %s %.60s: %d and %d, not %d and %d", c.op, c.method, c.body, in, out, c.in, c.out)
		}
	}
}

// BenchmarkEstimate is of a large body, whose files are most of it.
func BenchmarkEstimate(b *testing.B) {
	word, image := strings.Repeat("word ", 20_000), strings.Repeat("iVBORw0KGg", 100_000)
	req := &llm.Request{Op: llm.Messages, Method: "POST", Body: []byte(`{"a":"` + word + `","source":{"data":"` + image + `"},"url":"data:x;base64,` + image + `"}`)}
	b.SetBytes(int64(len(req.Body)))
	b.ReportAllocs()
	for b.Loop() {
		estimate(req, 4096)
	}
}

// FuzzEstimate: whatever a body says, its estimate is bounded by its size and by what
// is counted in advance.
func FuzzEstimate(f *testing.F) {
	f.Add([]byte(`{"max_tokens":50,"n":2,"url":"data:x;base64,AAAA"}`), uint8(llm.Chat))
	f.Add([]byte(`{"max_output_tokens":18446744073709551617}`), uint8(llm.Response))
	f.Add([]byte(`;base64,;base64,"`), uint8(llm.Passthrough))
	f.Add([]byte(`{"data":"`+strings.Repeat("A", 5000)+`"}`), uint8(llm.Messages))
	f.Add([]byte(`"data":"`+strings.Repeat("A", 5000)), uint8(llm.Messages))
	f.Fuzz(func(t *testing.T, body []byte, op uint8) {
		in, out := estimate(&llm.Request{Op: llm.Operation(op), Method: "POST", Body: body}, 100)
		if in < 0 || in > int64(len(body)/bytesPerToken)+1 || out < 0 || out > 100 || len(body) > 0 && in == 0 {
			t.Errorf("%d and %d of %q", in, out, body)
		}
	})
}
