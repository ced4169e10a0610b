package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// change writes a gain as what became of off: "−99.7 %", "+812 %".
func (f Figure) change(gain float64) string {
	if !f.More {
		gain = -gain
	}
	return percent(gain)
}

func percent(v float64) string {
	digits := 0
	switch {
	case v == 0:
		return "0 %" // 99.7 is not 100
	case v > -1 && v < -0.995:
		digits = 2
	case v > -1 && v < -0.95, v > -0.1 && v < 0.1:
		digits = 1
	}
	return strings.ReplaceAll(fmt.Sprintf("%+.*f %%", digits, v*100), "-", "−")
}

// cells are a figure's values for people, of the interval the lesser change first.
type cells struct{ off, on, change, interval string }

func (f Figure) cells() (c cells) {
	off, on := f.medians()
	c.off, c.on = f.Unit.format(off), f.Unit.format(on)
	if g := f.gain(); !math.IsNaN(g.Median) {
		c.change, c.interval = f.change(g.Median), f.change(g.Low)+" … "+f.change(g.High)
	}
	return c
}

// cells are those of the figure that the claim is held against.
func (row Row) cells() (c cells) {
	if len(row.Figures) == 0 || row.Skipped != "" {
		return c
	}
	return row.Figures[0].cells()
}

// WriteTable writes the report for people, in text.
func (r *Report) WriteTable(w io.Writer) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "sluice %s, %s, %s, %d CPUs, %s\n\n", r.Version, r.System, r.CPU, r.CPUs, r.Date.Format("2006-01-02 15:04 MST"))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WHAT\tCLAIMED\tOFF\tON\tCHANGE\tINTERVAL\tVERDICT")
	for _, row := range r.Rows {
		c := row.cells()
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Title, row.Claim.promised(), c.off, c.on, c.change, c.interval, row.verdict())
	}
	_ = t.Flush() // to a builder
	b.WriteString("\n")
	for _, row := range r.Rows {
		if why := row.reason(); why != "" {
			fmt.Fprintf(b, "%s: %s\n", row.Title, why)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}
