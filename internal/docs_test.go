//go:build !race

package internal

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// page is a file of Markdown, read as far as tests of the documentation need it.
type page struct {
	name     string // from the root of the repository
	lines    []pageLine
	headings []string // with their #
	fences   []string // blocks of code: what they are, and what is in them
	tables   [][]string
}

type pageLine struct {
	text    string
	n       int    // counted from 1
	heading string // that it stands under
}

// readPage reads a page. A line of a block of code is no line.
func readPage(t *testing.T, name string) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{name: name}
	heading, fence, table := "", "", false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case fence != "":
			p.fences[len(p.fences)-1] += "\n" + line
			if strings.HasPrefix(strings.TrimSpace(line), fence) {
				fence = ""
			}
			continue
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fence = "```"
			p.fences = append(p.fences, line)
			continue
		case strings.HasPrefix(line, "#"):
			heading = line
			p.headings = append(p.headings, line)
		}
		if row := strings.HasPrefix(line, "|"); row && table {
			last := len(p.tables) - 1
			p.tables[last] = append(p.tables[last], line)
		} else if row {
			p.tables = append(p.tables, []string{line})
		}
		table = strings.HasPrefix(line, "|")
		p.lines = append(p.lines, pageLine{line, i + 1, heading})
	}
	if fence != "" {
		t.Errorf("%s ends within a block of code", name)
	}
	return p
}

// pages are all that the repository has.
func pages(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "artifacts"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			names = append(names, strings.TrimPrefix(filepath.ToSlash(path), "../"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

var (
	inlineCode = regexp.MustCompile("`[^`]+`")
	link       = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
)

// links are where a line leads, but for what stands in it as code.
func links(line string) (targets []string) {
	for _, m := range link.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, "`"), -1) {
		targets = append(targets, m[1])
	}
	return targets
}

// anchorOf is the name that GitHub gives a heading.
func anchorOf(heading string) string {
	h := strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	h = link.ReplaceAllStringFunc(h, func(l string) string { return l[1:strings.Index(l, "](")] })
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return r
		}
		return -1
	}, h)
}

// section is the text under the heading of an anchor, and under those below it.
func (p *page) section(anchor string) string {
	var text strings.Builder
	within, last := 0, "" // the heading's level, 0 for outside
	for _, line := range p.lines {
		if line.heading != last {
			last = line.heading
			level := len(last) - len(strings.TrimLeft(last, "#"))
			if within == 0 || level <= within {
				within = 0
				if anchorOf(last) == anchor {
					within = level
				}
			}
		}
		if within > 0 {
			text.WriteString(line.text + "\n")
		}
	}
	return text.String()
}

// TestLinks: what a page links to within the repository is there, the heading too.
func TestLinks(t *testing.T) {
	checked := 0
	for _, name := range pages(t) {
		p := readPage(t, name)
		for _, line := range p.lines {
			for _, target := range links(line.text) {
				u, err := url.Parse(target)
				if err != nil || u.Scheme != "" {
					continue
				}
				checked++
				path := name
				if u.Path != "" {
					path = filepath.ToSlash(filepath.Join(filepath.Dir(name), u.Path))
				}
				if _, err := os.Stat(filepath.Join("..", path)); err != nil {
					t.Errorf("%s:%d links to %s, which is not there", name, line.n, target)
					continue
				}
				if u.Fragment != "" && !slices.ContainsFunc(readPage(t, path).headings, func(h string) bool { return anchorOf(h) == u.Fragment }) {
					t.Errorf("%s:%d links to %s, of which there is no such heading", name, line.n, target)
				}
			}
		}
	}
	if checked < 300 {
		t.Errorf("only %d links", checked)
	}
}

var (
	number = regexp.MustCompile(`\d+(?:,\d{3})*(?:\.\d+)?`)
	digits = regexp.MustCompile(`[\d.,]*\d`)
)

// figures are the numbers of a text that are no part of code or of a link's target.
func figures(text string) []string {
	text = link.ReplaceAllStringFunc(inlineCode.ReplaceAllString(text, ""), func(l string) string { return l[:strings.Index(l, "](")] })
	return number.FindAllString(text, -1)
}

// TestMeasured: a figure that the README, or a page under "What it is worth", takes from
// another page is still there.
func TestMeasured(t *testing.T) {
	checked := 0
	for _, name := range pages(t) {
		for _, line := range readPage(t, name).lines {
			text, readme := line.text, strings.HasPrefix(name, "README")
			if !readme && line.heading != "## What it is worth" {
				continue
			}
			if readme && strings.HasPrefix(text, "|") {
				cells := cells(text)
				text = cells[len(cells)-1]
			}
			source := ""
			for _, target := range links(text) {
				path, heading, _ := strings.Cut(target, "#")
				if heading == "" || !strings.HasSuffix(path, ".md") {
					continue
				}
				source += readPage(t, filepath.Join(filepath.Dir(name), path)).section(heading)
			}
			if source == "" {
				continue
			}
			known := digits.FindAllString(source, -1)
			for _, f := range figures(text) {
				if checked++; !slices.Contains(known, f) {
					t.Errorf("%s:%d says %s, which is not where it links to", name, line.n, f)
				}
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d figures", checked)
	}
}

// cells are those of a table's row.
func cells(row string) []string {
	var list []string
	for _, c := range strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|") {
		list = append(list, strings.TrimSpace(c))
	}
	return list
}

// TestTranslation: the README in Chinese has the headings, blocks of code, tables and links
// of the one in English, and in each row of a table the same code, figures and links.
func TestTranslation(t *testing.T) {
	en, zh := readPage(t, "README.md"), readPage(t, "README.zh-CN.md")
	level := func(h string) int { return len(h) - len(strings.TrimLeft(h, "#")) }
	if len(en.headings) != len(zh.headings) {
		t.Fatalf("%d headings, and %d in Chinese", len(en.headings), len(zh.headings))
	}
	for i, h := range en.headings {
		if level(h) != level(zh.headings[i]) {
			t.Errorf("%q is %q", h, zh.headings[i])
		}
	}
	for i := range min(len(en.fences), len(zh.fences)) {
		if en.fences[i] != zh.fences[i] {
			t.Errorf("block of code %d is\n%s\nand in Chinese\n%s", i, en.fences[i], zh.fences[i])
		}
	}
	if len(en.fences) != len(zh.fences) {
		t.Errorf("%d blocks of code, and %d in Chinese", len(en.fences), len(zh.fences))
	}
	if len(en.tables) != len(zh.tables) {
		t.Fatalf("%d tables, and %d in Chinese", len(en.tables), len(zh.tables))
	}
	for i, table := range en.tables {
		if len(table) != len(zh.tables[i]) {
			t.Errorf("the table that begins %q has %d rows, and %d in Chinese", table[0], len(table), len(zh.tables[i]))
			continue
		}
		for j, row := range table {
			compareRows(t, row, zh.tables[i][j])
		}
	}
	all := func(p *page) (targets []string) {
		for _, line := range p.lines {
			for _, target := range links(line.text) {
				if !strings.HasPrefix(target, "README") {
					targets = append(targets, line.heading[:level(line.heading)]+" "+target)
				}
			}
		}
		slices.Sort(targets)
		return targets
	}
	if a, b := all(en), all(zh); !slices.Equal(a, b) {
		t.Errorf("links that only one of both has, or more often: %q, and in Chinese %q", without(a, b), without(b, a))
	}
}

// without gives a list less the entries of another, one for one.
func without(list, other []string) []string {
	list = slices.Clone(list)
	for _, o := range other {
		if i := slices.Index(list, o); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
	}
	return list
}

func compareRows(t *testing.T, en, zh string) {
	t.Helper()
	a, b := cells(en), cells(zh)
	if len(a) != len(b) {
		t.Errorf("%q has %d cells, %q has %d", en, len(a), zh, len(b))
		return
	}
	for i := range a {
		for what, of := range map[string]func(string) []string{
			"code":    func(c string) []string { return inlineCode.FindAllString(c, -1) },
			"figures": figures,
			"links":   links,
		} {
			x, y := of(a[i]), of(b[i])
			slices.Sort(x)
			slices.Sort(y)
			if !slices.Equal(x, y) {
				t.Errorf("%s of %q: %q, and in Chinese %q", what, a[i], x, y)
			}
		}
	}
}

var (
	namedTest = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)[^`]*`")
	namedFile = regexp.MustCompile("`((?:internal|e2e|cmd|bench|docs|scripts|deploy)/[\\w./-]+)`")
)

// TestNamed: tests and files that pages name are there.
func TestNamed(t *testing.T) {
	tests := make(map[string]bool)
	for _, folder := range []string{"internal", "e2e", "cmd", "bench"} {
		err := filepath.WalkDir("../"+folder, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "node_modules":
				return fs.SkipDir
			case !strings.HasSuffix(path, "_test.go"):
				return nil
			}
			b, err := os.ReadFile(path)
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllSubmatch(b, -1) {
				tests[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	files, named := 0, 0
	for _, name := range pages(t) {
		for _, line := range readPage(t, name).lines {
			for _, m := range namedTest.FindAllStringSubmatch(line.text, -1) {
				if named++; !tests[m[1]] {
					t.Errorf("%s:%d names %s, which is no test", name, line.n, m[1])
				}
			}
			for _, m := range namedFile.FindAllStringSubmatch(line.text, -1) {
				files++
				if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
					t.Errorf("%s:%d names %s, which is not there", name, line.n, m[1])
				}
			}
		}
	}
	if files < 80 || named < 60 {
		t.Errorf("only %d files and %d tests are named", files, named)
	}
}
