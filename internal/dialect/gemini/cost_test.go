//go:build !race

package gemini

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

const (
	textChunk = `data: {"candidates":[{"content":{"parts":[{"text":" some words"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":9,"totalTokenCount":14,"promptTokensDetails":[{"modality":"TEXT","tokenCount":5}]},"modelVersion":"gemini-2.5-flash","responseId":"abc"}` + "\n\n"
	callChunk = `data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"city":"Ulm","n":3}}}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":5}}` + "\n\n"
)

// request is of some 2 kB, with a tool and its result.
func request() []byte {
	return []byte(`{"systemInstruction":{"parts":[{"text":"` + strings.Repeat("Be brief. ", 60) + `"}]},"contents":[{"role":"user","parts":[{"text":"` +
		strings.Repeat("What is it? ", 40) + `"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"x":1}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"` +
		strings.Repeat("ok ", 80) + `"}}}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"does","parameters":{"type":"OBJECT","properties":{"x":{"type":"INTEGER"}}}}]}],"generationConfig":{"temperature":0.5,"maxOutputTokens":100}}`)
}

func translate(t testing.TB, c *dialect.Conversation, dst, body []byte) []byte {
	c.Reset()
	c.Model = "gemini-2.5-flash"
	if err := (Dialect{}).ReadRequest(c, body); err != nil {
		t.Fatal(err)
	}
	out, err := Dialect{}.WriteRequest(dst, c, dialect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out.Body
}

func BenchmarkRequest(b *testing.B) {
	body, c := request(), new(dialect.Conversation)
	var dst []byte
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		dst = translate(b, c, dst[:0], body)
	}
}

func BenchmarkEvent(b *testing.B) {
	event := events(b, textChunk)
	b.ReportAllocs()
	for b.Loop() {
		event()
	}
}

// events reads and writes one event after another.
func events(t testing.TB, chunk string) func() {
	r, w, raw := Dialect{}.NewReader(), Dialect{}.NewWriter(), []byte(chunk)
	w.Reset(dialect.Reply{ID: "1", Model: "m"})
	var dst []byte
	said := false
	say := func(e *dialect.Event) error { dst, said = w.Event(dst[:0], e), true; return nil }
	return func() {
		if err := r.Event(raw, say); err != nil || !said {
			t.Fatal(err)
		}
	}
}

func TestAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, events(t, textChunk)); n > 0 {
		t.Errorf("%v allocations an event, want 0", n)
	}
	// A call in each reply: reader and writer are used again.
	r, w, raw := Dialect{}.NewReader(), Dialect{}.NewWriter(), []byte(callChunk)
	var dst []byte
	say := func(e *dialect.Event) error { dst = w.Event(dst[:0], e); return nil }
	if n := testing.AllocsPerRun(100, func() {
		r.Reset()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		if err := r.Event(raw, say); err != nil {
			t.Fatal(err)
		}
		dst = w.End(dst)
	}); n > 0 {
		t.Errorf("%v allocations a reply with a call, want 0", n)
	}
	body, c := request(), new(dialect.Conversation)
	if n := testing.AllocsPerRun(100, func() { dst = translate(t, c, dst[:0], body) }); n > 16 {
		t.Errorf("%v allocations a request, ceiling 16", n)
	}
}

// FuzzRequest: whatever is asked, what goes on is JSON.
func FuzzRequest(f *testing.F) {
	f.Add(request())
	f.Add([]byte(ownRequest))
	for _, s := range []string{
		`{"contents":{"parts":{"text":"a"}},"tools":[{"googleSearch":{},"functionDeclarations":{"name":"f","parameters":{"type":7,"nullable":true,"enum":[],"minItems":"x","properties":[],"anyOf":{}}}}]}`,
		`{"contents":[{"role":"model","parts":[{"thought":true,"thoughtSignature":"a\/"},{"functionCall":{"name":"f"}}]},{"parts":[{"functionResponse":{"response":{"output":"{\"a\":1}"},"parts":[{"inlineData":{"data":"A-_","mimeType":"a\"b"}}]}}]}]}`,
		`{"generateContentRequest":{"contents":[]},"generationConfig":{"temperature":"1","logprobs":"x","responseLogprobs":true,"thinkingConfig":{"thinkingBudget":"-1"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if jsonscan.Validate(body, 100) != nil || len(body) == 0 || !dialect.IsObject(body) {
			return
		}
		for _, model := range []string{"gemini-2.5-flash", "gemini-3-pro", "x"} {
			c := dialect.Conversation{Model: model}
			if (Dialect{}).ReadRequest(&c, body) != nil {
				return
			}
			out, err := Dialect{}.WriteRequest(nil, &c, dialect.Options{})
			if err != nil || !json.Valid(out.Body) {
				t.Errorf("%s became %s, %v", body, out.Body, err)
			}
		}
	})
}

// FuzzReply: whatever a service sends, what goes on is a stream of JSON, and a whole reply.
func FuzzReply(f *testing.F) {
	f.Add([]byte(textChunk))
	f.Add([]byte(callChunk))
	for _, s := range []string{
		`{"candidates":[{"index":-1,"content":{"parts":[{"text":"\ud83d"},{"functionCall":{"name":"f","args":{"a":[{}]}},"thoughtSignature":"A\/"}]},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{"token":"a"}],"topCandidates":[7]}}]}`,
		`{"error":{"message":"m","code":1}}`, `{"promptFeedback":{"blockReason":"X"}}`,
		`{"candidates":[{"content":{"parts":[{"text":"ä"}]},"groundingMetadata":{"groundingChunks":[{"web":{"uri":"u"}}],"groundingSupports":[{"segment":{"startIndex":"1","endIndex":2},"groundingChunkIndices":[0]}]},"citationMetadata":{"citations":[{"endIndex":1,"uri":"u"}]}}],"usageMetadata":{"promptTokenCount":"1"}}`,
	} {
		f.Add([]byte("data: " + s + "\n\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, w := Dialect{}.NewReader(), Dialect{}.NewWriter()
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		said := dialect.Said{Max: 1 << 20}
		var out []byte
		if err := r.Event(raw, func(e *dialect.Event) error {
			out = w.Event(out, e)
			return said.Add(e)
		}); err != nil {
			return
		}
		for _, event := range strings.Split(strings.TrimSuffix(string(w.End(out)), "\n\n"), "\n\n") {
			data, ok := strings.CutPrefix(event, "data: ")
			if !ok || !json.Valid([]byte(data)) {
				t.Errorf("%q became %q", raw, event)
			}
		}
		w.Reset(dialect.Reply{ID: "1", Model: "m"})
		if whole := w.Whole(nil, &said); !json.Valid(whole) {
			t.Errorf("%q became %s", raw, whole)
		}
	})
}
