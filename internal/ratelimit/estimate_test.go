package ratelimit

import (
	"strings"
	"testing"

	"sluice/internal/llm"
)

func TestEstimate(t *testing.T) {
	text := strings.Repeat("word ", 800) // 4000 bytes
	image := `"data:image/png;base64,` + strings.Repeat("A", 1_000_000) + `"`
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
	} {
		in, out := estimate(&llm.Request{Op: c.op, Method: c.method, Body: []byte(c.body)}, 4096)
		if in != c.in || out != c.out {
			t.Errorf("%v %s %.60s: %d and %d, not %d and %d", c.op, c.method, c.body, in, out, c.in, c.out)
		}
	}
}

// FuzzEstimate: whatever a body says, its estimate is bounded by its size and by what
// is counted in advance.
func FuzzEstimate(f *testing.F) {
	f.Add([]byte(`{"max_tokens":50,"n":2,"url":"data:x;base64,AAAA"}`), uint8(llm.Chat))
	f.Add([]byte(`{"max_output_tokens":18446744073709551617}`), uint8(llm.Response))
	f.Add([]byte(`;base64,;base64,"`), uint8(llm.Passthrough))
	f.Fuzz(func(t *testing.T, body []byte, op uint8) {
		in, out := estimate(&llm.Request{Op: llm.Operation(op), Method: "POST", Body: body}, 100)
		if in < 0 || in > int64(len(body)/bytesPerToken)+1 || out < 0 || out > 100 || len(body) > 0 && in == 0 {
			t.Errorf("%d and %d of %q", in, out, body)
		}
	})
}
