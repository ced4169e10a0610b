package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const examplePath = "../../sluice.example.yaml"

func readExample(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestExampleIsTheDefault keeps the values in the example those of Default.
func TestExampleIsTheDefault(t *testing.T) {
	got, err := Load(LoadOptions{File: examplePath})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	var a, b strings.Builder
	if err := got.Print(&a); err != nil {
		t.Fatal(err)
	}
	if err := want.Print(&b); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() {
		t.Errorf("the example sets\n%s\nthe defaults are\n%s", a.String(), b.String())
	}
}

// TestExampleHasEveryKey keeps it complete, with every setting on a line of
// its own and the environment variable beside it.
func TestExampleHasEveryKey(t *testing.T) {
	text := uncomment(readExample(t))
	d := &decoder{faults: &faults{origins: map[string]origin{}}, text: expander{env: map[string]string{"OPENAI_API_KEY": "sk-x", "ALARM_WEBHOOK": "https://hooks.example/t", "ALARM_SECRET": "signs-messages"}}}
	cfg := Default()
	root := d.parse([]byte(text))
	if root == nil {
		t.Fatalf("%v\n%s", d.err(), text)
	}
	d.decode(root, reflect.ValueOf(&cfg).Elem(), "", "upstreams")
	d.upstreams(root, &cfg, Protocols())
	if err := d.err(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text, "\n")
	check := func(path, env string, _ reflect.Value) {
		o, ok := d.origins[path]
		if !ok {
			t.Errorf("%s is missing", path)
		} else if env != "" && !strings.Contains(lines[o.line-1], "["+env+"]") {
			t.Errorf("%s: line %q does not name %s", path, lines[o.line-1], env)
		}
	}
	settings(reflect.ValueOf(&cfg).Elem(), "", check)
	for _, key := range []string{"name", "hash", "admin", "passthrough"} {
		check("server.api_keys[0]."+key, "", reflect.Value{})
	}
	for _, f := range fields(reflect.ValueOf(cfg.Upstreams[0])) {
		check("upstreams[0]."+f.key, "", reflect.Value{})
	}
}

// uncomment makes settings of the lines that are commented out, which have no
// space, or more than one, behind "#", and drops the empty values that they
// stand for.
func uncomment(text string) string {
	out := regexp.MustCompile(`(?m)^#( {2,}|)([^ \n])`).ReplaceAllString(text, "$1$2")
	return regexp.MustCompile(`(?m)^ *(\w+): (\[\]|\{\})\n( *)(\w+:)`).ReplaceAllStringFunc(out, func(pair string) string {
		first, second, _ := strings.Cut(pair, "\n")
		if key, _, _ := strings.Cut(first, ":"); second == key+":" {
			return "\n" + second // the line stays, for line numbers
		}
		return pair
	})
}

// readable puts a URL where what stands for a secret would have to be one.
func readable(printed string) string {
	return strings.Replace(printed, `redis_url: "[redacted]"`, `redis_url: "redis://redacted"`, 1)
}

// TestPrintedIsRead checks that what Print writes is read back as the same.
func TestPrintedIsRead(t *testing.T) {
	good, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(good) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range good {
		cfg, err := Load(LoadOptions{File: file, Env: testEnv()})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var out, again strings.Builder
		if err := cfg.Print(&out); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "printed.yaml")
		if err := os.WriteFile(copied, []byte(readable(out.String())), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err = Load(LoadOptions{File: copied, Env: testEnv()})
		if err != nil {
			t.Errorf("%s: printed form is refused: %v\n%s", file, err, out.String())
			continue
		}
		if err := cfg.Print(&again); err != nil {
			t.Fatal(err)
		}
		if out.String() != again.String() {
			t.Errorf("%s: printed\n%s\nand read again\n%s", file, out.String(), again.String())
		}
	}
}
