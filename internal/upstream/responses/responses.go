// Package responses is an upstream that has OpenAI's Responses API and, of conversations, no
// other: what clients say in another dialect becomes requests of it. It is asked as one of
// package openai is.
package responses

import (
	"errors"
	"net/url"

	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
	"sluice/internal/upstream/openai"
)

// Config is what an upstream of this protocol needs to be told.
type Config struct {
	// BaseURL is where the upstream's API begins, which is where OpenAI has
	// "https://api.openai.com/v1". A query in it goes with every request.
	BaseURL string `yaml:"base_url"`

	// APIKey is sent as "Authorization: Bearer"; none is sent when it is empty.
	APIKey llm.Secret `yaml:"api_key"`

	// Headers are further fields of every request. They take the place of fields of the
	// same name that a client sent.
	Headers map[string]string `yaml:"headers" identity:"fold"`
}

// Protocol is the protocol as an upstream's entry names it.
func Protocol() upstream.Protocol {
	return upstream.Protocol{Name: "responses", Settings: func() upstream.Settings { return &Config{} }}
}

// Speech implements upstream.Speaker.
func (Config) Speech() upstream.Speech {
	return upstream.Speech{Native: []llm.Operation{llm.Response, llm.CountInputTokens, llm.Embedding}, Asks: llm.Response}
}

// Base implements upstream.Settings.
func (c Config) Base() (*url.URL, error) { return upstream.ParseBase(c.BaseURL) }

// Validate implements upstream.Settings.
func (c Config) Validate() error {
	_, err := c.Base()
	return errors.Join(err, credentials.Validate(c.APIKey, c.Headers))
}

// Handler implements upstream.Settings.
func (c Config) Handler(s upstream.Setup) (llm.Handler, error) {
	return openai.New(openai.Config{BaseURL: c.BaseURL, APIKey: c.APIKey, Headers: c.Headers}, s.Name, s.Client, s.Stream)
}
