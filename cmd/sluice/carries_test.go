package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

const (
	largestBinary = 25_000_000 // bytes of the stripped binary
	idleResident  = 16 << 20   // bytes that are resident when it does nothing; 10 MiB were measured
)

// TestSmall: docs/decisions/0027-what-the-binary-carries.md says what the binary is
// made of, what made it larger, and what is resident of it.
func TestSmall(t *testing.T) {
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > largestBinary {
		t.Errorf("the binary has %d bytes, which is more than %d", info.Size(), largestBinary)
	}
	if runtime.GOOS != "linux" {
		t.Skip("what is resident is read from /proc")
	}
	p := launch(t, exec.Command(binary, "serve", "--port", "0", "--log-level", "debug"), "HOME=/nonexistent")
	await(t, p.stderr, "memory given back to the system")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("%s", status)
	}
	if kB, _ := strconv.Atoi(string(m[1])); kB<<10 > idleResident {
		t.Errorf("%d KiB are resident, which is more than %d\n%s", kB, idleResident>>10, status)
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
			"google.golang.org/grpc", "google.golang.org/genproto", "github.com/grpc-ecosystem", "go.opentelemetry.io", "golang.org/x/net/trace", "cel.dev",
			"html/template", // it keeps every method of every type in the binary
		} {
			if dep == gone || strings.HasPrefix(dep, gone+"/") {
				t.Errorf("%s is in the binary again", dep)
			}
		}
	}
}
