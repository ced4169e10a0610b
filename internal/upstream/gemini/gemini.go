// Package gemini is an upstream that speaks Google's Gemini API over HTTP. It is asked as one
// that speaks OpenAI's is (package openai): requests and replies keep their bytes, and its
// key goes to it and nowhere else. The model's name stands in the path, which is made anew
// for each request.
package gemini

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"

	"sluice/internal/dialect/gemini"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
	"sluice/internal/upstream"
	"sluice/internal/upstream/credentials"
	"sluice/internal/upstream/openai"
)

// Config is what an upstream of this protocol needs to be told.
type Config struct {
	// BaseURL is where the upstream's API begins, which is where Google has
	// "https://generativelanguage.googleapis.com/v1beta". A query in it goes with every
	// request.
	BaseURL string `yaml:"base_url"`

	// APIKey is sent as "x-goog-api-key"; none is sent when it is empty.
	APIKey llm.Secret `yaml:"api_key"`

	// Headers are further fields of every request. They take the place of fields of the
	// same name that a client sent.
	Headers map[string]string `yaml:"headers" identity:"fold"`
}

// Protocol is the protocol as an upstream's entry names it.
func Protocol() upstream.Protocol {
	return upstream.Protocol{Name: "gemini", Settings: func() upstream.Settings { return &Config{} }}
}

// Speech implements upstream.Speaker.
func (Config) Speech() upstream.Speech {
	return upstream.Speech{Native: []llm.Operation{llm.GenerateContent, llm.CountContentTokens, llm.EmbedContent, llm.BatchEmbedContents}, Asks: llm.GenerateContent}
}

// Base implements upstream.Settings.
func (c Config) Base() (*url.URL, error) { return upstream.ParseBase(c.BaseURL) }

const keyField = "X-Goog-Api-Key"

// Validate implements upstream.Settings.
func (c Config) Validate() error {
	_, err := c.Base()
	return errors.Join(err, credentials.ValidateIn(keyField, c.APIKey, c.Headers))
}

// Handler implements upstream.Settings.
func (c Config) Handler(s upstream.Setup) (llm.Handler, error) {
	h, err := openai.New(openai.Config{BaseURL: c.BaseURL, Headers: credentials.In(keyField, c.APIKey, c.Headers)}, s.Name, s.Client, s.Stream)
	if err != nil {
		return nil, err
	}
	return &handler{h, s.Name}, nil
}

type handler struct {
	*openai.Handler
	name string
}

// Serve implements llm.Handler.
func (h *handler) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	switch req.Op {
	case llm.GenerateContent, llm.CountContentTokens, llm.EmbedContent, llm.BatchEmbedContents:
	case llm.ListModels:
		return h.list(ctx, req, out)
	case llm.GetModel:
		return h.Handler.Serve(ctx, req, out)
	default:
		return upstream.Unoffered(h.name, "the Gemini API", req.Op)
	}
	named := *req
	named.Path, named.ModelSpan = pathOf(req), llm.Span{}
	return h.Handler.Serve(ctx, &named, out)
}

// pathOf is the path of a request, as the handler that is shared with OpenAI's takes it:
// what begins with /v1 begins with the base URL.
func pathOf(req *llm.Request) string {
	model, method := req.UpstreamModel, gemini.Generate
	if model == "" {
		model = req.Model
	}
	switch {
	case req.Op == llm.CountContentTokens:
		method = gemini.CountTokens
	case req.Op == llm.EmbedContent:
		method = gemini.Embed
	case req.Op == llm.BatchEmbedContents:
		method = gemini.BatchEmbed
	case req.Stream:
		method = gemini.GenerateStream
	}
	return "/v1/" + strings.TrimPrefix(gemini.Path(model, method), gemini.Prefix)
}

// allModels asks for the whole list of models: it is parted into pages of 50 otherwise.
const allModels = "pageSize=1000"

// list answers with the list of models as OpenAI's API has it, which is what routing reads.
func (h *handler) list(ctx context.Context, req *llm.Request, out llm.Sink) error {
	asked := *req
	asked.RawQuery = allModels
	reply := held{name: h.name}
	if err := h.Handler.Serve(ctx, &asked, &reply); err != nil {
		return err
	}
	if jsonscan.Validate(reply.body.Bytes(), jsonscan.DefaultDepth) != nil {
		return llm.UpstreamError(h.name, llm.BadReply, 502, "upstream_bad_reply", "Upstream %s answered with something that is not JSON.", nil)
	}
	body := gemini.AppendList(nil, reply.body.Bytes())
	head := reply.head
	head.Kind, head.Length, head.Outline = llm.Unary, int64(len(body)), llm.Outline{}
	head.Header = []llm.Field{{Name: "Content-Type", Value: "application/json"}}
	if err := out.Start(&head); err != nil {
		return err
	}
	return out.Send([]llm.Event{{Raw: body}})
}

// maxList bounds a list of models, in bytes.
const maxList = 8 << 20

// held is a sink that keeps the reply.
type held struct {
	name string
	head llm.Head
	body bytes.Buffer
}

func (h *held) Start(head *llm.Head) error {
	h.head = *head
	return nil
}

func (h *held) Send(events []llm.Event) error {
	for _, e := range events {
		if h.body.Len()+len(e.Raw) > maxList {
			return llm.UpstreamError(h.name, llm.TooLarge, 502, "upstream_reply_too_large", "The list of models of upstream %s is too large.", nil)
		}
		h.body.Write(e.Raw)
	}
	return nil
}
