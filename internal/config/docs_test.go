package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const docsFolder = "../../docs"

// settingsPages says on which page of docs the settings of a section stand, in a table
// under a heading that begins with "Settings".
var settingsPages = map[string]string{
	"server": "configuration.md", "upstreams": "configuration.md",
	"stream": "streaming.md", "http_client": "connections.md", "route": "balancing.md",
	"dedup": "dedup.md", "translate": "dialects.md", "responses": "dialects.md", "cache": "caching.md", "state_dir": "caching.md",
	"rate_limit": "admission.md", "admit": "admission.md", "batch": "batching.md",
	"protobuf": "protobuf.md", "memory": "memory.md", "perf": "monitoring.md", "log": "monitoring.md",
}

var (
	settingsHeading = regexp.MustCompile(`^## Settings\b`)
	settingsRow     = regexp.MustCompile("^\\| `([a-z0-9_.]+)` \\| `(.*)` \\| (.*) \\|$")
)

// settingsOf reads the tables of settings of a page: key, default, and what it is.
func settingsOf(t *testing.T, page string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docsFolder, page))
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			within = settingsHeading.MatchString(line)
		}
		if !within || !strings.HasPrefix(line, "| `") {
			continue
		}
		m := settingsRow.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%s: %q is no row of key, default and words", page, line)
			continue
		}
		rows = append(rows, m[1:])
	}
	return rows
}

// isDefault reports whether a table's cell says the value v.
func isDefault(v reflect.Value, key, cell string) bool {
	if isDuration(v.Type()) {
		d, err := time.ParseDuration(cell)
		return err == nil && d == v.Interface().(time.Duration)
	}
	p := &printer{}
	p.value(v, key, "")
	text := strings.TrimSpace(p.out.String())
	if strings.Contains(text, "\n") { // a list of sections
		return cell == "[…]"
	}
	if plain, err := strconv.Unquote(text); err == nil && plain != "" {
		text = plain
	}
	if strings.HasPrefix(text, "[") && v.Kind() == reflect.Slice {
		text = strings.ReplaceAll(text, `"`, "")
	}
	return cell == text
}

// TestSettingsAreDocumented: each setting stands in the table of its section's page, once,
// with its default and some words, and nothing else does.
func TestSettingsAreDocumented(t *testing.T) {
	found := make(map[string][]string) // the key's row, and its page
	for _, page := range slices.Compact(slices.Sorted(maps.Values(settingsPages))) {
		for _, row := range settingsOf(t, page) {
			if found[row[0]] != nil {
				t.Errorf("%s is in %s and in %s", row[0], found[row[0]][3], page)
			}
			found[row[0]] = append(row, page)
		}
	}
	cfg, n := Default(), 0
	settings(reflect.ValueOf(&cfg).Elem(), "", func(path, _ string, v reflect.Value) {
		section, _, _ := strings.Cut(path, ".")
		page := settingsPages[section]
		row := found[path]
		delete(found, path)
		n++
		switch {
		case page == "":
			t.Errorf("no page is named for the section %s, in settingsPages", section)
		case row == nil:
			t.Errorf("docs/%s has no row for %s under Settings", page, path)
		case row[3] != page:
			t.Errorf("%s stands in docs/%s and not in docs/%s", path, row[3], page)
		case !isDefault(v, path[strings.LastIndexByte(path, '.')+1:], row[1]):
			t.Errorf("docs/%s says that %s is %s by default", page, path, row[1])
		case row[2] == "":
			t.Errorf("docs/%s does not say what %s is", page, path)
		}
	})
	for key, row := range found {
		t.Errorf("docs/%s has %s, which is no setting", row[3], key)
	}
	if n < 100 {
		t.Errorf("only %d settings", n)
	}
}

// otherYAML are pages with YAML that is no configuration of Sluice: how a block begins.
var otherYAML = map[string][]string{
	"docs/mapping.md":   {"xai:"},
	"docs/migrating.md": {"model_list:"}, // LiteLLM's
	"docs/telemetry.md": {"receivers:"},  // a collector's
}

var (
	yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	variable  = regexp.MustCompile(`\$\{(\w+)\}`)
)

// TestDocumentedConfigurations: each configuration that a page shows is taken, but for the
// files that it names, which are not there.
func TestDocumentedConfigurations(t *testing.T) {
	inFolder, err := filepath.Glob(docsFolder + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	inRoot, err := filepath.Glob(docsFolder + "/../*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range append(inFolder, inRoot...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page := strings.TrimPrefix(filepath.ToSlash(filepath.Clean(file)), "../../")
		for _, m := range yamlBlock.FindAllSubmatch(text, -1) {
			block := string(m[1])
			if slices.ContainsFunc(otherYAML[page], func(begin string) bool { return strings.HasPrefix(block, begin) }) {
				continue
			}
			n++
			if err := loadShown(t, block); err != nil {
				t.Errorf("%s shows\n%s\nwhich is refused:\n%v", page, block, err)
			}
		}
	}
	if n < 12 {
		t.Errorf("only %d configurations", n)
	}
}

// loadShown loads what a page shows, with something for each variable and for what is left
// out of hashes.
func loadShown(t *testing.T, block string) error {
	t.Helper()
	hash := "sha256:" + strings.Repeat("0", 64)
	file := filepath.Join(t.TempDir(), "shown.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(block, "sha256:…", hash)), 0o600); err != nil {
		t.Fatal(err)
	}
	var env []string
	for _, m := range variable.FindAllStringSubmatch(block, -1) {
		switch name := m[1]; {
		case strings.HasSuffix(name, "_HASH"):
			env = append(env, name+"="+hash)
		case strings.HasSuffix(name, "_WEBHOOK"):
			env = append(env, name+"=https://hooks.example/t")
		default:
			env = append(env, name+"=some-secret-value")
		}
	}
	_, err := Load(LoadOptions{File: file, Env: env})
	if e, ok := errors.AsType[*Error](err); ok {
		faults := slices.DeleteFunc(slices.Clone(e.Faults), func(f string) bool { return strings.Contains(f, "no such file") })
		if len(faults) == 0 {
			return nil
		}
	}
	return err
}
