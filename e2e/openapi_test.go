package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sluice/internal/testkit"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestErrorsAsOpenAIDescribes brings about every kind of error that Sluice
// answers with itself and validates each reply.
func TestErrorsAsOpenAIDescribes(t *testing.T) {
	t.Parallel()
	testkit.Each(t, testErrors)
}

func testErrors(t *testing.T, inputs testkit.Inputs) {
	schema := inputs.Schema(t, "ErrorResponse")
	in := start(t, "server: {max_body_bytes: 1000}\nhttp_client: {response_header_timeout: 5s, first_event_timeout: 5s}\n")
	// The hash is that of "secret".
	locked := start(t, `server: {api_keys: [{name: a, hash: "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}]}`)
	const asJSON = "application/json"
	chat := func(model string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, model)
	}
	for _, c := range []struct {
		name, url, method, contentType, body, auth string
		status                                     int
		code                                       any
	}{
		{"unknown route", in.url + "/v1/nothing", "GET", "", "", "", 404, "unknown_url"},
		{"wrong method", in.url + "/v1/chat/completions", "DELETE", "", "", "", 405, "method_not_supported"},
		{"content type", in.url + "/v1/chat/completions", "POST", "text/plain", "{}", "", 415, nil},
		{"too large", in.url + "/v1/chat/completions", "POST", asJSON, chat(strings.Repeat("x", 2000)), "", 413, nil},
		{"invalid JSON", in.url + "/v1/chat/completions", "POST", asJSON, "{\n \"model\": }", "", 400, nil},
		{"no model", in.url + "/v1/embeddings", "POST", asJSON, "{}", "", 400, nil},
		{"unknown model", in.url + "/v1/completions", "POST", asJSON, chat("none"), "", 404, "model_not_found"},
		{"unknown model by id", in.url + "/v1/models/none", "GET", "", "", "", 404, "model_not_found"},
		{"no key", locked.url + "/v1/models", "GET", "", "", "", 401, nil},
		{"wrong key", locked.url + "/v1/models", "GET", "", "", "Bearer wrong", 401, "invalid_api_key"},
		{"upstream's HTML", in.url + "/v1/chat/completions", "POST", asJSON, chat("simulator/sim-chat?status=502&key=a"), "", 502, "upstream_error"},
		{"upstream's cut", in.url + "/v1/chat/completions", "POST", asJSON, chat("simulator/sim-chat?reset=1"), "", 502, "upstream_cut"},
		{"upstream's time-out", in.url + "/v1/chat/completions", "POST", asJSON, chat("simulator/sim-chat?latency=60s"), "", 504, "upstream_timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, c.url, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", c.contentType)
			req.Header.Set("Authorization", c.auth)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
			if err != nil {
				t.Fatalf("%v in %q", err, body)
			}
			if err := schema.Validate(tree); err != nil {
				t.Errorf("%v\n%s", err, body)
			}
			code := tree.(map[string]any)["error"].(map[string]any)["code"]
			if resp.StatusCode != c.status || (c.code != nil && code != c.code) {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, body)
			}
		})
	}
	// With the right key the door opens.
	req, err := http.NewRequest("GET", locked.url+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("right key: status %d", resp.StatusCode)
	}
}
