package front

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

// TestGeminiRoutes: the operation, the model and the stream are in the path, and nothing in
// the body is taken for them.
func TestGeminiRoutes(t *testing.T) {
	asked := make(chan string, 1)
	s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		asked <- fmt.Sprintf("%v %s %v %s?%s %v", req.Op, req.Model, req.Stream, req.Path, req.RawQuery, req.ModelSpan)
		if err := out.Start(&llm.Head{Status: 200, Length: 2}); err != nil {
			return err
		}
		return out.Send([]llm.Event{{Raw: []byte("{}")}})
	})
	const body = `{"contents":[],"model":7,"stream":"x"}`
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v1beta/models/m:generateContent", body, "generate_content m false /v1beta/models/m:generateContent? {0 0}"},
		{"POST", "/v1beta/models/up/m:8b:streamGenerateContent?alt=sse&x=%20", body, "generate_content up/m:8b true /v1beta/models/up/m:8b:streamGenerateContent?alt=sse&x=%20 {0 0}"},
		{"POST", "/v1beta/models/m%20n:countTokens?$alt=json", body, "count_content_tokens m n false /v1beta/models/m%20n:countTokens?$alt=json {0 0}"},
		{"POST", "/v1beta/models/m:embedContent", body, "embed_content m false /v1beta/models/m:embedContent? {0 0}"},
		{"POST", "/v1beta/models/m:batchEmbedContents", body, "batch_embed_contents m false /v1beta/models/m:batchEmbedContents? {0 0}"},
		{"GET", "/v1beta/models", "", "list_models  false /v1beta/models? {0 0}"},
		{"GET", "/v1beta/models/m:8b", "", "get_model m:8b false /v1beta/models/m:8b? {0 0}"},
	} {
		if resp, text := do(t, h1(t, s), newRequest(t, t.Context(), c.method, s.url(c.path), c.body)); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", c.path, resp.StatusCode, text)
		} else if got := <-asked; got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1beta/models/m:streamGenerateContent?alt=media", body, 400, "alt=sse"},
		{"POST", "/v1beta/models/m:asyncBatchEmbedContent", body, 404, `"status":"NOT_FOUND"`},
		{"POST", "/v1beta/models/:generateContent", body, 404, `"status":"NOT_FOUND"`},
		{"POST", "/v1beta/models/../m:generateContent", body, 404, `"status":"NOT_FOUND"`},
		{"POST", "/v1beta/cachedContents", body, 404, `"status":"NOT_FOUND"`},
		{"GET", "/v1beta/", "", 404, `"status":"NOT_FOUND"`},
		{"GET", "/v1beta/modelsx", "", 404, `"status":"NOT_FOUND"`},
		{"GET", "/v1beta/models/m:generateContent", "", 405, `{"error":{"code":405,`},
		{"DELETE", "/v1beta/models/m", "", 405, `{"error":{"code":405,`},
		{"POST", "/v1beta/models/m:generateContent", "[]", 400, `"status":"INVALID_ARGUMENT"`},
		{"POST", "/v1beta/models/m:generateContent", `{"a":`, 400, `"status":"INVALID_ARGUMENT"`},
		{"GET", "/v1betax/models", "", 404, `"code":"unknown_url"`},
	} {
		resp, text := do(t, h1(t, s), newRequest(t, t.Context(), c.method, s.url(c.path), c.body))
		if resp.StatusCode != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, text)
		}
	}
}

// TestKeyInQuery: a key may stand there, for that API alone, and nobody is shown it, whatever is asked for.
func TestKeyInQuery(t *testing.T) {
	shown := make(chan string, 100)
	queries := make(chan string, 1)
	s := startWith(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
		queries <- req.Path + "?" + req.RawQuery + fmt.Sprint(req.Header)
		if err := out.Start(&llm.Head{Status: 200, Length: 2}); err != nil {
			return err
		}
		return out.Send([]llm.Event{{Raw: []byte("{}")}})
	}, Options{Observers: []perf.Observer{observer(func(x *perf.Exchange) { shown <- fmt.Sprintf("%+v", *x) })}}, func(c *Config, _ *StreamConfig) {
		c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("s3cr+t")}}
	})
	const path = "/v1beta/models/m:generateContent"
	for query, want := range map[string]string{
		"?key=s3cr%2Bt":            path + "?[{Content-Type",
		"?a=b&key=s3cr%2Bt&c=d":    path + "?a=b&c=d[",
		"?%6bey=s3cr%2Bt&alt=json": path + "?alt=json[",
		"?key=s3cr%2Bt&key=other":  path + "?[",

		"?access_token=s3cr%2Bt":                      path + "?[",
		"?alt=json&access%5Ftoken=s3cr%2Bt&key=other": path + "?alt=json[",
		"?$key=s3cr%2Bt&%24access_token=other":        path + "?[",
		"?oauth_token=s3cr%2Bt&a":                     path + "?a[",
		"?api_key=s3cr%2Bt&$bearer_token=other&a=b":   path + "?a=b[",
		"?key=s3cr%2Bt&%24httpHeaders=x:y&a=b":        path + "?a=b[",
		"?$httpHeaders=x%3as3cr%2bt&key=s3cr%2Bt":     path + "?[",
		"?a=b;key=s3cr%2Bt;c;%24key=x&key=s3cr%2Bt":   path + "?a=b;c[",
		"?key=&access_token=%20&key=s3cr%2Bt":         path + "?[",
	} {
		resp, text := do(t, h1(t, s), newRequest(t, t.Context(), "POST", s.url(path+query), "{}"))
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", query, resp.StatusCode, text)
			continue
		}
		if got := <-queries; !strings.HasPrefix(got, want[:strings.IndexByte(want, '[')+1]) || strings.Contains(got, "s3cr") {
			t.Errorf("%s is handed on as %s, want %s", query, got, want)
		}
	}
	for _, c := range []string{path, path + "?key=other", path + "?key=", path + "?key=other&key=s3cr%2Bt", path + "?key=" + strings.Repeat("x", 600), "/v1/models?key=s3cr%2Bt",
		path + "?access_token=other", path + "?access_token", path + "?access_token=%20&key=", "/v1/models?access_token=s3cr%2Bt"} {
		method := "POST"
		if strings.HasPrefix(c, "/v1/") {
			method = "GET"
		}
		if resp, text := do(t, h1(t, s), newRequest(t, t.Context(), method, s.url(c), "{}")); resp.StatusCode != 401 || strings.Contains(text, "s3cr") {
			t.Errorf("%s: %d %s", c, resp.StatusCode, text)
		}
	}
	// What the header says comes first, and nobody behind is shown a token in any query.
	for query, want := range map[string]string{path + "?key=other": path + "?[", "/v1/files?access_token=s3cr%2Bt&key=k&a=b&$access_token=x": "/v1/files?a=b&$access_token=x[", "/v1/batches?%6bey=s3cr%2Bt": "/v1/batches?[", "/v1/files?api_key=s3cr%2Bt&a=b": "/v1/files?a=b["} {
		req := newRequest(t, t.Context(), "POST", s.url(query), "{}")
		req.Header.Set("X-Goog-Api-Key", "s3cr+t")
		if resp, text := do(t, h1(t, s), req); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", query, resp.StatusCode, text)
		} else if got := <-queries; !strings.HasPrefix(got, want) {
			t.Errorf("%s is handed on as %s, want %s", query, got, want)
		}
	}
	for range 13 + 10 + 3 {
		if x := <-shown; strings.Contains(x, "s3cr") {
			t.Errorf("observers are shown %s", x)
		}
	}
}
