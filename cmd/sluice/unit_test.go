package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mostExposed is what `systemd-analyze security` may say of the unit at most, in
// tenths of its points, without TLS and with: a service is "OK" below 50, one with no
// hardening has 96.
const (
	mostExposed    = "15"
	mostExposedTLS = "19"
)

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
	verify := func() {
		t.Helper()
		if out, err := exec.Command(tool, "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("verify: %v\n%s", err, out)
		}
	}
	verify()
	judge := func(most string) {
		t.Helper()
		if out, err := exec.Command(tool, "security", "--offline=true", "--threshold="+most, file).CombinedOutput(); err != nil {
			t.Errorf("security: %v\n%s", err, out)
		}
	}
	judge(mostExposed)

	// With the drop-in that the documentation shows.
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?ms)^```ini\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(shown) != 1 {
		t.Fatalf("docs/install.md shows %d drop-ins", len(shown))
	}
	dropIn := filepath.Join(file+".d", "tls.conf")
	if err := errors.Join(os.Mkdir(filepath.Dir(dropIn), 0o700), os.WriteFile(dropIn, shown[0][1], 0o600)); err != nil {
		t.Fatal(err)
	}
	verify()
	judge(mostExposedTLS)
	// It is read: a fault in it is told of.
	if err := os.WriteFile(dropIn, append(shown[0][1], "Unknown=1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command(tool, "verify", "--man=no", file).CombinedOutput(); !strings.Contains(string(out), "tls.conf") {
		t.Errorf("a fault in the drop-in is not told of: %s", out)
	}
}
