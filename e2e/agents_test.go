package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// agent is a coding agent of npm, which is started with nothing but what its page in the
// README says.
type agent struct {
	program string                                        // in agents/node_modules/.bin
	setUp   func(t *testing.T, home, url string) []string // gives its environment
	args    func(prompt string) []string
	steps   func(file string) string // what its model is to do: read the file, edit it, and say so
}

func agents() map[string]agent {
	return map[string]agent{
		"claude": {
			program: "claude",
			setUp: func(_ *testing.T, _, url string) []string {
				return []string{"ANTHROPIC_BASE_URL=" + url, "ANTHROPIC_API_KEY=unused", "ANTHROPIC_MODEL=sim-script", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"}
			},
			args: func(prompt string) []string { return []string{"-p", prompt, "--permission-mode", "acceptEdits"} },
			steps: func(file string) string {
				return fmt.Sprintf(`{"call":"Read","arguments":{"file_path":%[1]q}},{"call":"Edit","arguments":{"file_path":%[1]q,"old_string":"red","new_string":"blue"}}`, file)
			},
		},
		"gemini": {
			program: "gemini",
			setUp: func(t *testing.T, home, url string) []string {
				put(t, filepath.Join(home, ".gemini", "settings.json"), `{"security":{"auth":{"selectedType":"gemini-api-key"},"folderTrust":{"enabled":false}}}`)
				// It would start a second process, with more memory, to do the work.
				return []string{"GOOGLE_GEMINI_BASE_URL=" + url, "GEMINI_API_KEY=unused", "GEMINI_CLI_NO_RELAUNCH=true"}
			},
			args: func(prompt string) []string { return []string{"-m", "sim-script", "--yolo", "-p", prompt} },
			steps: func(file string) string {
				return fmt.Sprintf(`{"call":"read_file","arguments":{"file_path":%[1]q}},{"call":"replace","arguments":{"file_path":%[1]q,"instruction":"Make it blue.","old_string":"red","new_string":"blue"}}`, file)
			},
		},
		"codex": {
			program: "codex",
			setUp: func(t *testing.T, home, url string) []string {
				config := fmt.Sprintf("model = \"sim-script\"\nmodel_provider = \"sluice\"\n[model_providers.sluice]\nname = \"sluice\"\nbase_url = %q\nenv_key = \"SLUICE_KEY\"\nwire_api = \"responses\"\n", url+"/v1")
				put(t, filepath.Join(home, ".codex", "config.toml"), config)
				return []string{"SLUICE_KEY=unused"}
			},
			args: func(prompt string) []string {
				return []string{"exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt}
			},
			steps: func(file string) string {
				return fmt.Sprintf(`{"call":"exec_command","arguments":{"cmd":"cat %[1]s"}},{"call":"exec_command","arguments":{"cmd":"sed -i s/red/blue/ %[1]s"}}`, file)
			},
		},
	}
}

// put writes a file, and makes its folder.
func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAgents has coding agents, in an empty environment and home, read a file, edit it and
// answer, by means of services of each dialect.
func TestAgents(t *testing.T) {
	services := map[string]*instance{
		"chat":      chained(t, "openai, responses: translate, messages: translate"),
		"responses": start(t, ""), // chat too: what is asked in other dialects goes there
		"messages":  chained(t, "anthropic"),
		"gemini":    chained(t, "gemini"),
	}
	for name, a := range agents() {
		for dialect, in := range services {
			if dialect == "responses" && name != "codex" {
				continue
			}
			t.Run(name+" over "+dialect, func(t *testing.T) {
				t.Parallel()
				a.work(t, in)
			})
		}
	}
}

// work starts an agent and looks at what it has done.
func (a *agent) work(t *testing.T, in *instance) {
	program, err := filepath.Abs("agents/node_modules/.bin/" + a.program)
	if err == nil {
		_, err = os.Stat(program)
	}
	need(t, err)
	home, folder := t.TempDir(), t.TempDir()
	file := filepath.Join(folder, "a.txt")
	if err := os.WriteFile(file, []byte("colour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	prompt := fmt.Sprintf(`Make it blue. script: [%s,{"say":"The colour is blue now."}]`, a.steps(file))
	cmd := exec.CommandContext(ctx, program, a.args(prompt)...)
	cmd.Dir = folder
	cmd.Env = append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}, a.setUp(t, home, in.url)...)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The colour is blue now.") {
		t.Errorf("%v\n%s", err, out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "colour: blue\n" {
		t.Errorf("the file has %q, %v\n%s", text, err, out)
	}
}
