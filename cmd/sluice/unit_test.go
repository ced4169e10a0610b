package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mostExposed is what `systemd-analyze security` may say of the unit at most, in
// tenths of its points: a service is "OK" below 50, one with no hardening has 96.
const mostExposed = "15"

// TestUnit has systemd read the unit, and judge what a service that was taken over could do.
func TestUnit(t *testing.T) {
	tool := shell(t, "systemd-analyze")
	b, err := os.ReadFile("../../deploy/sluice.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := strings.ReplaceAll(string(b), "/usr/local/bin/sluice", binary) // which has to be there
	if strings.Count(unit, binary+" serve") != 1 || strings.Count(unit, binary+" check") != 1 {
		t.Fatalf("it is not started, or not checked before it reads its configuration again:\n%s", unit)
	}
	file := filepath.Join(t.TempDir(), "sluice.service")
	if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(tool, "security", "--offline=true", "--threshold="+mostExposed, file).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}
