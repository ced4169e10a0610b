package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// map test shows what would be sent, and what would come back; map new what there is to
// be mapped. What is wrong with a mapping is told with its place.
func TestMapCommands(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const schema = "../../internal/gateway/testdata/oracle.proto"
	entry := func(mapping string) string {
		return "upstreams:\n  - {name: delphi, protocol: grpc, base_url: \"http://127.0.0.1:1\", mapping: " + mapping + ", schema: " + schema + "}\n"
	}
	cfg := write("c.yaml", entry("../../internal/gateway/testdata/oracle.yaml")+
		"  - {name: other, base_url: \"http://127.0.0.1:1/v1\"}\nroute: {aliases: {sybil: cassandra, cassandra: delphi/pythia-2, gpt: other/gpt}}\n")
	chunks := write("chunks.json", `{"words":"It "} {"words":"is","end":"END_SAID"}`)
	text, err := os.ReadFile("../../internal/gateway/testdata/oracle.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wrong := write("wrong.yaml", strings.NewReplacer("heat:", "haet:", "WHO_ASKER", "WHO_ASKS", "Oracle/Murmur", "Oracle/Murmer", "=r.tally.said", "=r.tally.sad").Replace(string(text)))
	faulty := write("faulty.yaml", entry(wrong))
	const chat = `{"model":"pythia","stream":true,"messages":[{"role":"user","content":"Is it so?"}]}`
	for _, c := range []struct {
		args           []string
		stdin          string
		code           int
		stdout, stderr string // what is in them
	}{
		{[]string{"map", "test", "-c", cfg}, chat, 0, `"words": "Is it so?"`, "delphi/oracle.v2.Oracle/Murmur would be sent:"},
		{[]string{"map", "test", "-c", cfg}, strings.Replace(chat, "pythia", "delphi/pythia", 1), 0, `"oracle": "pythia"`, "would be sent"},
		{[]string{"map", "test", "-c", cfg}, strings.Replace(chat, "pythia", "sybil", 1), 0, `"oracle": "pythia-2"`, "would be sent"},
		{[]string{"map", "test", "-c", cfg}, strings.Replace(chat, "pythia", "meta/llama", 1), 0, `"oracle": "meta/llama"`, "would be sent"},
		{[]string{"map", "test", "-c", cfg}, strings.Replace(chat, "pythia", "gpt", 1), 1, "", `the model "gpt" is asked of the upstream "other" (other/gpt)`},
		{[]string{"map", "test", "-c", cfg, "--reply", chunks}, strings.Replace(chat, "pythia", "sybil", 1), 0, `"model":"sybil"`, ""},
		{[]string{"map", "test", "-c", cfg, "--upstream", "delphi"}, `{"model":"e","input":["a"]}`, 0, `"texts": [`, "Oracle/Locate"},
		{[]string{"map", "test", "-c", cfg, "--reply", chunks}, chat, 0, `"delta":{"content":"is"},"logprobs":null,"finish_reason":null}]}` + "\n\ndata: ", ""},
		{[]string{"map", "test", "-c", cfg, "--reply", chunks}, strings.Replace(chat, "true", "false", 1), 0, `"content":"It is"`, ""},
		{[]string{"map", "test", "-c", cfg}, `{"model":"m","messages":[{"role":"x"}]}`, 1, "", `"x" is none of user, assistant, system, tool`},
		{[]string{"map", "test", "-c", cfg, "--upstream", "delphy"}, chat, 1, "", `did you mean "delphi"?`},
		{[]string{"map", "test"}, chat, 1, "", "the configuration has no upstream with a mapping"},
		{[]string{"check", "-c", faulty}, "", 2, "", "wrong.yaml:9: request: oracle.v2.Question has no field \"haet\"; did you mean \"heat\"?\n"},
		{[]string{"check", "-c", faulty}, "", 2, "", "faulty.yaml:2: upstreams[0].mapping: "},
		{[]string{"check", "-c", faulty}, "", 2, "", `service oracle.v2.Oracle has no "Murmer"; did you mean "Murmur"?`},
		{[]string{"check", "-c", faulty}, "", 2, "", `wrong.yaml:14: request.lines.who.user: enum oracle.v2.Who has no "WHO_ASKS"; did you mean "WHO_ASKER"?`},
		{[]string{"check", "-c", faulty}, "", 2, "", `oracle.v2.Tally has no field "sad"; did you mean "said"?`},
		{[]string{"check", "-c", cfg}, "", 0, `protocol: "grpc"`, ""},
		{[]string{"map", "new", "--schema", schema}, "", 0, "oracle.v2.Oracle/Converse (stream oracle.v2.Question) returns (stream oracle.v2.Whisper)\n", ""},
		{[]string{"map", "new", "--schema", schema, "--method", "Oracle/Consult"}, "", 0, "    unary: oracle.v2.Oracle/Consult\n", ""},
		{[]string{"map", "new", "--schema", schema, "--method", "Insult"}, "", 1, "", "the schema has no method Insult"},
		{[]string{"map", "new", "--schema", schema, "--method", "Consult", "--abort", "Hush"}, "", 0, "    abort: oracle.v2.Oracle/Hush\n", ""},
		{[]string{"map", "new", "--schema", schema, "--method", "Consult", "--embed", "Locate"}, "", 0, "  embed:\n    request: # oracle.v2.Texts\n", ""},
		{[]string{"map", "new", "--schema", schema, "--embed", "Locate"}, "", 0, "    embed: oracle.v2.Oracle/Locate\n", ""},
		{[]string{"map", "new", "--schema", schema, "--embed", "Murmur"}, "", 1, "", "answers in a stream, and embeddings come at once"},
		{[]string{"map", "new", "--schema", schema, "--abort", "Hush"}, "", 1, "", "say which with --method"},
		{[]string{"map", "new", "--schema", schema, "--method", "Consult", "--abort", "Hash"}, "", 1, "", "the schema has no method Hash"},
		{[]string{"map", "new", "--schema", schema, "--header", "a: b"}, "", 1, "", "are for --reflect"},
		{[]string{"map", "new", "--reflect", "http://127.0.0.1:1", "--ca", "x.pem"}, "", 1, "", "write the address as https://HOST:PORT"},
		{[]string{"map", "new", "--reflect", "https://127.0.0.1:1", "--cert", "x.pem"}, "", 1, "", "--cert and --key go together"},
		{[]string{"map", "new", "--reflect", "https://127.0.0.1:1", "--ca", "none.pem"}, "", 1, "", "none.pem"},
		{[]string{"map", "new", "--reflect", "ftp://127.0.0.1:1"}, "", 1, "", `unknown scheme "ftp"`},
		{[]string{"map", "new", "--reflect", "http://127.0.0.1:1/v1"}, "", 1, "", "is no address, as HOST:PORT"},
		{[]string{"map", "new", "--reflect", "127.0.0.1:1", "--header", "key"}, "", 1, "", `not as "name: value"`},
		{[]string{"map", "new", "--reflect", "127.0.0.1:1", "--header", "content-length: 5"}, "", 1, "", "is set by the transport"},
		{[]string{"map", "new"}, "", 1, "", "--schema FILE or --reflect HOST:PORT"},
	} {
		code, stdout, stderr := call(t, nil, c.stdin, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || code == 0 && c.stderr == "" && stderr != "" {
			t.Errorf("sluice %s: code %d\nstdout: %s\nwant in it: %s\nstderr: %s\nwant in it: %s", strings.Join(c.args, " "), code, stdout, c.stdout, stderr, c.stderr)
		}
	}
}
