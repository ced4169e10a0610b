package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/gateway"
)

// call runs a command in this process.
func call(t *testing.T, env []string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, env, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("server: {prot: 1}\nlog: {levle: x}"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(dir, "shared.yaml")
	keys := "server:\n  api_keys:\n    - {name: a, hash: " + gateway.HashKey("a") + "}\n    - {name: b, hash: " + gateway.HashKey("b") + "}\n"
	if err := os.WriteFile(shared, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		env    []string
		stdin  string
		code   int
		stdout string // found in it
		stderr string // all of it
	}{
		{args: nil, code: 0, stdout: "sluice serve --config sluice.yaml"},
		{args: []string{"--help"}, code: 0, stdout: "Available Commands:"},
		{args: []string{"serve", "--help"}, code: 0, stdout: "OPENAI_API_KEY=sk-... sluice serve --port 8080"},
		{args: []string{"check", "-h"}, code: 0, stdout: "Examples:"},
		{args: []string{"key", "hash", "-h"}, code: 0, stdout: "openssl rand"},
		{args: []string{"version"}, code: 0, stdout: "sluice "},
		{args: []string{"version", "x"}, code: 2, stderr: "sluice: unknown command \"x\" for \"sluice version\"; see sluice --help\n"},
		{args: []string{"sevre"}, code: 2, stderr: "sluice: unknown command \"sevre\" for \"sluice\" Did you mean this? serve; see sluice --help\n"},
		{args: []string{"map", "foo"}, code: 2, stderr: "sluice: unknown command \"foo\" for \"sluice map\"; see sluice --help\n"},
		{args: []string{"completion", "tcsh"}, code: 2, stderr: "sluice: unknown command \"tcsh\" for \"sluice completion\"; see sluice --help\n"},
		{args: []string{"help", "nothing"}, code: 2, stderr: "sluice: unknown command \"nothing\" for \"sluice\"; see sluice --help\n"},
		{args: []string{"help", "map", "foo"}, code: 2, stderr: "sluice: unknown command \"foo\" for \"sluice map\"; see sluice --help\n"},
		{args: []string{"help"}, code: 0, stdout: "Available Commands:"},
		{args: []string{"help", "serve"}, code: 0, stdout: "OPENAI_API_KEY=sk-... sluice serve --port 8080"},
		{args: []string{"help", "map", "new"}, code: 0, stdout: "--reflect"},
		{args: []string{"map", "--help"}, code: 0, stdout: "Available Commands:"},
		{args: []string{"map"}, code: 0, stdout: "Available Commands:"},
		{args: []string{"completion", "bash"}, code: 0, stdout: "__start_sluice"},
		{args: []string{"__complete", "map", ""}, code: 0, stdout: "new", stderr: "Completion ended with directive: ShellCompDirectiveNoFileComp\n"},
		{args: []string{"serve", "--prot", "1"}, code: 2, stderr: "sluice: unknown flag: --prot; see sluice --help\n"},
		{args: []string{"serve", "--port", "x"}, code: 2, stderr: "sluice: --port: \"x\" is not a whole number\n"},
		{args: []string{"serve", "--port", ""}, code: 2, stderr: "sluice: --port: \"\" is not a whole number\n"},
		{args: []string{"serve", "--log-level", "loud"}, code: 2, stderr: "sluice: --log-level: log.level: \"loud\" is none of debug, info, warn, error\n"},
		{args: []string{"serve", "--config", "none.yaml"}, code: 2, stderr: "sluice: none.yaml: there is no such file; give the configuration's path with --config\n"},
		{args: []string{"check"}, env: []string{"SLUICE_CONFIG=none.yaml"}, code: 2, stderr: "sluice: none.yaml: there is no such file; give the configuration's path with --config\n"},
		{args: []string{"check", "--config", bad}, code: 2, stderr: "sluice: bad.yaml:1: server: unknown key \"prot\"; did you mean \"port\"?\n" +
			"sluice: bad.yaml:2: log: unknown key \"levle\"; did you mean \"level\"?\n"},
		{args: []string{"serve", "--host", "0.0.0.0"}, code: 2, stderr: "sluice: --host: server.host: \"0.0.0.0\" can be reached from other machines and no API key is configured; " +
			"add one under server.api_keys (sluice key hash), or listen on 127.0.0.1, or give --insecure\n"},
		{args: []string{"check", "--host", "0.0.0.0", "--insecure"}, code: 0, stdout: "insecure: true"},
		{args: []string{"check", "--config", "../../sluice.example.yaml"}, env: []string{"OPENAI_API_KEY=sk-hidden"}, code: 0, stdout: `api_key: "[redacted]"`},
		{args: []string{"check", "--config", "../../sluice.example.yaml"}, env: []string{"SLUICE_CONFIG=none.yaml"}, code: 0, stdout: "port: 28888"},
		{args: []string{"check", "--config", shared}, code: 0, stdout: `passthrough: ["all"]`, stderr: "sluice: warning: server.api_keys: a, b may ask the upstreams for everything, also for what others keep there: " +
			"files, batches, fine-tuned models, stored responses and chats, vector stores can be listed, read and deleted by whoever has a key; " +
			"set passthrough (none, or a list of paths) under server or beside the keys, or beside them passthrough: all where that is wanted\n"},
		{args: []string{"key", "hash"}, stdin: "abcdefghijklmnopqrstuvwxyz\n", code: 0, stdout: "sha256:71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73\n"},
		{args: []string{"key", "hash"}, stdin: "", code: 2, stderr: "sluice: standard input must hold a key, with no space around it; see sluice --help\n"},
		{args: []string{"key", "hash"}, stdin: " a\n", code: 2, stderr: "sluice: standard input must hold a key, with no space around it; see sluice --help\n"},
	} {
		code, stdout, stderr := call(t, c.env, c.stdin, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || stderr != c.stderr {
			t.Errorf("sluice %s: code %d, want %d\nstdout: %s\nwant in it: %s\nstderr: %swant: %s",
				strings.Join(c.args, " "), code, c.code, stdout, c.stdout, stderr, c.stderr)
		}
		if strings.Contains(stdout+stderr, "hidden") {
			t.Errorf("sluice %s prints a secret:\n%s", strings.Join(c.args, " "), stdout)
		}
	}
}

// check opens what the configuration names and tells of all that is wrong with it at
// once, with what is wrong with the configuration itself; so does a start that fails
// for some of it. Neither changes anything.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	cfg, none, file := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "none"), filepath.Join(dir, "file")
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(cfg, []byte(text), 0o600), os.WriteFile(file, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	faulty := "server:\n  tls:\n    cert: " + none + "\n    key: " + none + "\n" +
		"state_dir: " + file + "/state\nprotobuf:\n  schemas:\n    - " + none + ".proto\n    - " + file + "\n    - grpc://127.0.0.1:1\n"
	secret := "upstreams:\n  - {name: a, base_url: \"http://127.0.0.1:1\", api_key: \"file:" + none + "\"}\nlog:\n  level: loud\n"
	faults := []string{"c.yaml:3: server.tls.cert: ", "c.yaml:4: server.tls.key: ", "c.yaml:5: state_dir: ",
		"c.yaml:8: protobuf.schemas[0]: ", "c.yaml:9: protobuf.schemas[1]: "}
	own := append(slices.Clone(faults), "c.yaml:12: upstreams[0].api_key: ", "c.yaml:14: log.level: ")
	for _, c := range []struct {
		command, text string
		want          []string
	}{
		{"check", faulty + secret, own},
		{"check", faulty, faults},
		{"serve", faulty, faults},
	} {
		write(c.text)
		code, _, stderr := call(t, nil, "", c.command, "--config", cfg)
		lines := slices.DeleteFunc(strings.Split(strings.TrimSuffix(stderr, "\n"), "\n"), func(l string) bool { return !strings.HasPrefix(l, "sluice: ") })
		if code != exitUsage || !slices.EqualFunc(lines, c.want, func(l, want string) bool { return strings.HasPrefix(l, "sluice: "+want) }) {
			t.Errorf("%s: code %d\n%s\nwant %q", c.command, code, stderr, c.want)
		}
	}
	// What a start does by itself is not done, and what it would ask is named.
	write("state_dir: " + none + "/state\nprotobuf:\n  schemas:\n    - grpc://127.0.0.1:1\n")
	code, _, stderr := call(t, nil, "", "check", "--config", cfg)
	if code != exitOK || stderr != "sluice: warning: protobuf.schemas[0]: grpc://127.0.0.1:1 is asked at the start, and was not asked now\n" {
		t.Errorf("code %d: %s", code, stderr)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestServeEndsWithItsContext runs serve as a function.
func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stdout, lines := lineWriter()
	done := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		done <- run(ctx, []string{"serve", "--port", "0", "--log-level", "error"}, nil, strings.NewReader(""), stdout, &errs)
	}()
	base := address(t, lines)
	if status, body := get(t, base+"/healthz"); status != 200 {
		t.Errorf("healthz: %d %s", status, body)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("code %d: %s", code, errs.String())
	}
}
