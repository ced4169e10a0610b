package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestResponsesAreCounted: how many tokens a request of the Responses API has is estimated where
// its service has no way to ask, told in the words of one that has, and refused as it would be.
func TestResponsesAreCounted(t *testing.T) {
	const route, counted = "/v1/responses/input_tokens", `{"object":"response.input_tokens","input_tokens": 3}`
	body := `{"model":"m","instructions":"Be brief.","input":"` + strings.Repeat("Hello ", 100) + `"}`
	for _, protocol := range []string{"openai", "openai, responses: native", "openai, responses: translate", "responses", "anthropic", "gemini"} {
		for _, has := range []bool{false, true} {
			s := &speaker{reply: map[string]func(http.ResponseWriter){}}
			if has {
				s.reply[route] = replies(counted)
			}
			url := speaking(t, s, protocol, "")
			resp, text := tell(t, url+route, body)
			passes := protocol == "openai" || strings.Contains(protocol, "native") || protocol == "responses"
			if last, _ := s.last(); passes && (last.path != route || last.body != body) {
				t.Errorf("%s: asked %s %s", protocol, last.path, last.body)
			}
			switch {
			case passes && has:
				if text != counted || resp.Header.Get("X-Sluice-Lossy") != "" {
					t.Errorf("%s: %s %v", protocol, text, resp.Header)
				}
			case passes && protocol != "openai":
				if resp.StatusCode != 404 {
					t.Errorf("%s, without: %d %s", protocol, resp.StatusCode, text)
				}
			default:
				var got struct {
					Object string
					N      int64 `json:"input_tokens"`
				}
				if err := json.Unmarshal([]byte(text), &got); err != nil || got.Object != "response.input_tokens" || got.N < 50 || got.N > 400 || resp.Header.Get("X-Sluice-Lossy") != "count_tokens" {
					t.Errorf("%s: %s %v", protocol, text, resp.Header)
				}
				if resp, text := tell(t, url+route, `{"model":"m","input":7}`); resp.StatusCode != 400 || !strings.HasPrefix(text, `{"error"`) {
					t.Errorf("%s: %d %s", protocol, resp.StatusCode, text)
				}
			}
		}
	}
}
