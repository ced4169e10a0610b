package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// events is how many events a streamed reply has, [DONE] included; slowEvents those
// of a slow one, which lasts longer than many of them take to open.
const events, slowEvents = 54, 600

// The mock's models, by what is particular about their replies.
const (
	model1KB  = "mock-model" // whole, 1,000 bytes
	model2KB  = "middling"   // whole, 2,000 bytes
	model16KB = "long"       // whole, 16,000 bytes
	modelSoon = "soon"       // as mock-model, whole or streamed, after soonTime
	modelWait = "wait"       // as mock-model, after thinkTime
	modelSlow = "slow"       // streamed, an event each slowPause

	soonTime  = 20 * time.Millisecond
	thinkTime = 50 * time.Millisecond
	slowPause = time.Second
)

// bodySize is how long the body of a request is.
const bodySize = 600

// firstSeed and those after it have equally many digits.
const firstSeed = 100_000_000_000

// freshBody is a chat request, another one for each seed. The seed stands at its
// end, where a load can count it up in place.
func freshBody(model string, stream bool, seed int) string {
	const form = `{"model":%q,"stream":%v,"temperature":0.7,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":%q}],"seed":%d}`
	empty := fmt.Sprintf(form, model, stream, "", seed)
	return fmt.Sprintf(form, model, stream, question(bodySize-len(empty)), seed)
}

// keyedBody is a chat request to a model, another one for each number below a
// million.
func keyedBody(model string, n int) string {
	const form = `{"model":%q,"messages":[{"role":"user","content":"Question %06d. %s"}]}`
	empty := fmt.Sprintf(form, model, n, "")
	return fmt.Sprintf(form, model, n, question(bodySize-len(empty)))
}

func question(size int) string { return strings.Repeat("What does a sluice do? ", 40)[:size] }

// reply is a chat completion of so many bytes, the digits of whose id are zeros.
func reply(size int) []byte {
	const form = `{"id":"chatcmpl-000000000000","object":"chat.completion","created":1,"model":"mock-model","choices":[{"index":0,"message":{"role":"assistant","content":%q,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":150,"completion_tokens":180,"total_tokens":330}}`
	const sentence = "It lets water through. "
	return fmt.Appendf(nil, form, strings.Repeat(sentence, size/len(sentence))[:size-len(fmt.Sprintf(form, ""))])
}

// digitsOf are the digits of the id in a reply. Services give each reply an id of
// its own, and gateways may keep something by it.
func digitsOf(reply []byte) []byte {
	const before = `{"id":"chatcmpl-`
	at := bytes.Index(reply, []byte(before)) + len(before)
	return reply[at : at+12]
}

// setDigits writes a number.
func setDigits(digits []byte, n int) {
	for i := len(digits) - 1; i >= 0; i, n = i-1, n/10 {
		digits[i] = '0' + byte(n%10)
	}
}

// chunks are the events of a streamed reply.
func chunks(n int) (all [][]byte) {
	for i := range n - 1 {
		all = append(all, chunk(i))
	}
	return append(all, []byte("data: [DONE]\n\n"))
}

func chunk(i int) []byte {
	return fmt.Appendf(nil, `data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1,"model":"mock-model","choices":[{"index":0,"delta":{"content":" token%d"},"finish_reason":null}]}`+"\n\n", i)
}

// modelList is the reply to GET /v1/models.
func modelList() []byte {
	var models []any
	for _, id := range []string{model1KB, model2KB, model16KB, modelSoon, modelWait, modelSlow} {
		models = append(models, map[string]any{"id": id, "object": "model", "created": 1, "owned_by": "bench"})
	}
	b, err := json.Marshal(map[string]any{"object": "list", "data": models})
	if err != nil {
		panic(err) // there is nothing in it that JSON has no form for
	}
	return b
}
