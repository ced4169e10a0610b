package e2e

import (
	"fmt"
	"testing"
)

// chained is a sluice before one that serves simulated models: it asks it in another
// dialect than OpenAI's.
func chained(t *testing.T, protocol string) *instance {
	t.Helper()
	behind := start(t, "")
	version := "/v1"
	if protocol == "gemini" {
		version = "/v1beta"
	}
	return start(t, fmt.Sprintf("upstreams: [{name: up, protocol: %s, base_url: '%s%s', models: [sim-chat, sim-echo, sim-embed, sim-reasoner, sim-script, simulator/*]}]\nroute: {breaker: {failures: 1000}}\n", protocol, behind.url, version))
}

// TestMessagesSDK has Anthropic's npm package use services that speak chat completions, and
// ones that speak its own dialect.
func TestMessagesSDK(t *testing.T) {
	for name, in := range map[string]*instance{"chat": start(t, ""), "messages": chained(t, "anthropic"), "gemini": chained(t, "gemini"), "responses": chained(t, "responses")} {
		t.Run(name, func(t *testing.T) {
			node(t, "messages.test.js", "ANTHROPIC_BASE_URL="+in.url, "ANTHROPIC_API_KEY=unused")
		})
	}
}

// TestChatOverDialects has OpenAI's npm package use services that do not speak its dialect.
func TestChatOverDialects(t *testing.T) {
	for _, protocol := range []string{"anthropic", "gemini", "responses", "openai, responses: translate"} {
		t.Run(protocol, func(t *testing.T) {
			node(t, "sluice.test.js", "OPENAI_BASE_URL="+chained(t, protocol).url+"/v1", "OPENAI_API_KEY=unused", "CONVERSATIONS_ONLY=1")
		})
	}
}

// TestGeminiSDK has Google's npm package use services that speak chat completions, and ones
// that speak its own dialect or Anthropic's.
func TestGeminiSDK(t *testing.T) {
	for name, in := range map[string]*instance{"chat": start(t, ""), "gemini": chained(t, "gemini"), "messages": chained(t, "anthropic"), "responses": chained(t, "responses")} {
		t.Run(name, func(t *testing.T) { node(t, "gemini.test.js", "GEMINI_URL="+in.url, "SERVICE="+name) })
	}
}
