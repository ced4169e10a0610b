package front

import (
	"context"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// TestUsage: what a reply says it took is noted, in every kind of reply, wherever it
// stands; the last event that says so counts; and what only looks like it does not.
func TestUsage(t *testing.T) {
	const said = `"usage":{"prompt_tokens":10.0,"completion_tokens":2e1}`
	long := strings.Repeat(`word `, 3000)
	head := func(kind llm.ReplyKind, contentType string) *llm.Head {
		return &llm.Head{Status: 200, Kind: kind, Length: -1, Header: []llm.Field{{Name: "Content-Type", Value: contentType}}}
	}
	send := func(h *llm.Head, parts ...string) llm.HandlerFunc {
		return func(_ context.Context, _ *llm.Request, out llm.Sink) error {
			if err := out.Start(h); err != nil {
				return err
			}
			for _, p := range parts {
				if err := out.Send([]llm.Event{{Raw: []byte(p)}}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	known := perf.Usage{Known: true, Input: 10, Output: 20}
	const json = "application/json"
	for name, c := range map[string]struct {
		handler llm.HandlerFunc
		method  string
		want    perf.Usage
	}{
		"whole, first":       {send(head(llm.Unary, json), `{`+said+`,"choices":["`+long+`"]}`), "POST", known},
		"whole, in metadata": {send(head(llm.Unary, json), `{"metadata":{`+said+`}}`), "POST", perf.Usage{}},
		"whole, read again":  {send(head(llm.Unary, json), `{`+said+`}`), "GET", perf.Usage{}},
		"pieces":             {send(head(llm.Pieces, json+"; charset=utf-8"), `{"data":["`+long+`"],"usa`, `ge":{"prompt_tokens":1`, `0,"completion_tokens":20}`, `,"a":"`+long+`"}`), "POST", known},
		"pieces, no type":    {send(head(llm.Pieces, ""), `{`+said, `}`), "POST", known},
		"pieces, in text":    {send(head(llm.Pieces, json), `{"data":"\`, `"usage\":{\"prompt_tokens\":1}`, `"}`), "POST", perf.Usage{}},
		"pieces, a file":     {send(head(llm.Pieces, "application/jsonl"), `{`+said+`}`), "POST", perf.Usage{}},
		"stream": {send(head(llm.EventStream, "text/event-stream"), "data: {"+strings.Replace(said, "10.0", "3", 1)+"}\n\n", "data: {"+said+",\"a\":\""+long+"\"}\n\n",
			"data: {\"usage\":null}\n\n", "data: [DONE]\n\n"), "POST", known},
		"stream of a message": {send(head(llm.EventStream, "text/event-stream"), "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"cache_read_input_tokens\":9,\"output_tokens\":1}}}\n\n",
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":20}}\n\n"), "POST", perf.Usage{Known: true, Input: 10, Output: 20, Cached: 9}},
		"stream of a message that tells its input again": {send(head(llm.EventStream, "text/event-stream"), "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":1000,\"output_tokens\":1}}}\n\n",
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":3,\"output_tokens\":20}}\n\n"), "POST", perf.Usage{Known: true, Input: 1003, Output: 20, Cached: 1000}},
		"stream of a response": {send(head(llm.EventStream, "text/event-stream"), "event: response.completed\r\ndata: {\"response\":{"+said+",\"metadata\":{\"a\":\""+long+"\"}}}\r\n\r\n"), "POST", known},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(seen, 1)
			s := startWith(t, c.handler, Options{Observers: []perf.Observer{seen}})
			path := chatPath
			if c.method == "GET" {
				path = "/v1/chat/completions/1"
			}
			client := h1(t, s)
			for range 2 { // the second with the memory of the first
				do(t, client, newRequest(t, t.Context(), c.method, s.url(path), chatBody))
				if x := seen.next(t); x.Usage != c.want {
					t.Errorf("%+v, want %+v", x.Usage, c.want)
				}
			}
		})
	}
}
