package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// events is how many events a streamed reply has, [DONE] included.
const events = 54

// chatBody is a chat request of 600 bytes.
func chatBody(stream bool) string {
	const form = `{"model":"mock-model","stream":%v,"temperature":0.7,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":%q}]}`
	empty := fmt.Sprintf(form, stream, "")
	return fmt.Sprintf(form, stream, strings.Repeat("What does a sluice do? ", 40)[:600-len(empty)])
}

// reply is a chat completion of 1,000 bytes.
func reply() []byte {
	const form = `{"id":"chatcmpl-mock","object":"chat.completion","created":1,"model":"mock-model","choices":[{"index":0,"message":{"role":"assistant","content":%q,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":150,"completion_tokens":180,"total_tokens":330}}`
	return fmt.Appendf(nil, form, strings.Repeat("It lets water through. ", 60)[:1000-len(fmt.Sprintf(form, ""))])
}

// chunk is one event of a streamed reply.
func chunk(i int) []byte {
	if i == events-1 {
		return []byte("data: [DONE]\n\n")
	}
	return fmt.Appendf(nil, `data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1,"model":"mock-model","choices":[{"index":0,"delta":{"content":" token%d"},"finish_reason":null}]}`+"\n\n", i)
}

// serveMock is the upstream: a chat completion, whole or as a stream whose
// events are each flushed; the model name "slow" spreads them over a minute,
// so that streams stay open.
func serveMock(addr string) error {
	whole := reply()
	chunks := make([][]byte, events)
	for i := range chunks {
		chunks[i] = chunk(i)
	}
	http.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": []any{
			map[string]any{"id": "mock-model", "object": "model", "created": 1, "owned_by": "bench"},
			map[string]any{"id": "slow", "object": "model", "created": 1, "owned_by": "bench"},
		}})
	})
	http.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(whole)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		slow := bytes.Contains(body, []byte(`"model":"slow"`))
		for _, c := range chunks {
			if _, err := w.Write(c); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			if slow {
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
					return
				}
			}
		}
	})
	return http.ListenAndServe(addr, nil)
}
