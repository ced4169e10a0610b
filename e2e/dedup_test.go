package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
)

// TestDedupSDKs: programs with the SDKs run unchanged whatever the mode of de-duplication; the
// default one is that of all other tests.
func TestDedupSDKs(t *testing.T) {
	for _, mode := range []string{"off", "blocks"} {
		t.Run(mode, func(t *testing.T) {
			in := start(t, "", "SLUICE_DEDUP_MODE="+mode)
			t.Run("go", func(t *testing.T) { goSDK(t, in) })
			t.Run("javascript", func(t *testing.T) { javaScriptSDK(t, in) })
		})
	}
}

// TestDedupConversation: a conversation by chat completions and by responses that says a file
// twice is answered as it would be, and the reply says what was not sent.
func TestDedupConversation(t *testing.T) {
	in := start(t, "")
	c := client(in)
	var file strings.Builder
	for i := range 80 {
		fmt.Fprintf(&file, "\tline(%d) // of \"a file\" ☀\n", i)
	}
	for _, mode := range []string{"off", "safe", "blocks"} {
		var raw *http.Response
		options := []option.RequestOption{option.WithHeader("X-Sluice-Dedup", mode), option.WithResponseInto(&raw)}
		check := func(api, text string) {
			t.Helper()
			if saved := raw.Header.Get("X-Sluice-Dedup"); text != "And now?" || (saved != "") != (mode == "blocks") {
				t.Errorf("%s, %s: %q, saved %q", api, mode, text, saved)
			}
		}
		chat, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "sim-echo", Messages: []openai.ChatCompletionMessageParamUnion{
			openai.UserMessage(file.String()), openai.AssistantMessage(file.String()), openai.UserMessage("And now?"),
		}}, options...)
		if err != nil {
			t.Fatal(err)
		}
		check("chat", chat.Choices[0].Message.Content)
		response, err := c.Responses.New(t.Context(), responses.ResponseNewParams{
			Model: "sim-echo", Instructions: param.NewOpt(file.String()), Store: param.NewOpt(false),
			Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
				responses.ResponseInputItemParamOfMessage(file.String(), responses.EasyInputMessageRoleAssistant),
				responses.ResponseInputItemParamOfMessage("And now?", responses.EasyInputMessageRoleUser),
			}},
		}, options...)
		if err != nil {
			t.Fatal(err)
		}
		check("response", response.OutputText())
	}
}
