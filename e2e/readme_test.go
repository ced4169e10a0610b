package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readme runs what the README tells a newcomer to do.
type readme struct {
	in     *instance
	answer string // what sim-chat says to "Hello"
	path   string // of what the commands find
	folder string // in which they run
}

// block is a block of code of the README: its language, and what is in it, with the
// address of a running gateway for the one that stands there.
type block struct{ language, code string }

func readmeBlocks(t *testing.T, url string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], strings.ReplaceAll(m[2], "http://127.0.0.1:28888", url)})
	}
	return blocks
}

// TestReadme: what stands in the README as a command or a program does what it is there
// for. The languages and the commands that it knows are all that there may be.
func TestReadme(t *testing.T) {
	t.Parallel()
	r := newReadme(t)
	seen := make(map[string]int)
	for _, b := range readmeBlocks(t, r.in.url) {
		seen[b.language]++
		name := fmt.Sprintf("%s %d", b.language, seen[b.language])
		switch b.language {
		case "go":
			t.Run(name, func(t *testing.T) { r.goProgram(t, b.code) })
		case "js":
			t.Run(name, func(t *testing.T) { r.node(t, b.code) })
		case "python":
			t.Run(name, func(t *testing.T) { r.python(t, b.code) })
		case "yaml":
			file := filepath.Join(r.folder, "sluice.yaml") // what commands name is the first
			if seen[b.language] > 1 {
				file = filepath.Join(r.folder, "others.yaml")
			}
			put(t, file, strings.ReplaceAll(b.code, "sha256:…", "sha256:"+strings.Repeat("0", 64)))
			t.Run(name, func(t *testing.T) { r.command(t, "sluice serve --config "+filepath.Base(file)) })
		case "sh":
		default:
			t.Errorf("nobody knows how to run a block of %s", b.language)
		}
	}
	for _, b := range readmeBlocks(t, r.in.url) {
		if b.language != "sh" {
			continue
		}
		for line := range strings.Lines(b.code) {
			t.Run("sh", func(t *testing.T) { r.command(t, strings.TrimSpace(line)) })
		}
	}
	if seen["sh"] < 5 || seen["js"] < 2 || seen["go"] < 1 || seen["python"] < 2 || seen["yaml"] < 1 {
		t.Errorf("blocks of code: %v", seen)
	}
}

// newReadme starts a gateway, and makes what the README takes for granted: sluice, and a
// program that finds its address in the environment.
func newReadme(t *testing.T) *readme {
	r := &readme{in: start(t, ""), folder: t.TempDir()}
	a := request(t, "POST", r.in.url+"/v1/chat/completions", `{"model":"sim-chat","messages":[{"role":"user","content":"Hello"}]}`, "Content-Type", "application/json")
	var reply struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal([]byte(a.body), &reply); err != nil || len(reply.Choices) != 1 || reply.Choices[0].Message.Content == "" {
		t.Fatalf("%v: %v", a, err)
	}
	r.answer = reply.Choices[0].Message.Content
	bin := t.TempDir()
	// Instead of being served, which would ask real services, configurations are checked.
	put(t, filepath.Join(bin, "sluice"), "#!/bin/sh\ncase $1 in serve) shift; exec "+binary+" check \"$@\";; *) exec "+binary+" \"$@\";; esac\n")
	put(t, filepath.Join(bin, "your-program"), "#!/bin/sh\nexec node --input-type=module --eval 'import OpenAI from \"openai\"; console.log((await new OpenAI().chat.completions.create({model: \"sim-chat\", messages: [{role: \"user\", content: \"Hello\"}]})).choices[0].message.content)'\n")
	for _, name := range []string{"sluice", "your-program"} {
		if err := os.Chmod(filepath.Join(bin, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	agents, err := filepath.Abs("agents/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs("js/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(r.folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	r.path = bin + ":" + agents + ":" + os.Getenv("PATH")
	return r
}

// run gives what a command writes to standard output, which has to end well.
func (r *readme) run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, stderr.String())
	}
	return string(out)
}

// answers runs a program, which has to say what the model said.
func (r *readme) answers(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out := r.run(t, cmd); strings.TrimSpace(out) != r.answer {
		t.Errorf("%v says %q, and the model said %q", cmd.Args, out, r.answer)
	}
}

func (r *readme) goProgram(t *testing.T, code string) {
	file := filepath.Join(t.TempDir(), "main.go")
	put(t, file, code)
	r.answers(t, exec.CommandContext(t.Context(), "go", "run", "-ldflags=-s -w", file)) // with the modules of ours
}

func (r *readme) node(t *testing.T, code string) {
	for _, m := range regexp.MustCompile(`from "(.*)"`).FindAllStringSubmatch(code, -1) {
		_, err := os.Stat("js/node_modules/" + m[1])
		need(t, err)
	}
	file := filepath.Join(r.folder, "program.mjs")
	put(t, file, code)
	r.answers(t, exec.CommandContext(t.Context(), "node", file))
}

// python runs a program where its package is there, which Debian has not and needs a
// registry that tests do not take for granted. Elsewhere it is read.
func (r *readme) python(t *testing.T, code string) {
	python, err := exec.LookPath("python3")
	need(t, err)
	pack := regexp.MustCompile(`(?m)^from (\w+) import`).FindStringSubmatch(code)
	if pack == nil {
		t.Fatalf("no package is imported:\n%s", code)
	}
	if exec.CommandContext(t.Context(), python, "-c", "import "+pack[1]).Run() == nil {
		r.answers(t, exec.CommandContext(t.Context(), python, "-c", code))
		return
	}
	t.Logf("%s is not installed: the program was parsed and not run", pack[1])
	r.run(t, exec.CommandContext(t.Context(), python, "-c", "import ast, sys; ast.parse(sys.argv[1])", code))
}

// unrun are commands that would change the machine, or take another that it need not
// have. What they take is there.
var unrun = map[string]string{
	"sudo install sluice /usr/local/bin": "../Makefile",
	"docker build -t sluice .":           "../Dockerfile",
}

// command runs a line of a shell.
func (r *readme) command(t *testing.T, line string) {
	bare := strings.TrimSpace(regexp.MustCompile(`\s+# .*$`).ReplaceAllString(line, ""))
	if file, ok := unrun[bare]; ok {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		return
	}
	if target, ok := strings.CutPrefix(bare, "make "); ok { // of which one runs this test
		if out, err := exec.CommandContext(t.Context(), "make", "-n", "-C", "..", target).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	program := regexp.MustCompile(`^(?:\w+=\S+ )*(go run \./cmd/sluice|[\w-]+) `).FindStringSubmatch(bare + " ")
	if program == nil {
		t.Fatalf("what is run by %q?", bare)
	}
	var well func(out string) bool
	switch program[1] {
	case "curl":
		bare = strings.Replace(bare, "curl", "curl -fsS", 1)
		well = func(out string) bool { return strings.Contains(out, "sim-chat") }
		if strings.Contains(bare, `"stream":true`) {
			well = func(out string) bool { return strings.HasSuffix(out, "data: [DONE]\n\n") }
		}
	case "go run ./cmd/sluice":
		bare = strings.Replace(bare, program[1], "sluice", 1)
		fallthrough
	case "sluice":
		well = func(out string) bool { return strings.Contains(out, "\nupstreams:") }
	case "head":
		well = regexp.MustCompile(`^sha256:[0-9a-f]{64}\n$`).MatchString
	case "your-program":
		_, err := os.Stat("js/node_modules/openai")
		need(t, err)
		well = func(out string) bool { return strings.TrimSpace(out) == r.answer }
	case "claude", "codex", "gemini":
		_, err := os.Stat("agents/node_modules/.bin/" + program[1])
		need(t, err)
		well = func(out string) bool { return strings.TrimSpace(out) != "" }
	default:
		t.Fatalf("nobody knows what %s is to do: %s", program[1], bare)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", bare)
	cmd.Dir = r.folder
	home := t.TempDir()
	cmd.Env = []string{"PATH=" + r.path, "HOME=" + home, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "GEMINI_CLI_NO_RELAUNCH=true", "GORACE=" + os.Getenv("GORACE")}
	if program[1] == "gemini" { // which has to sign in by a key, as docs/dialects.md says
		put(t, filepath.Join(home, ".gemini", "settings.json"), `{"security":{"auth":{"selectedType":"gemini-api-key"}}}`)
	}
	if strings.Contains(bare, "--config") {
		cmd.Env = append(cmd.Env, "OPENAI_API_KEY=sk-unused")
	}
	if out := r.run(t, cmd); !well(out) {
		t.Errorf("%s\nwrote\n%s", bare, out)
	}
}
