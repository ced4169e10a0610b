package gateway

import (
	"net/http"
	"strings"
	"testing"
)

const (
	vectorReply   = `{"object":"list","model":"m-1","data":[{"object":"embedding","index":1,"embedding":[0.25,-1e-3]},{"object":"embedding","index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":7,"total_tokens":7}}`
	contentVector = `{"embeddings":[{"values":[1,2]},{"values":[0.25, -1e-3]}],"new":1}`
	batchAsked    = `{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"},{"text":"\u0062"}]},"outputDimensionality":2},{"model":"models/m","content":{"parts":[{"text":"c"}]},"outputDimensionality":2,"taskType":"RETRIEVAL_QUERY"}]}`
)

// TestEmbeddingsOfOtherAPIs: a client of Google's API for embeddings uses a service that has
// OpenAI's, and the other way round; where both have the same not a byte changes.
func TestEmbeddingsOfOtherAPIs(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/embeddings": replies(vectorReply)}}
	url := speaking(t, s, "openai", "")
	resp, text := tell(t, url+"/v1beta/models/m:batchEmbedContents", batchAsked, "X-Goog-Api-Key", "unused")
	if want := `{"embeddings":[{"values":[1,2]},{"values":[0.25,-1e-3]}],"usageMetadata":{"promptTokenCount":7}}`; text != want || resp.Header.Get("X-Sluice-Lossy") != "taskType" {
		t.Errorf("%v %s", resp.Header, text)
	}
	got, _ := s.last()
	if want := `{"model":"m","input":["a\u0062","c"],"dimensions":2,"encoding_format":"float"}`; got.body != want || got.header.Get("Authorization") != "Bearer sk-up" || got.header.Get("X-Goog-Api-Key") != "" {
		t.Errorf("asked %s with %v", got.body, got.header)
	}
	s.reply["/v1/embeddings"] = replies(`{"data":[{"index":0,"embedding":[1,2]}],"usage":null}`)
	if _, text := tell(t, url+"/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"a"}]}}`); text != `{"embedding":{"values":[1,2]}}` {
		t.Error(text)
	}
	if _, text := send(t, "GET", url+"/metrics", ""); !strings.Contains(text, `sluice_translation_lost_total{name="taskType",upstream="up"} 1`+"\n") && !strings.Contains(text, `sluice_translation_lost_total{upstream="up",name="taskType"} 1`+"\n") {
		t.Error("what was lost is not counted")
	}

	methods := "/v1/models/m:"
	s = &speaker{reply: map[string]func(http.ResponseWriter){methods + "batchEmbedContents": replies(contentVector), methods + "embedContent": replies(`{"embedding": {"values":[1]}}`)}}
	url = speaking(t, s, "gemini", "cache: {enabled: false}\n")
	for method, want := range map[string]string{"batchEmbedContents": contentVector, "embedContent": `{"embedding": {"values":[1]}}`} {
		if _, text := tell(t, url+"/v1beta/models/m:"+method, batchAsked); text != want {
			t.Errorf("%s: %s", method, text)
		}
		if got, _ := s.last(); got.body != batchAsked || got.path != methods+method {
			t.Errorf("%s: asked %s %s", method, got.path, got.body)
		}
	}
	for format, want := range map[string]string{"": "[0.25, -1e-3]", `"encoding_format":"float",`: "[0.25, -1e-3]", `"encoding_format":"base64",`: `"AACAPm8Sg7o="`} {
		resp, text := tell(t, url+"/v1/embeddings", `{`+format+`"model":"m","input":["a","b"],"dimensions":2,"user":"u"}`)
		wantHas(t, format, text, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":`, `{"object":"embedding","index":1,"embedding":`+want+`}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`)
		if resp.Header.Get("X-Sluice-Lossy") != "user" {
			t.Errorf("%s: %v", format, resp.Header)
		}
		got, _ := s.last()
		if want := `{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"outputDimensionality":2},{"model":"models/m","content":{"parts":[{"text":"b"}]},"outputDimensionality":2}]}`; got.body != want || got.header.Get("X-Goog-Api-Key") != "sk-up" {
			t.Errorf("asked %s with %v", got.body, got.header)
		}
	}
}

// TestEmbeddingsThatAreRefused: what means nothing, and replies that are none, are errors in
// the client's own form.
func TestEmbeddingsThatAreRefused(t *testing.T) {
	s := &speaker{reply: map[string]func(http.ResponseWriter){"/v1/embeddings": replies(vectorReply), "/v1/models/m:batchEmbedContents": replies(contentVector)}}
	openai, google := speaking(t, s, "openai", ""), speaking(t, s, "gemini", "cache: {enabled: false}\nroute: {breaker: {failures: 1000}}\n")
	for _, c := range []struct {
		url, body string
		status    int
	}{
		{openai + "/v1beta/models/m:embedContent", `{}`, 400},
		{openai + "/v1beta/models/m:embedContent", `{"content":{"parts":[]}}`, 400},
		{openai + "/v1beta/models/m:embedContent", `{"content":{"parts":[{"inlineData":{"data":"AA=="}}]}}`, 400},
		{openai + "/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"a"}]}}`, 502}, // two vectors come
		{openai + "/v1beta/models/m:batchEmbedContents", `{"requests":[]}`, 400},
		{openai + "/v1beta/models/m:batchEmbedContents", `{"requests":[7]}`, 400},
		{openai + "/v1beta/models/m:batchEmbedContents", `{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":1},{"content":{"parts":[{"text":"a"}]}}]}`, 400},
		{google + "/v1/embeddings", `{"model":"m"}`, 400},
		{google + "/v1/embeddings", `{"model":"m","input":[[1,2]]}`, 400},
		{google + "/v1/embeddings", `{"model":"m","input":"a","dimensions":"x"}`, 400},
		{google + "/v1/embeddings", `{"model":"m","input":["a","b"],"encoding_format":"int8"}`, 400},
		{google + "/v1/embeddings", `{"model":"m","input":["a"]}`, 502},
	} {
		want := `{"error":{"message":`
		if strings.HasPrefix(c.url, openai) {
			want = `{"error":{"code":`
		}
		if resp, text := tell(t, c.url, c.body); resp.StatusCode != c.status || !strings.HasPrefix(text, want) {
			t.Errorf("%s %s: %d %s", c.url, c.body, resp.StatusCode, text)
		}
	}
}

// TestContentsByInput: a service is asked for the vectors that are not known alone, by whichever
// method they came, and its numbers are told as it spelled them.
func TestContentsByInput(t *testing.T) {
	const a, b, c = `{"model":"models/m","content":{"parts":[{"text":"a"}]}}`, `{"model":"models/m","content":{"parts":[{"text":"b"}]},"taskType":"CLUSTERING"}`, `{"model":"models/m","content":{"parts":[{"text":"c"}]}}`
	methods := "/v1/models/m:"
	s := &speaker{reply: map[string]func(http.ResponseWriter){
		methods + "batchEmbedContents": replies(`{"embeddings": [{"values":[1.50,-1E-3]},{"values":[2.0]}],"new":1}`),
		methods + "embedContent":       replies(`{"embedding": {"values":[3e0]},"new":2}`),
	}}
	url := speaking(t, s, "gemini", "") + "/v1beta/models/m:"
	for _, step := range []struct {
		method, body, cache, want string
		asked                     int
	}{
		{"batchEmbedContents", `{"requests":[` + a + `,` + b + `]}`, "MISS", `{"embeddings": [{"values":[1.50,-1E-3]},{"values":[2.0]}],"new":1}`, 1},
		{"batchEmbedContents", `{"requests":[` + a + `, ` + b + `]}`, "HIT", `{"embeddings": [{"values":[1.50,-1E-3]},{"values":[2.0]}],"new":1}`, 1},
		{"embedContent", b, "HIT", `{"embedding":{"values":[2.0]}}`, 1},
		{"embedContent", c, "MISS", `{"embedding": {"values":[3e0]},"new":2}`, 2},
		{"batchEmbedContents", `{"requests":[` + c + `,` + a + `]}`, "HIT", `{"embeddings":[{"values":[3e0]},{"values":[1.50,-1E-3]}]}`, 2},
	} {
		resp, text := tell(t, url+step.method, step.body)
		if _, n := s.last(); text != step.want || resp.Header.Get("X-Cache") != step.cache || n != step.asked {
			t.Errorf("%s %s: %s %s after %d calls", step.method, step.body, resp.Header.Get("X-Cache"), text, n)
		}
	}

	// Two of four are asked for; where another number of vectors comes, all of them are, and
	// what comes then is told as it is and not kept.
	const d = `{"content":{"parts":[{"text":"d"}]},"outputDimensionality":2}`
	four := `{"requests":[` + a + `,` + d + `,` + c + `,{"content":{"parts":[{"text":"e"}]}}]}`
	wrong := `{"embeddings":[{"values":[1]}]}`
	s.reply[methods+"batchEmbedContents"] = replies(wrong)
	for n := 4; n <= 6; n += 2 {
		if _, text := tell(t, url+"batchEmbedContents", four); text != wrong {
			t.Error(text)
		}
		if got, heard := s.last(); got.body != four || heard != n {
			t.Errorf("asked %s in call %d", got.body, heard)
		}
	}
	s.reply[methods+"batchEmbedContents"] = replies(`{"embeddings":[{"values":[4]},{"values":[5]}]}`)
	if _, text := tell(t, url+"batchEmbedContents", four); text != `{"embeddings":[{"values":[1.50,-1E-3]},{"values":[4]},{"values":[3e0]},{"values":[5]}]}` {
		t.Error(text)
	}
	if got, _ := s.last(); got.body != `{"requests":[`+d+`,{"content":{"parts":[{"text":"e"}]}}]}` {
		t.Errorf("asked %s", got.body)
	}

	// The same of a service that has OpenAI's API alone.
	s = &speaker{reply: map[string]func(http.ResponseWriter){"/v1/embeddings": replies(vectorReply)}}
	url = speaking(t, s, "openai", "") + "/v1beta/models/m:"
	tell(t, url+"batchEmbedContents", `{"requests":[`+a+`,`+b+`]}`)
	for element, lost := range map[string]string{a: "", b: "taskType"} {
		resp, text := tell(t, url+"embedContent", element)
		if _, n := s.last(); n != 1 || resp.Header.Get("X-Cache") != "HIT" || resp.Header.Get("X-Sluice-Lossy") != lost {
			t.Errorf("%s: %v %s", element, resp.Header, text)
		}
	}
}
