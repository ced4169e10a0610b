package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestJavaScriptSDK runs js/sluice.test.js, which uses the official npm package.
func TestJavaScriptSDK(t *testing.T) { javaScriptSDK(t, start(t, "")) }

func javaScriptSDK(t *testing.T, in *instance) {
	node(t, "sluice.test.js", "OPENAI_BASE_URL="+in.url+"/v1", "OPENAI_API_KEY=unused")
}

// node runs a test file in js/ with more in its environment.
func node(t *testing.T, file string, env ...string) {
	t.Helper()
	path, err := exec.LookPath("node")
	need(t, err)
	for _, name := range []string{"openai", "ai", "@ai-sdk/openai", "@langchain/openai", "portkey-ai"} {
		_, err = os.Stat("js/node_modules/" + name)
		need(t, err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--test-reporter=spec", file)
	cmd.Dir = "js"
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		fmt.Printf("%s", out)
	}
}
