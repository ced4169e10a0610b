package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shell is the path of a program that a test needs. Only in CI it must be there.
func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	return path
}

// TestCompletion has real shells complete command lines with the scripts that they
// are given.
func TestCompletion(t *testing.T) {
	for name, ask := range map[string]string{
		// What a shell does by itself is done for it where there is no terminal:
		// bash sets the words and reads COMPREPLY, zsh shows what it is given.
		"bash": `source /usr/share/bash-completion/bash_completion && source <(sluice completion bash) &&
			COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9 && compopt() { :; } && __start_sluice && printf '%s\n' "${COMPREPLY[@]}"`,
		"zsh": `compdef() { :; }; _describe() { shift; print -l ${(P)1}; [[ -n ${(P)1} ]] }; _arguments() { print -l files }
			source <(sluice completion zsh) && words=("$@") CURRENT=$# && { _sluice || true } # which says that there was none`,
		"fish": `sluice completion fish | source; complete -C "$argv"`,
	} {
		t.Run(name, func(t *testing.T) {
			path := shell(t, name)
			complete := func(words ...string) []string {
				args := []string{"-c", ask}
				if name != "fish" {
					args = append(args, name) // $0
				}
				cmd := exec.Command(path, append(args, words...)...)
				cmd.Dir = t.TempDir()
				if err := os.WriteFile(filepath.Join(cmd.Dir, "mine.yaml"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				cmd.Env = []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "TERM=dumb"}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%q: %v\n%s", words, err, out)
				}
				var found []string
				for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
					word, _, _ := strings.Cut(l, "\t")    // fish
					word, _, _ = strings.Cut(word, "  (") // bash
					word, _, _ = strings.Cut(word, ":")   // zsh
					found = append(found, strings.TrimSpace(word))
				}
				return found
			}
			for _, c := range []struct {
				words []string
				want  string
			}{
				{[]string{"sluice", "ser"}, "serve"},
				{[]string{"sluice", "key", ""}, "hash"},
				{[]string{"sluice", "map", ""}, "new test"},
				{[]string{"sluice", "serve", "--log-level", ""}, "debug error info warn"},
				{[]string{"sluice", "dedup", "--mode", ""}, "blocks off safe"},
				{[]string{"sluice", "completion", ""}, "bash fish powershell zsh"},
				{[]string{"sluice", "check", "--port", ""}, ""},
			} {
				if got := strings.Join(complete(c.words...), " "); sorted(got) != c.want {
					t.Errorf("%q is completed by %q, not %q", c.words, got, c.want)
				}
			}
			// Files are completed by the shell itself.
			got := strings.Join(complete("sluice", "serve", "--config", ""), " ")
			if want := map[string]string{"bash": "", "zsh": "files", "fish": "mine.yaml"}[name]; got != want {
				t.Errorf("files are completed by %q, not %q", got, want)
			}
		})
	}
}

func sorted(words string) string {
	list := strings.Fields(words)
	slices.Sort(list)
	return strings.Join(list, " ")
}
