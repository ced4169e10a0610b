package gemini

import (
	"strings"
	"testing"

	"sluice/internal/llm"
)

// TestValidate: what is wrong with an upstream's entry is told, all of it.
func TestValidate(t *testing.T) {
	const url = "https://generativelanguage.googleapis.com/v1beta"
	for want, c := range map[string]Config{
		"":                              {BaseURL: url, APIKey: llm.NewSecret("k"), Headers: map[string]string{"A": "b"}},
		"base_url":                      {BaseURL: "ftp://x"},
		"X-Goog-Api-Key and api_key":    {BaseURL: url, APIKey: llm.NewSecret("k"), Headers: map[string]string{"x-goog-api-key": "b"}},
		"\"a b\" is not a header name":  {BaseURL: url, Headers: map[string]string{"a b": "c"}},
		"base_url: \"\" is not an http": {Headers: map[string]string{"X-Goog-Api-Key": "b"}},
	} {
		want = strings.ReplaceAll(want, "X-Goog-Api-Key and", "x-goog-api-key and")
		switch err := c.Validate(); {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

// TestPathOf: the path is of the model that the upstream knows, and begins as the handler that
// is shared takes it.
func TestPathOf(t *testing.T) {
	for want, req := range map[string]llm.Request{
		"/v1/models/a:generateContent":       {Op: llm.GenerateContent, Model: "a"},
		"/v1/models/b:generateContent":       {Op: llm.GenerateContent, Model: "a", UpstreamModel: "b"},
		"/v1/models/b:streamGenerateContent": {Op: llm.GenerateContent, Model: "a", UpstreamModel: "models/b", Stream: true},
		"/v1/tunedModels/b:countTokens":      {Op: llm.CountContentTokens, Model: "tunedModels/b"},
		"/v1/models/e:embedContent":          {Op: llm.EmbedContent, Model: "e"},
		"/v1/models/e:batchEmbedContents":    {Op: llm.BatchEmbedContents, Model: "e"},
		"/v1/models/a/b%3Fc:countTokens":     {Op: llm.CountContentTokens, Model: "a/b?c"},
	} {
		if got := pathOf(&req); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
