package openai

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
)

// Config is what an upstream of this protocol needs to be told.
type Config struct {
	// BaseURL is where the upstream's API begins, which is where OpenAI has
	// "https://api.openai.com/v1". A query in it goes with every request.
	BaseURL string `yaml:"base_url"`

	// APIKey is sent as "Authorization: Bearer"; none is sent when it is empty.
	APIKey llm.Secret `yaml:"api_key"`

	// Headers are further fields of every request, such as api-key. They take
	// the place of fields of the same name that a client sent.
	Headers map[string]string `yaml:"headers" identity:"fold"`

	// Responses says whether the service has /v1/responses: ResponsesNative,
	// ResponsesTranslate where requests become chat completions, or ResponsesAuto, where they
	// do so once the service has answered that it has no such route.
	Responses string `yaml:"responses"`
}

// The values of Config.Responses. "" is ResponsesAuto.
const (
	ResponsesAuto      = "auto"
	ResponsesNative    = "native"
	ResponsesTranslate = "translate"
)

// Speech implements upstream.Speaker.
func (c Config) Speech() upstream.Speech {
	s := upstream.Speech{Native: []llm.Operation{llm.Chat, llm.Completion, llm.Embedding}, Asks: llm.Chat}
	switch c.Responses {
	case ResponsesNative:
		s.Native = append(s.Native, llm.Response)
	case ResponsesTranslate:
	default:
		s.Perhaps = []llm.Operation{llm.Response}
	}
	if u, err := c.Base(); err == nil {
		// Whose newer models refuse the other name.
		s.CompletionTokens = u.Hostname() == "api.openai.com" || strings.HasSuffix(u.Hostname(), ".openai.azure.com")
	}
	return s
}

// Protocol is the protocol as an upstream's entry names it.
func Protocol() upstream.Protocol {
	return upstream.Protocol{Name: "openai", Settings: func() upstream.Settings { return &Config{} }}
}

// Base implements upstream.Settings.
func (c Config) Base() (*url.URL, error) { return upstream.ParseBase(c.BaseURL) }

// Handler implements upstream.Settings.
func (c Config) Handler(s upstream.Setup) (llm.Handler, error) {
	return New(c, s.Name, s.Client, s.Stream)
}

// Validate reports every fault at once, each as "key: what is wrong".
func (c Config) Validate() error {
	_, err := c.Base()
	var fault error
	switch c.Responses {
	case "", ResponsesAuto, ResponsesNative, ResponsesTranslate:
	default:
		fault = fmt.Errorf("responses: %q is none of auto, native, translate", c.Responses)
	}
	return errors.Join(err, credentials.Validate(c.APIKey, c.Headers), fault)
}
