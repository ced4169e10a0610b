package e2e

import (
	"bufio"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
)

// TestPresetVLLM uses a server that Node.js runs, with gRPC of its own: what it says
// arrives, its errors too, and when a client leaves, the generation is aborted that
// would go on.
func TestPresetVLLM(t *testing.T) {
	path, err := exec.LookPath("node")
	need(t, err)
	cmd := exec.CommandContext(t.Context(), path, "vllm.server.js", "../"+presetFiles+"vllm.proto")
	cmd.Dir = "js"
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	cmd.Stderr = &told
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	next := func(word string) (rest string) {
		t.Helper()
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), word+" "); ok {
				return rest
			}
		}
		t.Fatalf("the server ended before it said %q: %s", word, told.String())
		return ""
	}
	in := start(t, "upstreams:\n"+presetUpstream("vllm", next("listening"))+"cache: {enabled: false}\n")
	presetCompletions(t, in, "vllm")

	c := client(in)
	ask := func(prompt string) openai.CompletionNewParams {
		return openai.CompletionNewParams{Model: "vllm", Prompt: openai.CompletionNewParamsPromptUnion{OfString: param.NewOpt(prompt)}}
	}
	_, err = c.Completions.New(t.Context(), ask("This is too much"))
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 429 || e.Message != "Too much was asked." {
		t.Errorf("error: %v", err)
	}

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream := c.Completions.NewStreaming(ctx, ask("Talk forever"))
	if !stream.Next() || stream.Current().Choices[0].Text != "Hello, " {
		t.Fatalf("%+v, %v", stream.Current(), stream.Err())
	}
	id := ""
	for id == "" {
		if rest := next("generate"); strings.HasSuffix(rest, "Talk forever") {
			id, _, _ = strings.Cut(rest, " ")
		}
	}
	leave()
	if rest := next("abort"); rest != id+" true" {
		t.Errorf("aborted %q, asked was %q", rest, id)
	}
	stream.Close()
}
