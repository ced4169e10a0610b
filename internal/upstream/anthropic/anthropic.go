// Package anthropic is an upstream that speaks Anthropic's Messages API over HTTP. It is
// asked as one that speaks OpenAI's is (package openai): requests and replies keep their
// bytes, and its key goes to it and nowhere else.
package anthropic

import (
	"context"
	"errors"
	"net/url"

	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
	"sluice/internal/upstream/openai"
)

// Config is what an upstream of this protocol needs to be told.
type Config struct {
	// BaseURL is where the upstream's API begins, which is where Anthropic has
	// "https://api.anthropic.com/v1". A query in it goes with every request.
	BaseURL string `yaml:"base_url"`

	// APIKey is sent as "x-api-key"; none is sent when it is empty.
	APIKey llm.Secret `yaml:"api_key"`

	// Headers are further fields of every request. They take the place of fields of the
	// same name that a client sent.
	Headers map[string]string `yaml:"headers" identity:"fold"`
}

// Protocol is the protocol as an upstream's entry names it.
func Protocol() upstream.Protocol {
	return upstream.Protocol{Name: "anthropic", Settings: func() upstream.Settings { return &Config{} }}
}

// Speech implements upstream.Speaker.
func (Config) Speech() upstream.Speech {
	return upstream.Speech{Native: []llm.Operation{llm.Messages, llm.CountTokens}, Asks: llm.Messages}
}

// Base implements upstream.Settings. An address alone, which is what Anthropic's SDKs are
// told, means its /v1.
func (c Config) Base() (*url.URL, error) {
	u, err := upstream.ParseBase(c.BaseURL)
	if err == nil && (u.Path == "" || u.Path == "/") {
		u.Path = "/v1"
	}
	return u, err
}

const keyField = "X-Api-Key"

// Validate implements upstream.Settings.
func (c Config) Validate() error {
	_, err := c.Base()
	return errors.Join(err, credentials.ValidateIn(keyField, c.APIKey, c.Headers))
}

// Handler implements upstream.Settings.
func (c Config) Handler(s upstream.Setup) (llm.Handler, error) {
	base, err := c.Base()
	if err != nil {
		return nil, err
	}
	h, err := openai.New(openai.Config{BaseURL: base.String(), Headers: credentials.In(keyField, c.APIKey, c.Headers)}, s.Name, s.Client, s.Stream)
	if err != nil {
		return nil, err
	}
	return &handler{h, s.Name}, nil
}

type handler struct {
	*openai.Handler
	name string
}

// versionField has to be in every request; version is the one that its absence is taken for.
const versionField, version = "Anthropic-Version", "2023-06-01"

// Serve implements llm.Handler.
func (h *handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	switch req.Op {
	case llm.Embedding, llm.Completion:
		return upstream.Unoffered(h.name, "the Messages API", req.Op)
	}
	if req.Get(versionField) != "" {
		return h.Handler.Serve(ctx, req, out)
	}
	versioned := *req
	versioned.Header = append(req.Header[:len(req.Header):len(req.Header)], llm.Field{Name: versionField, Value: version})
	return h.Handler.Serve(ctx, &versioned, out)
}
