package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// largestBinary bounds the stripped binary, in bytes.
const largestBinary = 25_000_000

// TestBinarySize: docs/decisions/0027-what-the-binary-carries.md says what it is made
// of, and what made it larger.
func TestBinarySize(t *testing.T) {
	stripped := filepath.Join(t.TempDir(), "sluice")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", stripped, ".") // as the Makefile does
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	info, err := os.Stat(stripped)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > largestBinary {
		t.Errorf("the binary has %d bytes, which is more than %d", info.Size(), largestBinary)
	}
}

// TestCarries: what was taken out of the binary, for what it cost, does not come in
// again by way of something else. Tests may use it.
func TestCarries(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 100 {
		t.Fatalf("%d packages", len(deps))
	}
	for _, dep := range deps {
		for _, gone := range []string{
			"google.golang.org/grpc", "google.golang.org/genproto", "github.com/grpc-ecosystem", "go.opentelemetry.io", "golang.org/x/net/trace",
			"html/template", // it keeps every method of every type in the binary
		} {
			if dep == gone || strings.HasPrefix(dep, gone+"/") {
				t.Errorf("%s is in the binary again", dep)
			}
		}
	}
}
