package compare

import (
	"slices"
	"strings"
	"testing"
)

func sample() *Run {
	r := &Run{
		Date: "2026-01-31", Machine: Machine{CPU: "a CPU", CPUs: 2, Kernel: "6.1", Go: "go1.26"},
		Settings:     Settings{Rounds: 3, Seconds: 4, Connections: 32, Calls: 300, Rate: 200, Streams: 2000, IdleSeconds: 30},
		LoadAverages: []float64{9, 2.25, 3}, Absent: []Absent{{"other", "it was not to be had"}},
		Proxies: []Proxy{{"Sluice", "", []string{"One.", "Two."}}, {"nginx", "1.22", []string{"None."}}, {"x|y", "", []string{"Three."}}},
	}
	cost := Line{Name: "CPU µs", Digits: 1, Compared: Ratio}
	for i, f := range []float64{10, 1000, 20} {
		cost.Add("Sluice", f)
		cost.Add("nginx", []float64{20, 3000, 10}[i])
	}
	cost.Lacks("x|y", "no cache")
	added := Line{Name: "µs added", Compared: Difference}
	for i, f := range []float64{-1, 5, 2} {
		added.Add("Sluice", f)
		added.Add("nginx", f+float64(i)-1)
		added.Add("x|y", 1234567.4)
	}
	once := Line{Name: "MB", Digits: 1, Compared: Ratio}
	for _, p := range r.Proxies {
		once.Add(p.Name, 9.94)
	}
	uncompared := Line{Name: "mock", Compared: None}
	for _, p := range r.Proxies {
		uncompared.Add(p.Name, 7)
	}
	r.Lines = []Line{cost, added, once, uncompared}
	return r
}

func TestTables(t *testing.T) {
	s := sample().Sections()
	for name, want := range map[string]string{
		"figures": `| median (least–most) | Sluice | nginx | x\|y |
| --- | ---: | ---: | ---: |
| CPU µs | 20.0 (10.0–1,000.0) | 20.0 (10.0–3,000.0) | no cache |
| µs added | 2 (−1–5) | 3 (−2–5) | 1,234,567 (1,234,567–1,234,567) |
| MB | 9.9 | 9.9 | 9.9 |
| mock | 7 | 7 | 7 |
`,
		"ratios": `| beside Sluice, in the same rounds | nginx | x\|y |
| --- | ---: | ---: |
| CPU µs | × 2.00 (0.50–3.00) |  |
| µs added | 0 (−1–+1) | +1,234,565 (+1,234,562–+1,234,568) |
| MB | × 1.00 | × 1.00 |
`,
		"notes": "* **Sluice**: One. Two.\n* **nginx 1.22**: None.\n* **x|y**: Three.\n",
	} {
		if s[name] != want {
			t.Errorf("%s:\n%swant\n%s", name, s[name], want)
		}
	}
	for _, part := range []string{"on 2026-01-31: 2 CPUs (a CPU), Linux 6.1", "3 rounds of 4 s", "was 3.0 (median; 2.2 to 9.0)", "no third CPU", "other is not in the tables: it was not to be had."} {
		if !strings.Contains(s["setup"], part) {
			t.Errorf("%q is not in\n%s", part, s["setup"])
		}
	}
	if strings.Contains(s["setup"], "orders of magnitude") {
		t.Error("the machine had nothing else to do")
	}
	busy := sample()
	busy.LoadAverages = []float64{9, 30, 8}
	if !strings.Contains(busy.Sections()["setup"], "orders of magnitude") {
		t.Error("the machine had much else to do")
	}
	more := sample()
	more.Machine.CPUs = 4
	if strings.Contains(more.Sections()["setup"], "third CPU") {
		t.Error("a machine with four CPUs has a third")
	}
}

// What was measured before something failed is printed, and be it nothing.
func TestNothing(t *testing.T) {
	for name, text := range (&Run{Proxies: sample().Proxies}).Sections() {
		if strings.Contains(text, "NaN") || text == "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestMedian(t *testing.T) {
	for want, v := range map[float64][]float64{0: nil, 3: {3}, 2.5: {4, 1, 2, 3}, 7: {9, 7, 1}} {
		if got := Median(v); got != want {
			t.Errorf("%v: %v, not %v", v, got, want)
		}
	}
}

func TestBeside(t *testing.T) {
	for _, c := range []struct {
		by   Comparison
		a, b []float64
		want []float64
	}{
		{Ratio, []float64{4, 9}, []float64{2, 3}, []float64{2, 3}},
		{Difference, []float64{4, 9}, []float64{2, 0}, []float64{2, 9}},
		{Ratio, []float64{4, 9}, []float64{2, 0}, nil},
		{Ratio, []float64{4}, []float64{2, 1}, nil},
		{None, []float64{4}, []float64{2}, nil},
	} {
		if got := beside(c.by, c.a, c.b); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func TestFigure(t *testing.T) {
	for want, c := range map[string]struct {
		v      float64
		digits int
	}{"0": {-0.4, 0}, "999": {999, 0}, "1,000": {1000, 0}, "−12,345.7": {-12345.67, 1}, "1,234,567.00": {1234567, 2}} {
		if got := figure(c.v, c.digits); got != want {
			t.Errorf("%v is %s, not %s", c, got, want)
		}
	}
}

// What is written is read again, and makes the same tables.
func TestParse(t *testing.T) {
	b, err := sample().JSON()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range sample().Sections() {
		if got := r.Sections()[name]; got != text {
			t.Errorf("%s:\n%swant\n%s", name, got, text)
		}
	}
	for from, to := range map[string]string{
		`"Sluice": [`:         `"Sluice": [1,`,
		`"compared": "ratio"`: `"compared": "taste"`,
		`"no cache"`:          `""`,
		`"digits": 1`:         `"digits": -1`,
		`"date"`:              `"day"`,
	} {
		if _, err := Parse([]byte(strings.Replace(string(b), from, to, 1))); err == nil {
			t.Errorf("%s was taken", to)
		}
	}
	if _, err := Parse([]byte("{}")); err == nil {
		t.Error("a run of nothing was taken")
	}
}

func TestReplace(t *testing.T) {
	const doc = "# A\n" + sectionBegin + "one -->\nold\n" + sectionEnd + "\nkept\n" + sectionBegin + "two -->\n" + sectionEnd + "\nend\n"
	got, err := Replace(doc, map[string]string{"one": "1\n", "two": "2\n"})
	want := strings.Replace(strings.Replace(doc, "old", "1", 1), "two -->\n", "two -->\n2\n", 1)
	if got != want || err != nil {
		t.Errorf("%v:\n%s", err, got)
	}
	for name, c := range map[string]struct {
		doc      string
		sections map[string]string
	}{
		"no place":      {doc, map[string]string{"one": "1\n", "two": "2\n", "three": "3\n"}},
		"not to be":     {doc, map[string]string{"one": "1\n"}},
		"twice":         {doc + doc, map[string]string{"one": "1\n", "two": "2\n"}},
		"no end":        {strings.TrimSuffix(strings.ReplaceAll(doc, sectionEnd, ""), "end\n"), map[string]string{"one": "1\n", "two": "2\n"}},
		"end of a next": {strings.Replace(doc, sectionEnd, "", 1), map[string]string{"one": "1\n", "two": "2\n"}},
	} {
		if got, err := Replace(c.doc, c.sections); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What parses makes tables, and a document that takes sections takes them again.
func FuzzParse(f *testing.F) {
	b, err := sample().JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, "x"+sectionBegin+"a -->\n"+sectionEnd)
	f.Fuzz(func(t *testing.T, b []byte, doc string) {
		if r, err := Parse(b); err == nil {
			r.Sections()
		}
		sections := map[string]string{"a": "A\n"}
		once, err := Replace(doc, sections)
		if err != nil {
			return
		}
		if twice, err := Replace(once, sections); err != nil || twice != once {
			t.Errorf("%v: %q, then %q", err, once, twice)
		}
	})
}
