package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"sluice/internal/testkit"
)

// client is OpenAI's own Go SDK, as a program that knows nothing of Sluice
// would set it up.
func client(in *instance) openai.Client {
	return openai.NewClient(option.WithBaseURL(in.url+"/v1/"), option.WithAPIKey("unused"), option.WithMaxRetries(0))
}

func say(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

// TestGoSDK runs against a sluice with nothing configured.
func TestGoSDK(t *testing.T) { goSDK(t, start(t, "")) }

// goSDK uses all that the SDK has and a sluice with simulated models answers.
func goSDK(t *testing.T, in *instance) {
	c, ctx := client(in), t.Context()

	t.Run("chat", func(t *testing.T) {
		got, err := c.Chat.Completions.New(ctx, say("sim-echo", "Good morning, Sluice"))
		if err != nil {
			t.Fatal(err)
		}
		if text := got.Choices[0].Message.Content; text != "Good morning, Sluice" {
			t.Errorf("echo = %q", text)
		}
		if got.Usage.TotalTokens != got.Usage.PromptTokens+got.Usage.CompletionTokens || got.Usage.CompletionTokens == 0 {
			t.Errorf("usage %+v", got.Usage)
		}
	})

	t.Run("stream", func(t *testing.T) {
		want, err := c.Chat.Completions.New(ctx, say("sim-chat", "Tell me something"))
		if err != nil {
			t.Fatal(err)
		}
		req := say("sim-chat", "Tell me something")
		req.StreamOptions.IncludeUsage = param.NewOpt(true)
		stream := c.Chat.Completions.NewStreaming(ctx, req)
		var acc openai.ChatCompletionAccumulator
		for stream.Next() {
			if !acc.AddChunk(stream.Current()) {
				t.Fatal("chunk does not fit the others")
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if acc.Choices[0].Message.Content != want.Choices[0].Message.Content {
			t.Errorf("streamed %q, whole %q", acc.Choices[0].Message.Content, want.Choices[0].Message.Content)
		}
		if acc.Usage.TotalTokens != want.Usage.TotalTokens {
			t.Errorf("usage streamed %d, whole %d", acc.Usage.TotalTokens, want.Usage.TotalTokens)
		}
	})

	t.Run("tools", func(t *testing.T) {
		req := say("sim-chat", "What is the weather in Paris?")
		req.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: "get_weather",
			Parameters: shared.FunctionParameters{
				"type": "object", "required": []string{"city"},
				"properties": map[string]any{"city": map[string]string{"type": "string"}},
			},
		})}
		req.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: param.NewOpt("required")}
		for _, streamed := range []bool{false, true} {
			var calls []openai.ChatCompletionMessageToolCallUnion
			if streamed {
				stream := c.Chat.Completions.NewStreaming(ctx, req)
				var acc openai.ChatCompletionAccumulator
				for stream.Next() {
					acc.AddChunk(stream.Current())
				}
				if stream.Err() != nil {
					t.Fatal(stream.Err())
				}
				calls = acc.Choices[0].Message.ToolCalls
			} else {
				got, err := c.Chat.Completions.New(ctx, req)
				if err != nil {
					t.Fatal(err)
				}
				calls = got.Choices[0].Message.ToolCalls
			}
			var args struct{ City *string }
			if len(calls) != 1 || calls[0].Function.Name != "get_weather" || json.Unmarshal([]byte(calls[0].Function.Arguments), &args) != nil || args.City == nil {
				t.Errorf("streamed %v: tool calls %+v", streamed, calls)
			}
		}
	})

	t.Run("structured output", func(t *testing.T) {
		req := say("sim-chat", "Describe a sluice")
		req.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{
			Name: "gate", Strict: param.NewOpt(true),
			Schema: map[string]any{
				"type": "object", "additionalProperties": false, "required": []string{"width", "open"},
				"properties": map[string]any{"width": map[string]string{"type": "number"}, "open": map[string]string{"type": "boolean"}},
			},
		}}
		got, err := c.Chat.Completions.New(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Width *float64
			Open  *bool
		}
		if err := json.Unmarshal([]byte(got.Choices[0].Message.Content), &v); err != nil || v.Width == nil || v.Open == nil {
			t.Errorf("%v in %s", err, got.Choices[0].Message.Content)
		}
	})

	t.Run("embeddings", func(t *testing.T) {
		req := openai.EmbeddingNewParams{Model: "sim-embed", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}}, Dimensions: param.NewOpt(int64(8))}
		got, err := c.Embeddings.New(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Data) != 2 || len(got.Data[0].Embedding) != 8 || got.Data[1].Index != 1 || slices.Equal(got.Data[0].Embedding, got.Data[1].Embedding) {
			t.Errorf("embeddings %+v", got.Data)
		}
	})

	t.Run("responses", func(t *testing.T) {
		req := responses.ResponseNewParams{Model: "sim-echo", Input: responses.ResponseNewParamsInputUnion{OfString: param.NewOpt("Hello there")}}
		got, err := c.Responses.New(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if got.OutputText() != "Hello there" {
			t.Errorf("response %q", got.OutputText())
		}
		stream := c.Responses.NewStreaming(ctx, req)
		var text strings.Builder
		last := ""
		for stream.Next() {
			ev := stream.Current()
			last = ev.Type
			if ev.Type == "response.output_text.delta" {
				text.WriteString(ev.Delta)
			}
		}
		if stream.Err() != nil || text.String() != "Hello there" || last != "response.completed" {
			t.Errorf("streamed response %q, last event %q, %v", text.String(), last, stream.Err())
		}
	})

	t.Run("models", func(t *testing.T) {
		page, err := c.Models.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]string, len(page.Data))
		for i, m := range page.Data {
			ids[i] = m.ID
		}
		if !slices.Contains(ids, "sim-chat") {
			t.Errorf("models %v", ids)
		}
		if m, err := c.Models.Get(ctx, "sim-embed"); err != nil || m.ID != "sim-embed" {
			t.Errorf("get model: %+v, %v", m, err)
		}
	})

	t.Run("errors", func(t *testing.T) {
		for _, tc := range []struct {
			model  string
			status int
			code   string
		}{
			{"no-such-model", 404, "model_not_found"},
			{"", 400, ""},
			{"simulator/sim-chat?status=429&retry-after=40", 429, ""},
			{"simulator/sim-chat?status=400", 400, ""},
		} {
			_, err := c.Chat.Completions.New(ctx, say(tc.model, "x"))
			var apiErr *openai.Error
			if !errors.As(err, &apiErr) || apiErr.StatusCode != tc.status || apiErr.Message == "" || (tc.code != "" && apiErr.Code != tc.code) {
				t.Errorf("model %q: %v", tc.model, err)
				continue
			}
			if tc.status == 429 && apiErr.Response.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
	})

	t.Run("cut stream is an error", func(t *testing.T) {
		stream := c.Chat.Completions.NewStreaming(ctx, say("simulator/sim-chat?cut=3", "x"))
		for stream.Next() {
		}
		if stream.Err() == nil {
			t.Error("a cut stream looked complete")
		}
	})

	t.Run("abort", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		stream := c.Chat.Completions.NewStreaming(ctx, say("simulator/sim-chat?pace=20ms&tokens=10000", "x"))
		if !stream.Next() {
			t.Fatal(stream.Err())
		}
		cancel()
		for stream.Next() {
		}
		if !errors.Is(stream.Err(), context.Canceled) {
			t.Errorf("after cancel: %v", stream.Err())
		}
		testkit.Until(t, "streams over", func() bool { return metric(t, in, "sluice_streams_active") == "0" })
	})

	t.Run("time-out of the client", func(t *testing.T) {
		_, err := c.Chat.Completions.New(ctx, say("simulator/sim-chat?latency=20s", "x"), option.WithRequestTimeout(150*time.Millisecond))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// metric returns the value of an unlabelled metric.
func metric(t *testing.T, in *instance, name string) string {
	t.Helper()
	resp, err := http.Get(in.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for sc := newLines(resp.Body); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), name+" "); ok {
			return v
		}
	}
	return ""
}

// TestGoSDKRetries: an SDK with its own tries does not multiply the gateway's.
func TestGoSDKRetries(t *testing.T) {
	for name, c := range map[string]struct {
		config, says string
		calls        int32
	}{
		"the gateway's tries are used up":   {"", "", 3},
		"the upstream says that it is over": {"", "false", 1},
		"clients are not told":              {"route: {retry: {tell_clients: false}}", "", 9},
		"the SDK alone tries":               {"route: {retry: {max_attempts: 1}}", "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "POST" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				calls.Add(1)
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Retry-After-Ms", "1")
				if c.says != "" {
					w.Header().Set("X-Should-Retry", c.says)
				}
				w.WriteHeader(http.StatusTooManyRequests)
				_, _ = w.Write([]byte(`{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}`))
			}))
			in := start(t, "upstreams: [{name: u, base_url: \""+url+"/v1\"}]\n"+c.config)
			sdk := openai.NewClient(option.WithBaseURL(in.url+"/v1/"), option.WithAPIKey("unused"))
			_, err := sdk.Chat.Completions.New(t.Context(), say("m", "x"))
			var apiErr *openai.Error
			if !errors.As(err, &apiErr) || apiErr.StatusCode != 429 || calls.Load() != c.calls {
				t.Errorf("%v, %d calls of the upstream, want %d", err, calls.Load(), c.calls)
			}
		})
	}
}
