package process

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// What has ended has no memory, and is no process that has none.
func TestResidentMiB(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it takes /proc")
	}
	if mib, err := ResidentMiB(os.Getpid()); err != nil || mib < 1 {
		t.Errorf("this process: %v, %v", mib, err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if mib, err := ResidentMiB(cmd.Process.Pid); err != nil || mib <= 0 {
		t.Errorf("one that runs: %v, %v", mib, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	if mib, err := ResidentMiB(cmd.Process.Pid); err == nil {
		t.Errorf("one that has ended: %v", mib)
	}
}

func TestResident(t *testing.T) {
	if mib, err := resident([]byte("Name:\ta\nVmRSS:\t    2048 kB\n")); err != nil || mib != 2 {
		t.Errorf("%v, %v", mib, err)
	}
	for _, bad := range []string{"", "Name:\ta\nState:\tZ (zombie)\n", "VmRSS:\n", "VmRSS: x\n"} { // one that waits for its parent has none
		if mib, err := resident([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, mib)
		}
	}
}
