package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// page is a page that is being written. All text goes through its methods, which escape
// it; what is well-formed XML as well is easily checked. Those that are called all over
// are not copied to where they are called.
type page struct{ strings.Builder }

// tag writes an element with text in it. Attributes are a list of names and values.
//
//go:noinline
func (p *page) tag(name, text string, attributes ...string) {
	p.open(name, attributes...)
	p.text(text)
	p.close(name)
}

func (p *page) open(name string, attributes ...string) {
	p.WriteString("<" + name)
	for i := 0; i < len(attributes); i += 2 {
		_, _ = fmt.Fprintf(p, ` %s="%s"`, attributes[i], html.EscapeString(attributes[i+1]))
	}
	p.WriteString(">")
}

//go:noinline
func (p *page) close(name string) { p.WriteString("</" + name + ">") }

//go:noinline
func (p *page) text(s string) { p.WriteString(html.EscapeString(s)) }

// figure writes a value that was computed from the samples, with the name by which it
// can be computed again: the row's id, which of its figures it is, and what of it.
//
//go:noinline
func (p *page) figure(name, text string) { p.tag("b", text, "data-figure", name) }

const style = `:root{--bg:#fff;--ink:#1d2126;--soft:#5d6670;--line:#d9dee3;--card:#f6f8fa;--off:#8a94a0;--on:#0b6bcb;--band:#cfe6d4;--holds:#1a7f37;--short:#b3261e;--unclear:#8a6100}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--ink:#e8ebee;--soft:#9aa4ae;--line:#343b42;--card:#1c2126;--off:#7d8894;--on:#5aa9f7;--band:#1f4429;--holds:#58c476;--short:#ff8a80;--unclear:#e3b341}}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;background:var(--bg);color:var(--ink);color-scheme:light dark}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:0}p{margin:.4rem 0}.soft,dt,th{color:var(--soft);font-weight:400}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem;margin:1rem 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}b{white-space:nowrap}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-top:1px solid var(--line);vertical-align:top}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.5rem 0}dd{margin:0;overflow-wrap:anywhere}
.holds{color:var(--holds)}.short{color:var(--short)}.unclear{color:var(--unclear)}.verdict{font-weight:600;white-space:nowrap}
svg{display:block;width:100%;min-width:30rem;height:auto;margin:.5rem 0}svg text{fill:var(--soft);font-size:12px}.axis{stroke:var(--line)}.band{fill:var(--band)}.on{fill:var(--on)}.off{fill:var(--off)}.span{stroke:var(--on);stroke-width:2}
details{margin-top:.5rem}summary{cursor:pointer;color:var(--soft)}a{color:var(--on)}`

// class is a verdict's, for its colour.
func (v Verdict) class() string {
	switch v {
	case Holds:
		return "holds"
	case FallsShort:
		return "short"
	}
	return "unclear"
}

// WriteHTML writes the report as a page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	p := new(page)
	p.WriteString("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>")
	p.tag("title", "What each optimisation is worth: sluice bench")
	p.WriteString("<style>" + style + "</style></head><body>\n")
	p.tag("h1", "What each optimisation is worth")
	p.tag("p", "Measured off and on in one run on one machine, against what the design claims. Every figure is computed from the samples of that run, which stand in its JSON file, and round by round below.")
	p.facts(r)
	p.summary(r)
	for _, row := range r.Rows {
		p.row(row)
	}
	p.tag("p", "Of each round the change is the ratio of its own two sides, which were measured one after the other, in turn first. A figure is the median of the rounds; its interval goes from the least to the greatest of them, without as many of the outermost as leave at least 95 % of certainty that the median of all possible rounds lies in it; "+
		"with fewer than six rounds it is the range, and less certain. A claim holds where the whole interval reaches the lower end of what is claimed, falls short where none of it does, and is unclear in between. CPU time, memory and pauses depend on the machine; ratios do so less.", "class", "soft")
	p.WriteString("</body></html>\n")
	if _, err := io.WriteString(w, p.String()); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// facts says what was measured, where and when.
func (p *page) facts(r *Report) {
	upstream := r.Upstream
	if upstream == "" {
		upstream = "the simulator"
	}
	machine := fmt.Sprintf("%s, %d CPUs", r.System, r.CPUs)
	if r.CPU != "" {
		machine = r.CPU + ", " + machine
	}
	if r.Memory > 0 {
		machine += ", " + Bytes.format(float64(r.Memory))
	}
	p.list("Date", r.Date.UTC().Format("2006-01-02 15:04 UTC"), "Sluice", r.Version+", "+r.Go, "Machine", machine, "Upstream", upstream, "Command", r.Command,
		"Rounds", fmt.Sprintf("%d of off and on each, %.3g s a side as a rule, %.0f s in all, seed %d", r.Rounds, r.Slice, r.Seconds, r.Seed))
}

// list writes names and what they are.
func (p *page) list(pairs ...string) {
	p.open("dl")
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p.tag("dt", pairs[i])
			p.tag("dd", pairs[i+1])
		}
	}
	p.close("dl")
}

// summary is all rows in a table.
func (p *page) summary(r *Report) {
	p.open("div", "class", "scroll")
	p.open("table")
	p.heads("", "verdict", "claimed", "change", "off", "on", "interval")
	for _, row := range r.Rows {
		p.open("tr")
		p.open("td")
		p.tag("a", row.Title, "href", "#"+row.ID)
		p.close("td")
		v := row.verdict()
		p.tag("td", string(v), "class", "verdict "+v.class())
		p.tag("td", row.Claim.promised())
		c := row.cells()
		for _, cell := range [...]struct{ name, text string }{{"change", c.change}, {"off", c.off}, {"on", c.on}, {"interval", c.interval}} {
			p.open("td")
			if cell.text != "" {
				p.figure(row.ID+".0."+cell.name, cell.text)
			}
			p.close("td")
		}
		p.close("tr")
	}
	p.close("table")
	p.close("div")
}

func (p *page) heads(names ...string) {
	p.open("tr")
	for _, n := range names {
		p.tag("th", n)
	}
	p.close("tr")
}

// row is one row in full.
func (p *page) row(row Row) {
	v := row.verdict()
	p.open("section", "id", row.ID)
	p.tag("h2", row.Title)
	p.open("p")
	p.text("Claimed: “" + row.Claim.Text + "” (")
	p.tag("span", row.Claim.Quote, "lang", "zh")
	p.text("). ")
	p.tag("span", string(v), "class", "verdict "+v.class())
	p.close("p")
	p.tag("p", row.reason())
	if row.Skipped == "" {
		if len(row.Figures) > 0 {
			p.plot(row)
			p.figures(row)
		}
		p.rests(row)
	}
	p.list("Measured", row.Method, "Off", row.Off, "On", row.On)
	p.rounds(row)
	p.close("section")
	p.WriteString("\n")
}

// figures are all that the row has.
func (p *page) figures(row Row) {
	p.open("div", "class", "scroll")
	p.open("table")
	p.heads("", "off", "on", "change", "interval")
	for i, f := range row.Figures {
		if len(f.Pairs) == 0 {
			continue
		}
		p.open("tr")
		p.tag("td", f.Name)
		c := f.cells()
		for _, cell := range [...]struct{ name, text string }{{"off", c.off}, {"on", c.on}, {"change", c.change}, {"interval", c.interval}} {
			p.open("td")
			p.figure(fmt.Sprintf("%s.%d.%s", row.ID, i, cell.name), cell.text)
			p.close("td")
		}
		p.close("tr")
	}
	p.close("table")
	p.close("div")
}

// rests are the looks at a gateway at rest.
func (p *page) rests(row Row) {
	if len(row.Rests) == 0 {
		return
	}
	p.open("div", "class", "scroll")
	p.open("table")
	p.heads("after requests", "goroutines", "files", "live heap")
	for _, r := range row.Rests {
		p.open("tr")
		for _, text := range [...]string{fmt.Sprintf("%.0f", r.Requests), fmt.Sprintf("%.0f", r.Goroutines), fmt.Sprintf("%.0f", r.Files), Bytes.format(r.Heap)} {
			p.tag("td", text)
		}
		p.close("tr")
	}
	p.close("table")
	p.close("div")
}

// rounds are the values that figures are the medians of.
func (p *page) rounds(row Row) {
	if len(row.Figures) == 0 {
		return
	}
	p.open("details")
	p.tag("summary", "Round by round")
	p.open("div", "class", "scroll")
	p.open("table")
	for _, f := range row.Figures {
		off, on := f.values()
		for side, values := range [2][]float64{off, on} {
			p.open("tr")
			p.tag("td", f.Name+[...]string{", off", ", on"}[side])
			for _, v := range values {
				p.tag("td", f.Unit.format(v))
			}
			p.close("tr")
		}
	}
	p.close("table")
	p.close("div")
	p.close("details")
}

// Where plots are drawn, in units of which the whole is 600 wide.
const (
	plotLeft, plotRight = 60.0, 580.0
	plotTop, plotLine   = 16.0, 22.0
)

// plot draws the rounds' changes over the band that is claimed, and both sides' values.
func (p *page) plot(row Row) {
	f := row.Figures[0]
	gains := f.gains()
	if len(gains) == 0 {
		return
	}
	p.open("div", "class", "scroll")
	p.open("svg", "viewBox", "0 0 600 144", "role", "img", "aria-label", fmt.Sprintf("%s: change of each round over what is claimed, and values off and on", row.Title))
	least, most := 0.0, max(row.Claim.Low, row.Claim.High)
	for _, g := range gains {
		least, most = min(least, g), max(most, g)
	}
	if !f.More {
		most = 1
	}
	at := axis(least, most*1.02)
	if low, high := row.Claim.Low, row.Claim.High; low > 0 {
		if high == 0 {
			high = most
		}
		_, _ = fmt.Fprintf(p, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, at(low), plotTop, at(high)-at(low), 2*plotLine)
		p.label(at(low), plotTop-4, "claimed")
	}
	g := f.gain()
	middle := plotTop + plotLine
	_, _ = fmt.Fprintf(p, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, plotLeft, plotRight, middle, middle)
	_, _ = fmt.Fprintf(p, `<line class="span" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, at(g.Low), at(g.High), middle, middle)
	_, _ = fmt.Fprintf(p, `<line class="span" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, at(g.Median), at(g.Median), middle-10, middle+10)
	for _, gain := range gains {
		p.dot("on", at(gain), middle)
	}
	p.tag("text", "change", "x", "0", "y", fmt.Sprintf("%.1f", middle+4))
	for _, v := range [...]float64{least, (least + most) / 2, most} {
		p.label(at(v), plotTop+3*plotLine-6, f.change(v))
	}
	p.sides(f, plotTop+4*plotLine+8)
	p.close("svg")
	p.close("div")
}

// sides draws the values of both sides, on an axis that begins with nothing.
func (p *page) sides(f Figure, y float64) {
	off, on := f.values()
	most := 0.0
	for _, values := range [...][]float64{off, on} {
		for _, v := range values {
			if !math.IsNaN(v) {
				most = max(most, v)
			}
		}
	}
	if most == 0 {
		return
	}
	at := axis(0, most)
	for i, values := range [2][]float64{off, on} {
		name, line := [...]string{"off", "on"}[i], y+float64(i)*plotLine
		_, _ = fmt.Fprintf(p, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, plotLeft, plotRight, line, line)
		p.tag("text", name, "x", "0", "y", fmt.Sprintf("%.1f", line+4))
		for _, v := range values {
			if !math.IsNaN(v) {
				p.dot(name, at(v), line)
			}
		}
	}
	p.label(at(most), y-8, f.Unit.format(most))
}

// axis gives where values from low to high stand.
func axis(low, high float64) func(float64) float64 {
	if high <= low {
		high = low + 1
	}
	return func(v float64) float64 { return plotLeft + (v-low)/(high-low)*(plotRight-plotLeft) }
}

func (p *page) dot(class string, x, y float64) {
	_, _ = fmt.Fprintf(p, `<circle class="%s" cx="%.1f" cy="%.1f" r="4" fill-opacity=".7"/>`, class, x, y)
}

// label writes text that ends where the plot does, at the latest.
func (p *page) label(x, y float64, text string) {
	anchor := "middle"
	if x > plotRight-30 {
		anchor = "end"
	}
	p.tag("text", text, "x", fmt.Sprintf("%.1f", x), "y", fmt.Sprintf("%.1f", y), "text-anchor", anchor)
}
