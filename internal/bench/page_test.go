package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sample is a report with something in every row.
func sample() *Report {
	random := rand.New(rand.NewPCG(3, 4))
	r := &Report{Version: "v1", Go: "go1", System: "linux/amd64", CPU: "A CPU", CPUs: 2, Memory: 8 << 30, Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "sluice bench", Seed: 1, Rounds: 6, Slice: 3}
	for _, e := range experiments() {
		for _, row := range e.rows {
			if row.ID == leakRow {
				for i := range 6 {
					row.Rests = append(row.Rests, Rest{Requests: float64(1000 * i), Goroutines: 40, Files: 20, Heap: 4 << 20})
				}
				row.Watch = "healthy"
			} else {
				for i := range 3 {
					f := Figure{Name: fmt.Sprintf("figure %d", i), Unit: [...]Unit{Seconds, Bytes, PerSecond}[i], More: row.Claim.More}
					for range r.Rounds {
						on := Side{Amount: random.Float64(), Per: 3}
						if i == 1 {
							on = Side{Samples: []float64{random.Float64(), random.Float64(), random.Float64(), random.Float64()}}
						}
						f.Pairs = append(f.Pairs, Pair{Side{Amount: 1 + random.Float64(), Per: 2}, on})
					}
					row.Figures = append(row.Figures, f)
				}
			}
			r.Rows = append(r.Rows, row)
		}
	}
	r.finish()
	return r
}

func written(t *testing.T, r *Report) (page string, data []byte) {
	t.Helper()
	var p, j bytes.Buffer
	if err := errors.Join(r.WriteHTML(&p), r.WriteJSON(&j)); err != nil {
		t.Fatal(err)
	}
	return p.String(), j.Bytes()
}

// TestPageIsTraced computes every figure of a page again, from nothing but the samples
// in the JSON and by code of its own.
func TestPageIsTraced(t *testing.T) {
	page, data := written(t, sample())
	var report struct {
		Rows []struct {
			ID      string
			Claim   struct{ More bool }
			Figures []struct {
				Unit  Unit
				More  bool
				Pairs []struct {
					Off, On struct {
						Amount, Per float64
						Samples     []float64
					}
				}
			}
		}
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	middle := func(v []float64) float64 {
		v = slices.Sorted(slices.Values(v))
		if n := len(v); n%2 == 0 {
			return (v[n/2-1] + v[n/2]) / 2
		}
		return v[len(v)/2]
	}
	seen := 0
	for _, m := range regexp.MustCompile(`<b data-figure="(\w+)\.(\d+)\.(\w+)">([^<]+)</b>`).FindAllStringSubmatch(page, -1) {
		seen++
		for _, row := range report.Rows {
			if row.ID != m[1] {
				continue
			}
			i, _ := strconv.Atoi(m[2])
			f := row.Figures[i]
			var off, on, changes []float64
			for _, p := range f.Pairs {
				x, y := p.Off.Amount/p.Off.Per, p.On.Amount/p.On.Per
				if len(p.On.Samples) > 0 {
					y = middle(p.On.Samples)
				}
				off, on, changes = append(off, x), append(on, y), append(changes, y/x-1)
			}
			slices.Sort(changes)
			low, high := percent(changes[0]), percent(changes[5]) // of six rounds all count
			if !f.More {
				low, high = high, low
			}
			want := map[string]string{"off": f.Unit.format(middle(off)), "on": f.Unit.format(middle(on)), "change": percent(middle(changes)), "interval": low + " … " + high}[m[3]]
			if got := html.UnescapeString(m[4]); got != want {
				t.Errorf("%s.%s.%s: the page says %q, the samples %q", m[1], m[2], m[3], got, want)
			}
		}
	}
	if want := (len(report.Rows) - 1) * (3 + 1) * 4; seen != want {
		t.Errorf("%d figures, want %d", seen, want)
	}
}

// TestPageAgain: the page is the JSON's, whoever writes it.
func TestPageAgain(t *testing.T) {
	page, data := written(t, sample())
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if again, _ := written(t, &r); again != page {
		t.Error("the page differs once its report has been JSON")
	}
}

// TestPageStructure: it is well-formed, needs nothing from elsewhere, and has a section
// with all its parts for each row.
func TestPageStructure(t *testing.T) {
	r := sample()
	page, _ := written(t, r)
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict = true
	var sections []string
	parts := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		parts[e.Name.Local]++
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "id":
				sections = append(sections, a.Value)
			case "src", "onclick", "onload":
				t.Errorf("<%s %s>", e.Name.Local, a.Name.Local)
			case "href":
				if !strings.HasPrefix(a.Value, "#") {
					t.Errorf("a link to %s", a.Value)
				}
			}
		}
	}
	if !slices.Equal(sections, RowIDs()) {
		t.Errorf("sections %v, want %v", sections, RowIDs())
	}
	n := len(sections)
	for name, want := range map[string]int{"section": n, "h2": n, "svg": n - 1, "details": n - 1, "script": 0, "link": 0, "img": 0, "circle": (n - 1) * 3 * r.Rounds, "rect": n - 2, "dl": n + 1} {
		if parts[name] != want {
			t.Errorf("%d <%s>, want %d", parts[name], name, want)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "url(", "@import", "%!"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, good := range []string{"prefers-color-scheme:dark", `name="viewport"`} {
		if !strings.Contains(page, good) {
			t.Errorf("the page lacks %s", good)
		}
	}
}

// TestPageEscapes: what comes from outside is text.
func TestPageEscapes(t *testing.T) {
	const bad = `"><script>alert(1)</script>&`
	r := sample()
	r.Version, r.CPU, r.Command, r.Upstream = bad, bad, bad, bad
	for i := range r.Rows {
		r.Rows[i].Title, r.Rows[i].On, r.Rows[i].Watch = bad, bad, bad
	}
	page, _ := written(t, r)
	if strings.Contains(page, "<script") {
		t.Error("the page has a script")
	}
	if err := xml.NewDecoder(strings.NewReader(page)).Decode(new(struct{})); err != nil {
		t.Error(err)
	}
}

// TestPageOfLittle: rows that were not measured, and rounds that were all nothing.
func TestPageOfLittle(t *testing.T) {
	r := sample()
	for i := range r.Rows {
		r.Rows[i].Figures, r.Rows[i].Rests = nil, nil
		if i%2 == 0 {
			r.Rows[i].Skipped = "it would cost money"
		} else {
			r.Rows[i].Figures = []Figure{figure(false, 0, 0), {Name: "empty"}}
		}
	}
	r.finish()
	page, _ := written(t, r)
	if strings.Contains(page, "NaN") || !strings.Contains(page, "it would cost money") || !strings.Contains(page, "not measured") {
		t.Errorf("%s", page)
	}
	if f := figure(false, 0, 0).gain(); !math.IsNaN(f.Median) {
		t.Errorf("%+v", f)
	}
}

// TestTable: the same figures for a terminal.
func TestTable(t *testing.T) {
	r := sample()
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Rows {
		line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(row.Title) + ` .*$`).FindString(b.String())
		if !strings.HasSuffix(line, string(row.verdict())) || len(row.Figures) > 0 && !strings.Contains(line, row.Figures[0].cells().change) {
			t.Errorf("%s: %q", row.Title, line)
		}
	}
}
