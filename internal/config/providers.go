package config

// provider is a service whose usual variable alone makes it an upstream.
type provider struct {
	prefix  string // of PREFIX_API_KEY and PREFIX_BASE_URL; in lower case the upstream's name
	baseURL string
	source  string // where the service documents the address

	// native is the protocol of the service's own that its key alone is for, "" for OpenAI's,
	// and nativeURL where it is spoken.
	native, nativeURL string
}

// openAI is the prefix of the one whose address alone is enough too.
const openAI = "OPENAI"

// providersKnown are the services that document an address which speaks
// OpenAI's API, or one of their own that is known, for whoever has a key. Those whose address depends on an account
// or a region (Azure, Cloudflare, DashScope) are not among them: PREFIX_BASE_URL
// says it.
func providersKnown() []provider {
	return []provider{
		{openAI, "https://api.openai.com/v1", "https://platform.openai.com/docs/api-reference", "", ""},
		{"ANTHROPIC", "https://api.anthropic.com/v1", "https://docs.anthropic.com/en/api/openai-sdk", "anthropic", "https://api.anthropic.com/v1"},
		{"CEREBRAS", "https://api.cerebras.ai/v1", "https://inference-docs.cerebras.ai/resources/openai", "", ""},
		{"COHERE", "https://api.cohere.ai/compatibility/v1", "https://docs.cohere.com/docs/compatibility-api", "", ""},
		{"DEEPINFRA", "https://api.deepinfra.com/v1/openai", "https://deepinfra.com/docs/openai_api", "", ""},
		{"DEEPSEEK", "https://api.deepseek.com/v1", "https://api-docs.deepseek.com", "", ""},
		{"FIREWORKS", "https://api.fireworks.ai/inference/v1", "https://docs.fireworks.ai/tools-sdks/openai-compatibility", "", ""},
		{"GEMINI", "https://generativelanguage.googleapis.com/v1beta/openai", "https://ai.google.dev/gemini-api/docs/openai", "gemini", "https://generativelanguage.googleapis.com/v1beta"},
		{"GROQ", "https://api.groq.com/openai/v1", "https://console.groq.com/docs/openai", "", ""},
		{"MISTRAL", "https://api.mistral.ai/v1", "https://docs.mistral.ai/api", "", ""},
		{"MOONSHOT", "https://api.moonshot.ai/v1", "https://platform.moonshot.ai/docs", "", ""},
		{"NVIDIA", "https://integrate.api.nvidia.com/v1", "https://docs.api.nvidia.com", "", ""},
		{"OPENROUTER", "https://openrouter.ai/api/v1", "https://openrouter.ai/docs/quickstart", "", ""},
		{"PERPLEXITY", "https://api.perplexity.ai", "https://docs.perplexity.ai", "", ""},
		{"SAMBANOVA", "https://api.sambanova.ai/v1", "https://docs.sambanova.ai", "", ""},
		{"TOGETHER", "https://api.together.xyz/v1", "https://docs.together.ai/docs/openai-api-compatibility", "", ""},
		{"XAI", "https://api.x.ai/v1", "https://docs.x.ai/docs/api-reference", "", ""},
	}
}

// known finds a known service: the zero provider for any other.
func known(prefix string) provider {
	for _, p := range providersKnown() {
		if p.prefix == prefix {
			return p
		}
	}
	return provider{}
}

// url gives the service's address for a protocol, of which usual is OpenAI's; "" for none.
func (p provider) url(protocol, usual string) string {
	switch protocol {
	case usual:
		return p.baseURL
	case p.native:
		return p.nativeURL
	}
	return ""
}
