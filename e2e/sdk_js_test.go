package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestJavaScriptSDK runs the tests in js/, which use the official npm package.
func TestJavaScriptSDK(t *testing.T) {
	node, err := exec.LookPath("node")
	need(t, err)
	_, err = os.Stat("js/node_modules/openai")
	need(t, err)
	in := start(t, "")
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=spec")
	cmd.Dir = "js"
	cmd.Env = append(os.Environ(), "OPENAI_BASE_URL="+in.url+"/v1", "OPENAI_API_KEY=unused")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		fmt.Printf("%s", out)
	}
}
