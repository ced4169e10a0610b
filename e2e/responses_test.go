package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"sluice/internal/testkit"
)

// keeping is a sluice that keeps responses, before simulated models that are asked in a dialect.
func keeping(t *testing.T, behind, protocol, more string) *instance {
	t.Helper()
	version := "/v1"
	if protocol == "gemini" {
		version = "/v1beta"
	}
	return start(t, fmt.Sprintf("upstreams: [{name: up, protocol: %s, base_url: '%s%s', models: [sim-*]}]\nresponses: {store: true}\n%s", protocol, behind, version, more))
}

// TestResponsesSDK has OpenAI's npm package, and Vercel's, go on with conversations over
// services that keep none.
func TestResponsesSDK(t *testing.T) {
	behind := start(t, "")
	for name, protocol := range map[string]string{"chat": "openai, responses: translate", "messages": "anthropic", "gemini": "gemini"} {
		t.Run(name, func(t *testing.T) {
			node(t, "responses.test.js", "OPENAI_BASE_URL="+keeping(t, behind.url, protocol, "").url+"/v1", "OPENAI_API_KEY=unused")
		})
	}
}

// TestResponsesGoSDK: OpenAI's Go package goes on with a conversation; one API key has nothing
// of another's, and a sluice that was started again, or another one, has it all with Redis.
func TestResponsesGoSDK(t *testing.T) {
	behind, redis := start(t, ""), newRedis(t)
	more := fmt.Sprintf("cache: {redis_url: %q, redis_timeout: 1s}\nserver: {open_metrics: true, api_keys: [{name: one, hash: %q}, {name: other, hash: %q}]}\n",
		redis.url, hashOf(t, "sk-one"), hashOf(t, "sk-other"))
	for name, protocol := range map[string]string{"chat": "openai, responses: translate", "messages": "anthropic"} {
		t.Run(name, func(t *testing.T) {
			next := func() *instance {
				in := keeping(t, behind.url, protocol, more)
				testkit.Until(t, "store of responses", func() bool {
					return strings.Contains(request(t, "GET", in.url+"/metrics", "").body, "sluice_responses_redis_up 1\n")
				})
				return in
			}
			of := func(in *instance, key string) openai.Client {
				return openai.NewClient(option.WithBaseURL(in.url+"/v1/"), option.WithAPIKey(key), option.WithMaxRetries(0))
			}
			ask := func(c openai.Client, input, previous string) *responses.Response {
				t.Helper()
				req := responses.ResponseNewParams{Model: "sim-echo", Input: responses.ResponseNewParamsInputUnion{OfString: param.NewOpt(input)}}
				if previous != "" {
					req.PreviousResponseID = param.NewOpt(previous)
				}
				r, err := c.Responses.New(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if r.OutputText() != input {
					t.Errorf("%q", r.OutputText())
				}
				return r
			}
			in := next()
			c := of(in, "sk-one")
			first := ask(c, "One of many words", "")
			second := ask(c, "Two", first.ID)
			if second.Usage.InputTokens <= first.Usage.InputTokens || second.PreviousResponseID != first.ID {
				t.Errorf("%d tokens after %d", second.Usage.InputTokens, first.Usage.InputTokens)
			}
			in.stop(t)
			c = of(next(), "sk-one")
			third := ask(c, "Three", second.ID)
			var said []string
			items := c.Responses.InputItems.ListAutoPaging(t.Context(), third.ID, responses.InputItemListParams{Limit: param.NewOpt(int64(2)), Order: responses.InputItemListParamsOrderAsc})
			for items.Next() {
				item := items.Current()
				if item.Role == "user" {
					said = append(said, item.AsMessage().Content[0].Text)
				} else {
					said = append(said, item.AsOutputMessage().Content[0].Text)
				}
			}
			if err := items.Err(); err != nil || strings.Join(said, "|") != "One of many words|One of many words|Two|Two|Three" {
				t.Errorf("%q %v", said, err)
			}
			other := of(next(), "sk-other")
			var refused *openai.Error
			if _, err := other.Responses.Get(t.Context(), first.ID, responses.ResponseGetParams{}); !errors.As(err, &refused) || refused.StatusCode != 404 {
				t.Errorf("%v", err)
			}
			if err := other.Responses.Delete(t.Context(), first.ID); !errors.As(err, &refused) || refused.StatusCode != 404 {
				t.Errorf("%v", err)
			}
			_, err := other.Responses.New(t.Context(), responses.ResponseNewParams{Model: "sim-echo", PreviousResponseID: param.NewOpt(first.ID), Input: responses.ResponseNewParamsInputUnion{OfString: param.NewOpt("And?")}})
			if !errors.As(err, &refused) || refused.StatusCode != 400 || refused.Code != "previous_response_not_found" {
				t.Errorf("%v", err)
			}
			if err := c.Responses.Delete(t.Context(), first.ID); err != nil {
				t.Error(err)
			}
			if _, err := c.Responses.Get(t.Context(), first.ID, responses.ResponseGetParams{}); !errors.As(err, &refused) || refused.StatusCode != 404 {
				t.Errorf("%v", err)
			}
			ask(c, "Four", third.ID)
		})
	}
}
