package e2e

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// TestAnthropicGoSDK has Anthropic's Go module use services of each dialect.
func TestAnthropicGoSDK(t *testing.T) {
	for name, in := range map[string]*instance{"chat": start(t, ""), "messages": chained(t, "anthropic"), "gemini": chained(t, "gemini"), "responses": chained(t, "responses")} {
		t.Run(name, func(t *testing.T) { anthropicGoSDK(t, in) })
	}
}

func anthropicGoSDK(t *testing.T, in *instance) {
	c, ctx := anthropic.NewClient(option.WithBaseURL(in.url), option.WithAPIKey("unused"), option.WithMaxRetries(0)), t.Context()
	ask := func(model string, blocks ...anthropic.ContentBlockParamUnion) anthropic.MessageNewParams {
		return anthropic.MessageNewParams{Model: model, MaxTokens: 500, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(blocks...)}}
	}
	text := func(m *anthropic.Message) string {
		var s strings.Builder
		for _, b := range m.Content {
			s.WriteString(b.Text)
		}
		return s.String()
	}
	gather := func(t *testing.T, params anthropic.MessageNewParams) *anthropic.Message {
		t.Helper()
		stream := c.Messages.NewStreaming(ctx, params)
		var m anthropic.Message
		for stream.Next() {
			if err := m.Accumulate(stream.Current()); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		return &m
	}
	whole := func(t *testing.T, params anthropic.MessageNewParams) *anthropic.Message {
		t.Helper()
		m, err := c.Messages.New(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}

	t.Run("chat, whole and streamed", func(t *testing.T) {
		params := ask("sim-chat", anthropic.NewTextBlock("Tell me something"), anthropic.NewImageBlockBase64("image/png", "iVBORw0KGgo="))
		params.System = []anthropic.TextBlockParam{{Text: "Be brief."}}
		want, got := whole(t, params), gather(t, params)
		if text(got) != text(want) || text(got) == "" || got.StopReason != anthropic.StopReasonEndTurn || want.StopReason != got.StopReason {
			t.Errorf("streamed %q, whole %q", text(got), text(want))
		}
		if got.Usage.InputTokens != want.Usage.InputTokens || got.Usage.OutputTokens != want.Usage.OutputTokens || got.Usage.OutputTokens == 0 {
			t.Errorf("streamed %+v, whole %+v", got.Usage, want.Usage)
		}
	})

	t.Run("tools", func(t *testing.T) {
		params := ask("sim-chat", anthropic.NewTextBlock("Use get_weather for Paris"))
		tool := anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{Properties: map[string]any{"city": map[string]string{"type": "string"}}, Required: []string{"city"}}, "get_weather")
		params.Tools = []anthropic.ToolUnionParam{tool}
		for _, m := range []*anthropic.Message{whole(t, params), gather(t, params)} {
			use := m.Content[len(m.Content)-1]
			if m.StopReason != anthropic.StopReasonToolUse || use.Name != "get_weather" || !strings.Contains(string(use.Input), `"city"`) {
				t.Fatalf("%+v", m)
			}
			next := params
			next.Messages = append(next.Messages[:1:1], m.ToParam(), anthropic.NewUserMessage(anthropic.NewToolResultBlock(use.ID, "21 degrees", false)))
			if answer := whole(t, next); answer.StopReason != anthropic.StopReasonEndTurn || text(answer) == "" {
				t.Errorf("%+v", answer)
			}
		}
	})

	t.Run("tokens are counted", func(t *testing.T) {
		n, err := c.Messages.CountTokens(ctx, anthropic.MessageCountTokensParams{Model: "sim-chat", Messages: ask("", anthropic.NewTextBlock("Tell me something")).Messages})
		if err != nil || n.InputTokens == 0 {
			t.Errorf("%+v: %v", n, err)
		}
	})

	t.Run("errors", func(t *testing.T) {
		_, err := c.Messages.New(ctx, ask("no-such-model", anthropic.NewTextBlock("a")))
		var e *anthropic.Error
		if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || !strings.Contains(e.RawJSON(), `"not_found_error"`) {
			t.Errorf("%v", err)
		}
	})

	t.Run("the client leaves", func(t *testing.T) {
		ctx, leave := context.WithCancel(ctx)
		stream := c.Messages.NewStreaming(ctx, ask("sim-chat", anthropic.NewTextBlock("Tell me something")))
		if !stream.Next() {
			t.Fatal(stream.Err())
		}
		leave()
		for stream.Next() {
		}
		if err := stream.Err(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
