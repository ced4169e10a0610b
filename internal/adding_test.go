//go:build !race

package internal

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHowToAdd: every file and every test that docs/adding.md names is there, the
// tests in files that it names.
func TestHowToAdd(t *testing.T) {
	page, err := os.ReadFile("../docs/adding.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	var tests []string
	files := 0
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(page), -1) {
		name := m[1]
		switch {
		case regexp.MustCompile(`^Test[A-Z]\w*$`).MatchString(name):
			tests = append(tests, name)
		case regexp.MustCompile(`^(internal|docs|e2e|cmd)/[\w./-]+$|^[\w.-]+\.(yaml|md)$`).MatchString(name):
			files++
			info, err := os.Stat(filepath.Join("..", name))
			if err != nil {
				t.Errorf("docs/adding.md names a file that is not there: %v", err)
				continue
			}
			if !info.IsDir() && strings.HasSuffix(name, "_test.go") {
				b, err := os.ReadFile(filepath.Join("..", name))
				if err != nil {
					t.Error(err)
				}
				sources.Write(b)
			}
		}
	}
	for _, name := range tests {
		if !strings.Contains(sources.String(), "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("docs/adding.md names %s, which no test file of that page has", name)
		}
	}
	if files < 15 || len(tests) < 8 {
		t.Errorf("only %d files and %d tests are named", files, len(tests))
	}
	for _, what := range []string{"A stage", "An upstream protocol", "A figure", "A configuration key", "A dialect", "An operation"} {
		if !strings.Contains(string(page), "\n## "+what) {
			t.Errorf("docs/adding.md does not say how to add: %s", what)
		}
	}
}
