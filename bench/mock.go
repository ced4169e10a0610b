package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
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

// keyedBody is a chat request of 600 bytes to a model, another one for each
// number below a million.
func keyedBody(model string, n int) string {
	const form = `{"model":%q,"messages":[{"role":"user","content":"Question %06d. %s"}]}`
	empty := fmt.Sprintf(form, model, n, "")
	return fmt.Sprintf(form, model, n, strings.Repeat("What does a sluice do? ", 40)[:600-len(empty)])
}

// reply is a chat completion of so many bytes.
func reply(size int) []byte {
	const form = `{"id":"chatcmpl-mock","object":"chat.completion","created":1,"model":"mock-model","choices":[{"index":0,"message":{"role":"assistant","content":%q,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":150,"completion_tokens":180,"total_tokens":330}}`
	const sentence = "It lets water through. "
	return fmt.Appendf(nil, form, strings.Repeat(sentence, size/len(sentence))[:size-len(fmt.Sprintf(form, ""))])
}

// chunk is one event of a streamed reply.
func chunk(i int) []byte {
	if i == events-1 {
		return []byte("data: [DONE]\n\n")
	}
	return fmt.Appendf(nil, `data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1,"model":"mock-model","choices":[{"index":0,"delta":{"content":" token%d"},"finish_reason":null}]}`+"\n\n", i)
}

// The mock's models, by what is particular about their replies.
const (
	model1KB  = "mock-model" // whole, 1,000 bytes
	model2KB  = "middling"   // whole, 2,000 bytes
	model16KB = "long"       // whole, 16,000 bytes
	modelWait = "wait"       // as mock-model, after thinkTime
	modelSlow = "slow"       // streamed, over a minute

	thinkTime = 50 * time.Millisecond
)

// serveMock is the upstream: a chat completion, whole or as a stream whose
// events are each flushed.
func serveMock(addr string) error {
	chunks := make([][]byte, events)
	for i := range chunks {
		chunks[i] = chunk(i)
	}
	short, middling, long := reply(1000), reply(2000), reply(16_000)
	http.HandleFunc("GET /v1/models", listModels)
	http.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		asksFor := func(model string) bool { return bytes.Contains(body, fmt.Appendf(nil, `"model":%q`, model)) }
		if bytes.Contains(body, []byte(`"stream":true`)) {
			pause := time.Duration(0)
			if asksFor(modelSlow) {
				pause = time.Second
			}
			stream(w, r, chunks, pause)
			return
		}
		whole := short
		switch {
		case asksFor(model2KB):
			whole = middling
		case asksFor(model16KB):
			whole = long
		case asksFor(modelWait):
			time.Sleep(thinkTime)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		w.Write(whole)
	})
	return http.ListenAndServe(addr, nil)
}

func listModels(w http.ResponseWriter, _ *http.Request) {
	var models []any
	for _, id := range []string{model1KB, model2KB, model16KB, modelWait, modelSlow} {
		models = append(models, map[string]any{"id": id, "object": "model", "created": 1, "owned_by": "bench"})
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": models})
}

func stream(w http.ResponseWriter, r *http.Request, chunks [][]byte, pause time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, c := range chunks {
		if _, err := w.Write(c); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		if pause == 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
	}
}
