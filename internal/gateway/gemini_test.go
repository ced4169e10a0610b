package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice/internal/front"
	"sluice/internal/testkit"
)

// googled answers by path, and keeps the last request to each.
type googled struct {
	mu      sync.Mutex
	heard   map[string]*http.Request
	bodies  map[string]string
	replies map[string]string // by path; 404 for any other
}

func (s *googled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard, s.bodies = map[string]*http.Request{}, map[string]string{}
	}
	s.heard[r.URL.Path], s.bodies[r.URL.Path] = r, string(body)
	reply, ok := s.replies[r.URL.Path]
	switch {
	case !ok:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(404)
		reply = `{"error":{"code":404,"message":"There is none.","status":"NOT_FOUND"}}`
	case strings.HasPrefix(reply, "data: "):
		w.Header().Set("Content-Type", "text/event-stream")
	default:
		w.Header().Set("Content-Type", "application/json")
	}
	_, _ = io.WriteString(w, reply)
}

func (s *googled) set(path, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies[path] = reply
}

func (s *googled) last(path string) (*http.Request, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[path], s.bodies[path]
}

// gatewayTo gives the address of a gateway before a service.
func gatewayTo(t *testing.T, s *googled, protocol, base, more string) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	_, url := run(t, loadYAML(t, "upstreams:\n- {name: up, protocol: "+protocol+", base_url: '"+srv.URL+base+"', api_key: sk-up}\nroute: {aliases: {other: up/gemini-2.5-flash}}\n"+more), io.Discard)
	return url
}

func send(t *testing.T, method, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%v after %s", err, text)
	}
	return resp, string(text)
}

// sameJSON compares values.
func sameJSON(t *testing.T, what, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal([]byte(got), &g)
	a, _ := json.Marshal(g)
	if b, _ := json.Marshal(w); string(a) != string(b) {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

const (
	contentReply = `{"candidates": [{"content": {"parts": [{"text": "Hm.","thought": true},{"text": "Yes."},{"functionCall": {"name": "f","args": {"x": 1}},"thoughtSignature": "AA=="}],"role": "model"},"finishReason": "STOP","index": 0}],` +
		`"usageMetadata": {"promptTokenCount": 5,"candidatesTokenCount": 3,"thoughtsTokenCount": 4,"totalTokenCount": 12,"cachedContentTokenCount": 2},"modelVersion": "gemini-2.5-flash","responseId": "r1"}`
	contentStream = `data: {"candidates": [{"content": {"parts": [{"text": "Yes"}],"role": "model"}}],"usageMetadata": {"promptTokenCount": 5},"modelVersion": "gemini-2.5-flash","responseId": "r1"}` + "\r\n\r\n" +
		`data: {"candidates": [{"content": {"parts": [{"text": "."}],"role": "model"},"finishReason": "STOP"}],"usageMetadata": {"promptTokenCount": 5,"candidatesTokenCount": 2,"totalTokenCount": 7},"modelVersion": "gemini-2.5-flash","responseId": "r1"}` + "\r\n\r\n"
	modelList = `{"models":[{"name":"models/gemini-2.5-flash","supportedGenerationMethods":["generateContent","countTokens"]},{"name":"models/embedder","supportedGenerationMethods":["embedContent"]}]}`

	methodsOf = "/v1beta/models/gemini-2.5-flash:"
)

func geminiService() *googled {
	return &googled{replies: map[string]string{
		methodsOf + "generateContent": contentReply, methodsOf + "streamGenerateContent": contentStream, methodsOf + "countTokens": `{"totalTokens": 3,"odd":1}`, "/v1beta/models": modelList,
	}}
}

// TestGeminiIsUntouched: where both ends speak the API not a byte changes but the name in the path.
func TestGeminiIsUntouched(t *testing.T) {
	s := geminiService()
	url := gatewayTo(t, s, "gemini", "/v1beta", "server: {api_keys: [{name: a, hash: '"+front.HashKey("secret")+"'}]}\n")
	const body = `{"contents" : [{"parts":[{"text":"Is it?"}]}], "future": {} }`
	for _, model := range []string{"gemini-2.5-flash", "up/gemini-2.5-flash", "other"} {
		for method, want := range map[string]string{"generateContent?key=secret": contentReply, "countTokens?key=secret": s.replies[methodsOf+"countTokens"], "streamGenerateContent?alt=sse&key=secret": contentStream,
			"streamGenerateContent?key=secret": arrayOf(contentStream)} {
			resp, text := send(t, "POST", url+"/v1beta/models/"+model+":"+method, body)
			method, query, _ := strings.Cut(method, "?")
			if method == "streamGenerateContent" {
				query = "alt=sse"
			}
			got, asked := s.last(methodsOf + method)
			if resp.StatusCode != 200 || text != want || asked != body || resp.Header.Get("X-Sluice-Lossy") != "" {
				t.Errorf("%s of %s: %d %s, asked with %s", method, model, resp.StatusCode, text, asked)
				continue
			}
			if want := strings.TrimSuffix(strings.TrimSuffix(query, "key=secret"), "&"); got.URL.RawQuery != want || got.Header.Get("X-Goog-Api-Key") != "sk-up" || got.Header.Get("Authorization") != "" {
				t.Errorf("%s of %s: ?%s, want ?%s, with %v", method, model, got.URL.RawQuery, want, got.Header)
			}
		}
	}
	resp, text := send(t, "POST", url+"/v1beta/models/gemini-9:generateContent?key=secret", body)
	if resp.StatusCode != 404 || !strings.Contains(text, `"status":"NOT_FOUND"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// arrayOf is a stream as the array that it is without alt=sse.
func arrayOf(stream string) string {
	events := strings.Split(strings.TrimSpace(strings.ReplaceAll(stream, "\r\n", "\n")), "\n\n")
	return "[" + strings.TrimPrefix(strings.ReplaceAll(strings.Join(events, "\n,\r\n"), "\ndata: ", "\n")+"\n]", "data: ")
}

// TestGeminiModels: the lists are there in both forms, whoever they come from.
func TestGeminiModels(t *testing.T) {
	s := geminiService()
	url := gatewayTo(t, s, "gemini", "/v1beta", "")
	_, text := send(t, "GET", url+"/v1/models", "")
	if !strings.Contains(text, `"id":"gemini-2.5-flash"`) || strings.Contains(text, "embedder") {
		t.Errorf("models are %s", text)
	}
	if got, _ := s.last("/v1beta/models"); got.URL.RawQuery != "pageSize=1000" {
		t.Errorf("asked with ?%s", got.URL.RawQuery)
	}
	const model = `{"name":"models/gemini-2.5-flash","version":"","displayName":"gemini-2.5-flash","supportedGenerationMethods":["generateContent","countTokens"]}`
	if _, text := send(t, "GET", url+"/v1beta/models", ""); !strings.Contains(text, model) || !strings.HasPrefix(text, `{"models":[`) || !json.Valid([]byte(text)) {
		t.Errorf("models are %s", text)
	}
	if resp, text := send(t, "GET", url+"/v1beta/models/gemini-2.5-flash", ""); resp.StatusCode != 200 || text != model {
		t.Errorf("the model is %s", text)
	}
	if resp, text := send(t, "GET", url+"/v1beta/models/gemini-9", ""); resp.StatusCode != 404 || !strings.Contains(text, `"status":"NOT_FOUND"`) {
		t.Errorf("a model that is none: %d %s", resp.StatusCode, text)
	}
}

// TestChatOverGemini: a client of OpenAI's uses a service of the API.
func TestChatOverGemini(t *testing.T) {
	s := geminiService()
	url := gatewayTo(t, s, "gemini", "/v1beta", "")
	const body = `{"model":"gemini-2.5-flash","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Is it?"}],"max_completion_tokens":9,"user":"u"}`
	resp, text := send(t, "POST", url+"/v1/chat/completions", body)
	for _, want := range []string{`"object":"chat.completion"`, `"content":"Yes."`, `"reasoning_content":"Hm."`, `"arguments":"{\"x\": 1}"`, `"finish_reason":"tool_calls"`, `"prompt_tokens":5`, `"completion_tokens":7`, `"cached_tokens":2`, `"reasoning_tokens":4`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if resp.Header.Get("X-Sluice-Lossy") != "user" {
		t.Errorf("lost %q", resp.Header.Get("X-Sluice-Lossy"))
	}
	got, asked := s.last(methodsOf + "generateContent")
	sameJSON(t, "asked", asked, `{"systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"Is it?"}]}],"generationConfig":{"maxOutputTokens":9}}`)
	if got.Header.Get("X-Goog-Api-Key") != "sk-up" {
		t.Errorf("asked with %v", got.Header)
	}
	resp, text = send(t, "POST", url+"/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":true},`+body[1:])
	if !strings.HasSuffix(text, "data: [DONE]\n\n") || !strings.Contains(text, `"content":"Yes"`) || !strings.Contains(text, `"finish_reason":"stop"`) || !strings.Contains(text, `"completion_tokens":2`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if got, _ := s.last(methodsOf + "streamGenerateContent"); got == nil || got.URL.RawQuery != "alt=sse" {
		t.Errorf("asked %v", got)
	}
	s.mu.Lock()
	delete(s.replies, methodsOf+"generateContent")
	s.mu.Unlock()
	if resp, text := send(t, "POST", url+"/v1/chat/completions", strings.Replace(body, "Is it?", "Is it still?", 1)); resp.StatusCode != 404 || !strings.Contains(text, `{"error":{"message":"There is none."`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, text := send(t, "POST", url+"/v1/completions", `{"model":"gemini-2.5-flash","prompt":"a"}`); resp.StatusCode != 501 || !strings.Contains(text, "/v1/completions") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestImagesOverGemini: images that a model makes are told to clients of other APIs, and counted by
// name as lost where these have no place for them, in the header where it has not gone.
func TestImagesOverGemini(t *testing.T) {
	const image = `{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}`
	s := geminiService()
	s.set(methodsOf+"generateContent", strings.Replace(contentReply, `{"text": "Yes."}`, image, 1))
	s.set(methodsOf+"streamGenerateContent", strings.Replace(contentStream, `{"text": "."}`, image, 1))
	url := gatewayTo(t, s, "gemini", "/v1beta", "cache: {streams: true}\n")
	const (
		ask = `"model":"gemini-2.5-flash","max_tokens":9,"messages":[{"role":"user","content":"Is it?"}]}`
		had = `"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]`
	)
	for _, first := range []string{"{", `{"stream":true,"temperature":0,`} { // else a stream is made of the whole reply
		for range 2 { // the second is from memory
			if resp, text := send(t, "POST", url+"/v1/chat/completions", first+ask); !strings.Contains(text, had) || strings.Contains(resp.Header.Get("X-Sluice-Lossy"), "image") {
				t.Errorf("%v: %s", resp.Header, text)
			}
		}
		if _, text := send(t, "POST", url+"/v1/responses", first+`"model":"gemini-2.5-flash","store":false,"input":"Is it?"}`); !strings.Contains(text, `"type":"image_generation_call","status":"completed","output_format":"png","result":"iVBORw0KGgo="}`) {
			t.Error(text)
		}
		resp, text := send(t, "POST", url+"/v1/messages", first+ask)
		if got := resp.Header.Get("X-Sluice-Lossy"); got != "images" && first == "{" || resp.StatusCode != 200 {
			t.Errorf("lost %q: %s", got, text)
		}
	}
	testkit.Until(t, "both are counted", func() bool {
		_, text := send(t, "GET", url+"/metrics", "")
		return strings.Contains(text, `sluice_translation_lost_total{name="images",upstream="up"} 2`+"\n")
	})
}

// TestGeminiOverChat: a client of the API uses a service of OpenAI's.
func TestGeminiOverChat(t *testing.T) {
	s := &googled{replies: map[string]string{
		"/v1/models":           `{"object":"list","data":[{"id":"m","object":"model"}]}`,
		"/v1/chat/completions": `{"id":"c1","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":4}}`,
	}}
	url := gatewayTo(t, s, "openai", "/v1", "")
	const body = `{"systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[{"parts":[{"text":"Is it?"}]}],"safetySettings":[{}]}`
	resp, text := send(t, "POST", url+"/v1beta/models/m:generateContent", body)
	sameJSON(t, "reply", text, `{"candidates":[{"content":{"parts":[{"text":"Yes."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":4,"totalTokenCount":11},"modelVersion":"m-1","responseId":"c1"}`)
	if resp.Header.Get("X-Sluice-Lossy") != "safetySettings" {
		t.Errorf("lost %q", resp.Header.Get("X-Sluice-Lossy"))
	}
	_, asked := s.last("/v1/chat/completions")
	sameJSON(t, "asked", asked, `{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Is it?"}]}`)
	if resp, text = send(t, "POST", url+"/v1beta/models/m:countTokens", body); resp.StatusCode != 200 || !strings.HasPrefix(text, `{"totalTokens":`) || resp.Header.Get("X-Sluice-Lossy") != "count_tokens" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	s.mu.Lock()
	s.replies["/v1/chat/completions"] = `data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"Ye"}}]}` + "\n\n" +
		`data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"content":"s."},"finish_reason":"length"}]}` + "\n\n" + `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4}}` + "\n\ndata: [DONE]\n\n"
	s.mu.Unlock()
	resp, text = send(t, "POST", url+"/v1beta/models/m:streamGenerateContent?alt=sse", body)
	const want = `data: {"candidates":[{"content":{"parts":[{"text":"Ye"}],"role":"model"},"index":0}],"modelVersion":"m-1","responseId":"c1"}` + "\n\n" +
		`data: {"candidates":[{"content":{"parts":[{"text":"s."}],"role":"model"},"index":0}],"modelVersion":"m-1","responseId":"c1"}` + "\n\n" +
		`data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"MAX_TOKENS","index":0}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":4,"totalTokenCount":11},"modelVersion":"m-1","responseId":"c1"}` + "\n\n"
	if text != want || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("%v %s", resp.Header, text)
	}
	if resp, text = send(t, "POST", url+"/v1beta/models/m:streamGenerateContent", body); text != arrayOf(want) || resp.Header.Get("Content-Type") != "application/json; charset=UTF-8" {
		t.Errorf("%v %s", resp.Header, text)
	}
	if resp, text := send(t, "POST", url+"/v1beta/models/none:streamGenerateContent", body); resp.StatusCode != 404 || !strings.HasPrefix(text, `[{"error":{"code":404,`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, text := send(t, "POST", url+"/v1beta/models/m:generateContent", `{"contents":7}`); resp.StatusCode != 400 || !strings.Contains(text, `"status":"INVALID_ARGUMENT"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}
