package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	manPage     = "../../docs/sluice.1"
	exampleFile = "../../sluice.example.yaml"
)

var update = flag.Bool("update", false, "write docs/sluice.1")

// TestManPage makes the man page of the commands and their flags, and wants it to be
// the one in docs. `go test ./cmd/sluice -run ManPage -update` writes it.
func TestManPage(t *testing.T) {
	page := manual(t, (&cli{}).root())
	if *update {
		if err := os.WriteFile(manPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(manPage); err != nil || string(b) != page {
		t.Errorf("docs/sluice.1 is not what the commands say (%v); go test ./cmd/sluice -run ManPage -update writes it", err)
	}
}

// TestManPageLint has mandoc look for faults in the page, with a date and a version
// in it as releases have.
func TestManPageLint(t *testing.T) {
	b, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	dated := strings.Replace(string(b), manHead, `.TH SLUICE 1 "2026-01-02" "sluice v1.2.3"`, 1)
	if dated == string(b) {
		t.Fatalf("the page does not begin with %q", manHead)
	}
	tool := shell(t, "mandoc")
	file := filepath.Join(t.TempDir(), "sluice.1")
	if err := os.WriteFile(file, []byte(dated), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "-T", "lint", "-W", "style", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := exec.Command(tool, "-T", "ascii", "-O", "width=200", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	plain := regexp.MustCompile(`.\x08`).ReplaceAllString(string(text), "")
	for _, want := range []string{"sluice serve [flags]", "-c, --config file", "log.level (info)", "printf %s \"$key\" | sluice key hash", "SIGHUP"} {
		if !strings.Contains(plain, want) {
			t.Errorf("the page as it is shown lacks %q:\n%s", want, plain)
		}
	}
}

// manHead is the page's first line, which has neither date nor version: a release
// puts its own into it.
const manHead = `.TH SLUICE 1 "" "sluice"`

// manual is a page about a command, all that are below it, and what its process
// takes from its surroundings, in the macros of man(7).
func manual(t *testing.T, root *cobra.Command) string {
	t.Helper()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	line(`.\" Made from the commands; go test ./cmd/sluice -run ManPage -update writes it.`)
	line("%s", manHead)
	line(".SH NAME")
	paragraphs(&w, "sluice - "+lowerFirst(root.Short))
	line(".SH SYNOPSIS\n.B sluice\n.I command\n.RI [ flags ]")
	line(".SH DESCRIPTION")
	paragraphs(&w, root.Long)
	example(&w, root)
	line(".SH COMMANDS")
	var each func(*cobra.Command)
	each = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Hidden || sub.Name() == "help" {
				continue
			}
			if sub.Runnable() && !sub.HasSubCommands() {
				line(".SS %s", roff(sub.UseLine()))
				paragraphs(&w, sub.Short+".")
				if sub.Long != "" && sub.Parent().Name() != "completion" { // whose texts are the library's
					line(".PP")
					paragraphs(&w, sub.Long)
				}
				sub.LocalFlags().VisitAll(func(f *pflag.Flag) { flagEntry(&w, f) })
				example(&w, sub)
			}
			each(sub)
		}
	}
	each(root)
	line(".SH ENVIRONMENT")
	paragraphs(&w, "Variables come before the configuration's file, and flags before variables. One that is empty counts as not set.")
	line(".TP\n.B SLUICE_CONFIG\nthe configuration's file, as \\-\\-config")
	for _, v := range variables(t) {
		line(".TP\n.B %s\n%s", roff(v[0]), roff(v[1]))
	}
	line(".TP\n.BR OPENAI_API_KEY \", \" OPENAI_BASE_URL\nthe upstream, where the configuration names none")
	line(".TP\n.IR NAME _API_KEY \", \" NAME _BASE_URL\nan upstream of that name")
	line(".TP\n.B NOTIFY_SOCKET\nthe socket of a service manager that is told when connections are taken, as in\n.BR sd_notify (3)")
	line(".SH SIGNALS")
	line(".TP\n.BR SIGTERM \", \" SIGINT\nlet requests under way finish; a second one ends them")
	line(".TP\n.B SIGHUP\nread the configuration again")
	line(".SH EXIT STATUS")
	line(".TP\n%d\nall went well\n.TP\n%d\nsomething went wrong while it ran\n.TP\n%d\nthe command line or the configuration is wrong", exitOK, exitFailure, exitUsage)
	return w.String()
}

func flagEntry(w *strings.Builder, f *pflag.Flag) {
	if f.Name == "help" {
		return
	}
	kind, usage := pflag.UnquoteUsage(f)
	name := `\-\-` + roff(f.Name)
	if f.Shorthand != "" {
		name = `\-` + f.Shorthand + `, ` + name
	}
	if kind == "" {
		fmt.Fprintf(w, ".TP\n.B %s\n%s\n", name, wrapped(usage))
		return
	}
	fmt.Fprintf(w, ".TP\n.BI \"%s \" %s\n%s\n", name, roff(kind), wrapped(usage))
}

// paragraphs writes text whose paragraphs have an empty line between them.
func paragraphs(w *strings.Builder, text string) {
	for i, p := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			w.WriteString(".PP\n")
		}
		w.WriteString(wrapped(p) + "\n")
	}
}

func example(w *strings.Builder, cmd *cobra.Command) {
	if cmd.Example != "" {
		w.WriteString(".PP\n.RS 4\n.nf\n" + roff(regexp.MustCompile(`(?m)^  `).ReplaceAllString(cmd.Example, "")) + "\n.fi\n.RE\n")
	}
}

// roff is text whose characters mean nothing else.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	return roffLines(text)
}

// roffLines is text no line of which is a request.
func roffLines(text string) string {
	return regexp.MustCompile(`(?m)^\.`).ReplaceAllString(text, `\&.`)
}

// wrapped is roff in lines of at most 78 bytes, which are filled again when they are shown.
func wrapped(text string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(roff(text)) {
		if line != "" && len(line)+1+len(word) > 78 {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return roffLines(strings.Join(append(lines, line), "\n"))
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// variables are those that stand in brackets beside a key of the example, and what
// the key is called.
func variables(t *testing.T) (list [][2]string) {
	t.Helper()
	b, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	section, key := "", regexp.MustCompile(`^( *)([a-z0-9_]+):([^#]*)(?:#.*\[(SLUICE_[A-Z0-9_]+)\])?`)
	for _, l := range strings.Split(string(b), "\n") {
		m := key.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		path := m[2]
		switch len(m[1]) {
		case 0:
			section = m[2] + "."
		case 2:
			path = section + m[2]
		default:
			continue
		}
		if m[4] != "" {
			if value := strings.Trim(strings.TrimSpace(m[3]), `"`); value != "" {
				path += " (" + value + ")"
			}
			list = append(list, [2]string{m[4], path})
		}
	}
	if len(list) < 5 {
		t.Fatalf("the example names only %v", list)
	}
	return list
}
