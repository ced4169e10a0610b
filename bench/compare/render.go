package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Sections are the parts of a document that a run writes, by name.
func (r *Run) Sections() map[string]string {
	return map[string]string{"setup": r.setup(), "figures": r.figures(), "ratios": r.ratios(), "notes": r.notes()}
}

// setup says where and how it was measured, and what else went on there.
func (r *Run) setup() string {
	s, m := &r.Settings, &r.Machine
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %d CPUs (%s), Linux %s, Sluice built by %s. %s of %s s a load, the proxies in turn within each; %d connections where a cost or a rate is measured, %d calls a round where a latency is.\n",
		r.Date, m.CPUs, m.CPU, m.Kernel, m.Go, count(s.Rounds, "round"), figure(s.Seconds, 0), s.Connections, s.Calls)
	if load := slices.Sorted(slices.Values(r.LoadAverages)); len(load) > 0 { // none where it failed before the first line
		fmt.Fprintf(&b, "The machine's load average over one minute, taken as each line's rounds began, was %s (median; %s to %s), this run's own part included. What goes by the clock has in it how long a proxy waited for other programs; CPU time has not, but what piles up while it waits costs it less each, events of streams above all.\n",
			figure(Median(load), 1), figure(load[0], 1), figure(load[len(load)-1], 1))
	}
	if own := 3.0; Median(r.LoadAverages) > own+float64(m.CPUs) { // proxy, mock and load
		b.WriteString("**With so much else to do on the machine, rates, latencies and starts of this run tell orders of magnitude at most**; CPU time, memory and sizes hold better, and their ratios best.\n")
	}
	b.WriteString("\nThe proxy under test has CPU 0, alone of all that the run starts but for the other proxies, which are idle then; mock, load and the measuring program share CPU 1.")
	if m.CPUs <= 2 {
		b.WriteString(" This machine has no third CPU: where a proxy may use two, it shares the second with mock and load. That line says what the whole machine does, not what a proxy gains by a second CPU of its own.")
	}
	b.WriteString("\n")
	for _, a := range r.Absent {
		fmt.Fprintf(&b, "\n%s is not in the tables: %s.\n", a.Name, a.Why)
	}
	return b.String()
}

// figures is the table of medians, with the least and the most of the rounds.
func (r *Run) figures() string {
	var b strings.Builder
	r.head(&b, "median (least–most)", r.Proxies)
	for _, l := range r.Lines {
		cells := []string{l.Name}
		for _, p := range r.Proxies {
			f := l.Figures[p.Name]
			if len(f) == 0 {
				cells = append(cells, l.Lacking[p.Name])
				continue
			}
			cells = append(cells, spread(f, func(v float64) string { return figure(v, l.Digits) }))
		}
		row(&b, cells)
	}
	return b.String()
}

// ratios is the table of what the others take beside Sluice, in the same rounds.
func (r *Run) ratios() string {
	var b strings.Builder
	r.head(&b, "beside "+r.Proxies[0].Name+", in the same rounds", r.Proxies[1:])
	for _, l := range r.Lines {
		if l.Compared == None {
			continue
		}
		cells := []string{l.Name}
		for _, p := range r.Proxies[1:] {
			all := beside(l.Compared, l.Figures[p.Name], l.Figures[r.Proxies[0].Name])
			cell := ""
			switch {
			case len(all) == 0:
			case l.Compared == Difference:
				cell = spread(all, func(v float64) string { return signed(v, l.Digits) })
			default:
				cell = "× " + spread(all, func(v float64) string { return figure(v, 2) })
			}
			cells = append(cells, cell)
		}
		row(&b, cells)
	}
	return b.String()
}

// notes say of each proxy what is to be known before it is compared.
func (r *Run) notes() string {
	var b strings.Builder
	for _, p := range r.Proxies {
		fmt.Fprintf(&b, "* **%s**: %s\n", strings.TrimSpace(p.Name+" "+p.Version), strings.Join(p.Notes, " "))
	}
	return b.String()
}

func (r *Run) head(b *strings.Builder, title string, proxies []Proxy) {
	cells := []string{title}
	for _, p := range proxies {
		cells = append(cells, p.Name)
	}
	row(b, cells)
	fmt.Fprintf(b, "| ---%s |\n", strings.Repeat(" | ---:", len(proxies)))
}

// row writes a row of a table. What would end a cell does not.
func row(b *strings.Builder, cells []string) {
	for _, c := range cells {
		b.WriteString("| " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(c) + " ")
	}
	b.WriteString("|\n")
}

// spread writes a median, and what else there was.
func spread(all []float64, form func(float64) string) string {
	if len(all) == 1 {
		return form(all[0])
	}
	return fmt.Sprintf("%s (%s–%s)", form(Median(all)), form(slices.Min(all)), form(slices.Max(all)))
}

// figure writes a number, with commas between thousands.
func figure(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	sign := ""
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		s = rest
		if strings.Trim(s, "0.") != "" {
			sign = "−"
		}
	}
	whole, rest, _ := strings.Cut(s, ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}

func signed(v float64, digits int) string {
	s := figure(v, digits)
	if v > 0 {
		return "+" + s
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
