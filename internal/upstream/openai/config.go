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

	// Responses and Messages say whether the service has /v1/responses and /v1/messages:
	// Native, Translate where requests become chat completions, or Auto, where they do so
	// once the service has answered that it has no such route. "" is Auto.
	Responses string `yaml:"responses"`
	Messages  string `yaml:"messages"`
}

// The values of Config.Responses and Messages.
const (
	Auto      = "auto"
	Native    = "native"
	Translate = "translate"
)

// Speech implements upstream.Speaker.
func (c Config) Speech() upstream.Speech {
	s := upstream.Speech{Native: []llm.Operation{llm.Chat, llm.Completion, llm.Embedding}, Asks: llm.Chat}
	add := func(how string, ops ...llm.Operation) {
		switch how {
		case Native:
			s.Native = append(s.Native, ops...)
		case Translate:
		default:
			s.Perhaps = append(s.Perhaps, ops...)
		}
	}
	add(c.Responses, llm.Response, llm.CountInputTokens)
	add(c.Messages, llm.Messages, llm.CountTokens)
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
	return errors.Join(err, credentials.Validate(c.APIKey, c.Headers), checkHow("responses", c.Responses), checkHow("messages", c.Messages))
}

func checkHow(key, value string) error {
	switch value {
	case "", Auto, Native, Translate:
		return nil
	}
	return fmt.Errorf("%s: %q is none of auto, native, translate", key, value)
}
