package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnInputs(t *testing.T) {
	var in Inputs
	streams := in.Streams(t)
	apis := map[string]int{}
	for _, s := range streams {
		apis[s.API]++
	}
	if apis["openai-chat"] < 10 || apis["openai-responses"] < 3 || apis["openai-completions"] < 1 {
		t.Errorf("streams: %v", apis)
	}
	if len(in.Pairs(t)) < 10 || len(in.Errors(t)) < 10 || len(in.Texts(t)) < 30 || len(in.Strings(t)) < 30 || len(in.Vectors(t)) < 13 {
		t.Error("inputs are missing")
	}
}

// A test that misses its recordings is skipped, and that is noted.
func TestRecordedIsMissed(t *testing.T) {
	noted := filepath.Join(t.TempDir(), "skipped")
	t.Setenv(dataVariable, filepath.Join(t.TempDir(), "none"))
	t.Setenv(requireVariable, "")
	t.Setenv(skippedVariable, noted)
	ran := 0
	Each(t, func(*testing.T, Inputs) { ran++ })
	if ran != 1 {
		t.Errorf("ran %d times, want once, on our own inputs", ran)
	}
	b, err := os.ReadFile(noted)
	if err != nil || string(b) != t.Name()+"/recorded\n" {
		t.Errorf("noted %q, %v", b, err)
	}
	if n := len(Seeds(t)); n != 1 {
		t.Errorf("%d seeds without recordings, want 1", n)
	}
}

// make has every step of a run note into one file, which its last step reads.
func TestRunNotesInOneFile(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	const rules = `noted: note read ; @:
note: ; @echo "$$SLUICE_SKIPPED"; now=$$(date +%s); while [ $$(date +%s) = $$now ]; do sleep 0.05; done
read: ; @echo "$$SLUICE_SKIPPED"`
	cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", root(t), "--no-print-directory", "--eval", rules, "noted")
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != skippedVariable && !strings.HasPrefix(name, "MAKE") && name != "MFLAGS" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	names := strings.Fields(string(out))
	if err != nil || len(names) != 2 || names[0] != names[1] {
		t.Errorf("%q, %v", out, err)
	}
}

// Where the recordings are required, a test that misses them fails.
func TestRecordedIsRequired(t *testing.T) {
	t.Setenv(dataVariable, filepath.Join(t.TempDir(), "none"))
	t.Setenv(requireVariable, "1")
	f := &fatal{TB: t}
	func() {
		defer func() { _ = recover() }()
		Recorded(f, "x")
	}()
	if !strings.Contains(f.text, requireVariable) {
		t.Errorf("said %q", f.text)
	}
}

// fatal takes note of a failure.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Fatalf(format string, _ ...any) {
	f.text = strings.ReplaceAll(format, "%s", requireVariable)
	panic("failed")
}

// Another program's hold on apt is waited for, for five minutes and no longer;
// whatever else is wrong is told at once.
func TestDepsWaitsForLock(t *testing.T) {
	const script = `set -u
waited=0 as_root=
sleep() { waited=$((waited + $1)); }
env() { # in place of apt-get, which waits too where it is told to
	for arg; do case $arg in *Lock::Timeout=*) echo "${arg##*=}" >>"$DIR/waited" ;; esac; done
	echo "E: $SAYS"
	return 100
}
. "$DIR/apt"
apt install x >/dev/null 2>&1
for n in $(cat "$DIR/waited"); do waited=$((waited + n)); done
echo $waited`
	b, err := os.ReadFile(filepath.Join(root(t), "scripts", "deps"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\napt() {")
	body, _, ok := strings.Cut(text, "\n}\n")
	if !ok {
		t.Fatal("scripts/deps has no function apt")
	}
	for says, want := range map[string]string{
		"Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1": "300",
		"Unable to lock directory /var/lib/apt/lists/":                            "300",
		"Unable to locate package xclock":                                         "0",
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"apt": "apt() {" + body + "\n}\n", "waited": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
		cmd.Env = append(os.Environ(), "DIR="+dir, "SAYS="+says)
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: waited %q s, want %s, %v", says, got, want, err)
		}
	}
}
