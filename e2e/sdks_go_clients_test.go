package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

// citySchema is what the tools take.
func citySchema() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "required": []string{"city"}, "properties": map[string]any{"city": map[string]string{"type": "string"}}}
}

func anthropicGo(in *instance) goSDKUnder {
	of := func(key string) anthropic.Client {
		return anthropic.NewClient(anthropicoption.WithBaseURL(in.url), anthropicoption.WithAPIKey(key), anthropicoption.WithMaxRetries(0))
	}
	params := func(model string, q question) anthropic.MessageNewParams {
		blocks := []anthropic.ContentBlockParamUnion{anthropic.NewTextBlock(q.text)}
		if q.image != "" {
			blocks = append(blocks, anthropic.NewImageBlockBase64("image/png", q.image))
		}
		p := anthropic.MessageNewParams{Model: model, MaxTokens: 500, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(blocks...)}}
		if q.limit != 0 {
			p.MaxTokens = q.limit
		}
		for _, name := range q.tools {
			p.Tools = append(p.Tools, anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{Properties: citySchema()["properties"], Required: []string{"city"}}, name))
		}
		if q.forced {
			p.ToolChoice = anthropic.ToolChoiceParamOfTool(q.tools[0])
		}
		if q.schema != nil {
			p.OutputConfig.Format = anthropic.JSONOutputFormatParam{Schema: q.schema}
		}
		if q.after != nil {
			var results []anthropic.ContentBlockParamUnion
			for _, c := range q.after.calls {
				results = append(results, anthropic.NewToolResultBlock(c.id, c.result(), false))
			}
			p.Messages = append(p.Messages, q.after.said.(*anthropic.Message).ToParam(), anthropic.NewUserMessage(results...))
		}
		return p
	}
	return goSDKUnder{
		name: "`anthropic-sdk-go`",
		ask: func(ctx context.Context, key, model string, q question) (*goReply, error) {
			c := of(key)
			m := new(anthropic.Message)
			var err error
			if q.stream {
				stream := c.Messages.NewStreaming(ctx, params(model, q))
				for stream.Next() {
					if q.first != nil && stream.Current().Type == "content_block_delta" {
						q.first()
						q.first = nil
					}
					if err := m.Accumulate(stream.Current()); err != nil {
						return nil, err
					}
				}
				err = stream.Err()
			} else {
				m, err = c.Messages.New(ctx, params(model, q))
			}
			if err != nil {
				return nil, err
			}
			r := &goReply{said: m, tokens: m.Usage.InputTokens + m.Usage.OutputTokens}
			r.ended = map[anthropic.StopReason]ending{anthropic.StopReasonEndTurn: atEnd, anthropic.StopReasonToolUse: atCall, anthropic.StopReasonMaxTokens: atLimit}[m.StopReason]
			for _, b := range m.Content {
				r.text, r.thought = r.text+b.Text, r.thought+b.Thinking
				if b.Type == "tool_use" {
					r.calls = append(r.calls, goCall{b.ID, b.Name, string(b.Input)})
				}
			}
			return r, nil
		},
		failure: func(err error) (int, string, bool) {
			e, ok := errors.AsType[*anthropic.Error](err)
			if !ok {
				return 0, "", false
			}
			return e.StatusCode, e.RawJSON(), true
		},
		count: func(ctx context.Context, model, text string) (int64, error) {
			c := of("sk-right")
			n, err := c.Messages.CountTokens(ctx, anthropic.MessageCountTokensParams{Model: model, Messages: params(model, question{text: text}).Messages})
			if err != nil {
				return 0, err
			}
			return n.InputTokens, nil
		},
		run: func(ctx context.Context, model, text string) (answer string, cities []string, err error) {
			c, tool := of("sk-right"), new(weather)
			params := anthropic.BetaMessageNewParams{Model: model, MaxTokens: 500, Messages: []anthropic.BetaMessageParam{anthropic.NewBetaUserMessage(anthropic.NewBetaTextBlock(text))}}
			m, err := c.Beta.Messages.NewToolRunner([]anthropic.BetaTool{tool}, anthropic.BetaToolRunnerParams{BetaMessageNewParams: params}).RunToCompletion(ctx)
			if err != nil {
				return "", nil, err
			}
			for _, b := range m.Content {
				answer += b.Text
			}
			return answer, tool.cities, nil
		},
		model: func(ctx context.Context, model string) (string, error) {
			c := of("sk-right")
			m, err := c.Models.Get(ctx, model, anthropic.ModelGetParams{})
			if err != nil {
				return "", err
			}
			return m.ID, nil
		},
	}
}

// weather is a tool that knows of which cities it was asked.
type weather struct{ cities []string }

func (*weather) Name() string        { return "get_weather" }
func (*weather) Description() string { return "Tells it" }

func (*weather) InputSchema() anthropic.BetaToolInputSchemaParam {
	return anthropic.BetaToolInputSchemaParam{Properties: citySchema()["properties"], Required: []string{"city"}}
}

func (w *weather) Execute(_ context.Context, input json.RawMessage) ([]anthropic.BetaToolResultBlockParamContentUnion, error) {
	var asked struct{ City string }
	if err := json.Unmarshal(input, &asked); err != nil {
		return nil, err
	}
	w.cities = append(w.cities, asked.City)
	return []anthropic.BetaToolResultBlockParamContentUnion{{OfText: &anthropic.BetaTextBlockParam{Text: "Rain."}}}, nil
}

func openAIGo(in *instance, key string) openai.Client {
	return openai.NewClient(option.WithBaseURL(in.url+"/v1/"), option.WithAPIKey(key), option.WithMaxRetries(0))
}

func openAIGoFailure(err error) (int, string, bool) {
	e, ok := errors.AsType[*openai.Error](err)
	if !ok {
		return 0, "", false
	}
	return e.StatusCode, e.Message, true
}

func openAIGoChat(in *instance) goSDKUnder {
	params := func(model string, q question) openai.ChatCompletionNewParams {
		p := say(model, q.text)
		if q.image != "" {
			p.Messages = []openai.ChatCompletionMessageParamUnion{openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart(q.text), openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:image/png;base64," + q.image}),
			})}
		}
		if q.limit != 0 {
			p.MaxCompletionTokens = param.NewOpt(q.limit)
		}
		for _, name := range q.tools {
			p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: name, Parameters: citySchema()}))
		}
		if q.forced {
			p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: q.tools[0]})
		}
		if q.schema != nil {
			p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "number", Strict: param.NewOpt(true), Schema: q.schema}}
		}
		if q.after != nil {
			p.Messages = append(p.Messages, q.after.said.(openai.ChatCompletionMessage).ToParam())
			for _, c := range q.after.calls {
				p.Messages = append(p.Messages, openai.ToolMessage(c.result(), c.id))
			}
		}
		if q.stream {
			p.StreamOptions.IncludeUsage = param.NewOpt(true)
		}
		return p
	}
	return goSDKUnder{
		name: "`openai-go`, chat", failure: openAIGoFailure,
		ask: func(ctx context.Context, key, model string, q question) (*goReply, error) {
			c := openAIGo(in, key)
			got := new(openai.ChatCompletion)
			var err error
			if q.stream {
				stream := c.Chat.Completions.NewStreaming(ctx, params(model, q))
				var acc openai.ChatCompletionAccumulator
				for stream.Next() {
					if q.first != nil {
						q.first()
						q.first = nil
					}
					if !acc.AddChunk(stream.Current()) {
						return nil, errors.New("a chunk does not fit the others")
					}
				}
				got, err = &acc.ChatCompletion, stream.Err()
			} else {
				got, err = c.Chat.Completions.New(ctx, params(model, q))
			}
			if err != nil {
				return nil, err
			}
			m := got.Choices[0].Message
			r := &goReply{said: m, text: m.Content, tokens: got.Usage.TotalTokens}
			r.ended = map[string]ending{"stop": atEnd, "tool_calls": atCall, "length": atLimit}[got.Choices[0].FinishReason]
			_ = json.Unmarshal([]byte(m.JSON.ExtraFields["reasoning_content"].Raw()), &r.thought) // a service's own
			for _, call := range m.ToolCalls {
				r.calls = append(r.calls, goCall{call.ID, call.Function.Name, call.Function.Arguments})
			}
			return r, nil
		},
		model: func(ctx context.Context, model string) (string, error) {
			c := openAIGo(in, "sk-right")
			m, err := c.Models.Get(ctx, model)
			if err != nil {
				return "", err
			}
			return m.ID, nil
		},
		embed: func(ctx context.Context, model string, texts []string) ([][]float64, error) {
			c := openAIGo(in, "sk-right")
			got, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: model, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts}, Dimensions: param.NewOpt(int64(8))})
			if err != nil {
				return nil, err
			}
			var all [][]float64
			for _, d := range got.Data {
				all = append(all, d.Embedding)
			}
			return all, nil
		},
	}
}

func openAIGoResponses(in *instance) goSDKUnder {
	params := func(model string, q question) responses.ResponseNewParams {
		content := responses.ResponseInputMessageContentListParam{responses.ResponseInputContentParamOfInputText(q.text)}
		if q.image != "" {
			image := responses.ResponseInputContentParamOfInputImage(responses.ResponseInputImageDetailAuto)
			image.OfInputImage.ImageURL = param.NewOpt("data:image/png;base64," + q.image)
			content = append(content, image)
		}
		p := responses.ResponseNewParams{Model: model, Input: responses.ResponseNewParamsInputUnion{OfInputItemList: []responses.ResponseInputItemUnionParam{
			responses.ResponseInputItemParamOfMessage(content, responses.EasyInputMessageRoleUser),
		}}}
		if q.limit != 0 {
			p.MaxOutputTokens = param.NewOpt(q.limit)
		}
		for _, name := range q.tools {
			p.Tools = append(p.Tools, responses.ToolParamOfFunction(name, citySchema(), true))
		}
		if q.forced {
			p.ToolChoice.OfFunctionTool = &responses.ToolChoiceFunctionParam{Name: q.tools[0]}
		}
		if q.schema != nil {
			p.Text.Format = responses.ResponseFormatTextConfigParamOfJSONSchema("number", q.schema)
		}
		if q.after != nil {
			for _, c := range q.after.calls {
				p.Input.OfInputItemList = append(p.Input.OfInputItemList, responses.ResponseInputItemParamOfFunctionCall(c.arguments, c.id, c.name))
			}
			for _, c := range q.after.calls {
				result := responses.ResponseInputItemParamOfFunctionCallOutput(c.result())
				result.OfFunctionCallOutput.CallID = param.NewOpt(c.id)
				p.Input.OfInputItemList = append(p.Input.OfInputItemList, result)
			}
		}
		return p
	}
	return goSDKUnder{
		name: "`openai-go`, responses", failure: openAIGoFailure,
		count: func(ctx context.Context, model, text string) (int64, error) {
			c := openAIGo(in, "sk-right")
			n, err := c.Responses.InputTokens.Count(ctx, responses.InputTokenCountParams{Model: param.NewOpt(model), Input: responses.InputTokenCountParamsInputUnion{OfString: param.NewOpt(text)}})
			if err != nil {
				return 0, err
			}
			return n.InputTokens, nil
		},
		ask: func(ctx context.Context, key, model string, q question) (*goReply, error) {
			c := openAIGo(in, key)
			var got *responses.Response
			var err error
			if q.stream {
				stream := c.Responses.NewStreaming(ctx, params(model, q))
				for stream.Next() {
					event := stream.Current()
					if q.first != nil && event.Type == "response.output_text.delta" {
						q.first()
						q.first = nil
					}
					if strings.HasPrefix(event.Type, "response.") && event.Response.ID != "" {
						got = &event.Response
					}
				}
				if err = stream.Err(); err == nil && (got == nil || got.Status == "in_progress" || got.Status == "failed") {
					err = errors.New("the stream has no end")
				}
			} else {
				got, err = c.Responses.New(ctx, params(model, q))
			}
			if err != nil {
				return nil, err
			}
			r := &goReply{text: got.OutputText(), tokens: got.Usage.TotalTokens}
			for _, item := range got.Output {
				for _, part := range item.Summary {
					r.thought += part.Text
				}
				if item.Type == "reasoning" {
					for _, part := range item.Content {
						r.thought += part.Text
					}
				}
				if item.Type == "function_call" {
					r.calls = append(r.calls, goCall{item.CallID, item.Name, item.Arguments.OfString})
				}
			}
			switch {
			case got.IncompleteDetails.Reason == "max_output_tokens":
				r.ended = atLimit
			case got.Status == "completed" && len(r.calls) > 0:
				r.ended = atCall
			case got.Status == "completed":
				r.ended = atEnd
			}
			return r, nil
		},
	}
}
