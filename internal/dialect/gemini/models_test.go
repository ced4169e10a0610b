//go:build !race

package gemini

import (
	"encoding/json"
	"testing"

	"sluice/internal/jsonscan"
)

// TestModels: lists go from one form to the other.
func TestModels(t *testing.T) {
	equal(t, "to the API", AppendModels(nil, []byte(`{"object":"list","data":[{"id":"a\"b"},{"id":"c"}]}`)),
		`{"models":[{"name":"models/a\"b","version":"","displayName":"a\"b","supportedGenerationMethods":["generateContent","countTokens"]},{"name":"models/c","version":"","displayName":"c","supportedGenerationMethods":["generateContent","countTokens"]}]}`)
	equal(t, "of nothing", AppendModels(nil, []byte(`7`)), `{"models":[]}`)
	equal(t, "from the API", AppendList(nil, []byte(`{"models":[{"name":"models/a","supportedGenerationMethods":["x","generateContent"]},{"name":"tunedModels/b"},{"name":"models/c","supportedGenerationMethods":["embedContent"]},{"name":7},8]}`)),
		`{"object":"list","data":[{"id":"a","object":"model","created":0,"owned_by":"google"},{"id":"tunedModels/b","object":"model","created":0,"owned_by":"google"}]}`)
	equal(t, "from nothing", AppendList(nil, []byte(`[]`)), `{"object":"list","data":[]}`)
}

// FuzzModels: whatever a service calls its models, the lists are JSON.
func FuzzModels(f *testing.F) {
	f.Add([]byte(`{"models":[{"name":"models/a"},{"name":"\"","supportedGenerationMethods":{}}],"data":[{"id":"a"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if jsonscan.Validate(body, 100) != nil {
			return
		}
		for _, out := range [][]byte{AppendModels(nil, body), AppendList(nil, body)} {
			if !json.Valid(out) {
				t.Errorf("%s became %s", body, out)
			}
		}
	})
}
