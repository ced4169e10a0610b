package replay

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"sluice/internal/llm"
)

// openAPI compiles schemas of OpenAI's own description of its API.
func openAPI(t *testing.T) *jsonschema.Compiler {
	t.Helper()
	f, err := os.Open(filepath.FromSlash("../../../../shared/data/conformance/openai-openapi/openapi.yaml.gz"))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components map[string]any `yaml:"components"`
	}
	if err := yaml.NewDecoder(plain).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"components": map[string]any{"schemas": doc.Components["schemas"]}})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///openapi.json", dialect(tree)); err != nil {
		t.Fatal(err)
	}
	return c
}

// dialect turns OpenAPI 3.0's "nullable: true" into JSON Schema, and takes the
// recursive keywords of an older draft out, which only filters have.
func dialect(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = dialect(v[i])
		}
	case map[string]any:
		nullable := v["nullable"] == true
		for _, key := range []string{"nullable", "$recursiveAnchor", "$recursiveRef"} {
			delete(v, key)
		}
		for k := range v {
			v[k] = dialect(v[k])
		}
		if nullable {
			return map[string]any{"anyOf": []any{v, map[string]any{"type": "null"}}}
		}
	}
	return v
}

// TestEventsAsOpenAIDescribes validates every event of a replay. The chunks of
// completions are not described apart from whole replies.
func TestEventsAsOpenAIDescribes(t *testing.T) {
	c := openAPI(t)
	for op, name := range map[llm.Operation]string{
		llm.Chat: "CreateChatCompletionStreamResponse", llm.Response: "ResponseStreamEvent",
	} {
		schema, err := c.Compile("mem:///openapi.json#/components/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, datas, ok := stream(t, op, []byte(samples[op]), true)
		if !ok {
			t.Errorf("%v was refused", op)
		}
		for _, data := range datas {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := v.(object)["response"].(object); ok && r["usage"] == nil {
				delete(r, "usage") // OpenAI's servers send null, which is not in the description
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: %v", data, err)
			}
		}
	}
}
