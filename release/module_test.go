package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const address = "git.acme.example/tools/sluice"

// commit makes a repository of a folder, with one commit that has the tags.
func commit(t *testing.T, dir string, tags ...string) {
	t.Helper()
	commands := [][]string{
		{"init", "--quiet"}, {"add", "--all"},
		{"-c", "user.name=test", "-c", "user.email=test@acme.example", "commit", "--quiet", "--allow-empty", "--message=all"},
	}
	for _, tag := range tags {
		commands = append(commands, []string{"tag", tag})
	}
	for _, words := range commands {
		git := exec.Command("git", append([]string{"-C", dir}, words...)...)
		git.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
		if out, err := git.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", words, err, out)
		}
	}
}

// goTool runs the Go tool, with settings that have it find compiled what a release
// compiles.
func goTool(t *testing.T, dir string, env []string, words ...string) string {
	t.Helper()
	tool := exec.Command("go", words...)
	tool.Dir = dir
	tool.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false -modcacherw", "GOTOOLCHAIN=local", "GOWORK=off"), env...)
	out, err := tool.CombinedOutput()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", words, err, out)
	}
	return strings.TrimSpace(string(out))
}

// install has the Go tool install a command, and gives what the result says its version
// is.
func install(t *testing.T, dir, command string, env ...string) string {
	t.Helper()
	bin := t.TempDir()
	goTool(t, dir, append(env, "GOBIN="+bin), "install", command)
	out, err := exec.Command(filepath.Join(bin, "sluice"), "version").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// testInstall installs the release by its address, from a server of the files that were
// made for that.
func testInstall(t *testing.T, tree string) {
	server := httptest.NewServer(http.FileServer(http.Dir(tree)))
	defer server.Close()
	// What it needs is taken from what a build of the release has downloaded and compared
	// with go.sum: neither a proxy nor a database of sums is asked for it.
	downloaded := filepath.Join(goTool(t, ".", nil, "env", "GOMODCACHE"), "cache", "download")
	modules := t.TempDir()
	env := []string{"GOMODCACHE=" + modules, "GOPROXY=" + server.URL + ",file://" + filepath.ToSlash(downloaded), "GOPRIVATE=", "GONOPROXY=", "GOSUMDB=off"}
	if got := install(t, t.TempDir(), address+"/cmd/sluice@"+version, env...); !strings.HasPrefix(got, "sluice "+version+" (go") {
		t.Errorf("it says %q", got)
	}

	source := filepath.Join(modules, filepath.FromSlash(address)+"@"+version)
	for _, name := range []string{"LICENSE", "README.md", "go.sum", "sluice.example.yaml", "e2e/harness_test.go"} {
		if !exists(source, name) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"bench", "release", "e2e/others", ".git", "dist"} {
		if exists(source, name) {
			t.Errorf("%s is part of it", name)
		}
	}
	versions := filepath.Join(tree, filepath.FromSlash(address), "@v")
	if a, b := string(read(t, source, "go.mod")), string(read(t, versions, version+".mod")); a != b || !strings.HasPrefix(a, "module "+address+"\n") {
		t.Errorf("%s\n%s", a, b)
	}
	if list := string(read(t, versions, "list")); list != version+"\n" {
		t.Errorf("the list is %q", list)
	}
	for _, name := range []string{version + ".info", "../@latest"} {
		var info struct {
			Version string
			Time    time.Time
		}
		if err := json.Unmarshal(read(t, versions, name), &info); err != nil || info.Version != version || info.Time.Unix() != 1700000000 {
			t.Errorf("%s: %v, %+v", name, err, info)
		}
	}

	// Whose a function is the program reads from its own name.
	if out := goTool(t, source, env, "test", "-vet=off", "-v", "-run", "^TestSitesAreNamed$", "./internal/memory/leak"); !strings.Contains(out, "--- PASS: TestSitesAreNamed") {
		t.Error(out)
	}
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	return err == nil
}

// TestModuleVersions: Go installs semantic versions from addresses, and a version is a
// commit with that tag.
func TestModuleVersions(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	root := t.TempDir()
	commit(t, root, "v1.2.3", "v1.2.4-rc.1", "v1.2.5+x", "v2.0.0", "nightly")
	for _, c := range []struct{ version, module, fault string }{
		{"v1.2.3", address, ""},
		{"v1.2.4-rc.1", address, ""},
		{"v2.0.0", address + "/v2", ""},
		{"v2.0.0", address, "should be v0 or v1, not v2"},
		{"v1.2.3", "sluice", "missing dot"},
		{"v1.2.3", "https://" + address, "malformed module path"},
		{"v1.2.5+x", address, "not a version that Go installs"},
		{"nightly", address, "not a version that Go installs"},
		{"v1.2", address, "not a version that Go installs"},
		{"v1.2.4", address, "not a tag of this commit"},
		{"v1.2.3-dirty", address, "not a tag of this commit"},
		{"v1.2.3-1-g2f3c1ab", address, "not a tag of this commit"},
	} {
		r := release{root: root, version: c.version, module: c.module, toolchain: "local"}
		switch err := r.stamp(); {
		case c.fault == "" && err != nil:
			t.Errorf("%s of %s: %v", c.version, c.module, err)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s of %s: %v, not %q", c.version, c.module, err, c.fault)
		}
	}
}

// TestModuleOfTheTag: the version is the commit's tag, as long as nothing was changed since.
func TestModuleOfTheTag(t *testing.T) {
	root := t.TempDir()
	change := func(text string) {
		if err := os.WriteFile(filepath.Join(root, "a"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change("tagged")
	commit(t, root, version)
	r := release{root: root, module: address, toolchain: "local"}
	if err := r.stamp(); err != nil || r.version != version {
		t.Errorf("%s, %v", r.version, err)
	}
	change("changed")
	r.version = ""
	if err := r.stamp(); err == nil || !strings.Contains(err.Error(), version+"-dirty is not a tag") {
		t.Errorf("%s, %v", r.version, err)
	}
}

// TestRenamed: only what is imported gets another name.
func TestRenamed(t *testing.T) {
	const was = `// Package p is no "sluice/internal/p" of others.
package p

import (
	"os"
	"sluice/internal/llm"
	"time"

	_ "sluice"
	other "sluice/internal/upstream" // not "sluice/internal/front"
	"sluicegate/internal/llm"
)

import . ` + "`sluice/internal/sse`" + `

const text = "sluice/internal/llm"
`
	const want = `// Package p is no "sluice/internal/p" of others.
package p

import (
	"git.acme.example/tools/sluice/internal/llm"
	"os"
	"time"

	_ "git.acme.example/tools/sluice"
	other "git.acme.example/tools/sluice/internal/upstream" // not "sluice/internal/front"
	"sluicegate/internal/llm"
)

import . "git.acme.example/tools/sluice/internal/sse"

const text = "sluice/internal/llm"
`
	if got, err := renamed([]byte(was), "sluice", address); err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := renamed([]byte("package p\nvar a  int"), "sluice", address); err != nil || string(got) != "package p\nvar a  int" {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := renamed([]byte("import \"sluice\""), "sluice", address); err == nil {
		t.Error("no Go file was taken for one")
	}
}
