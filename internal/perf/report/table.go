package report

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// How many columns of a table are text, which stands left; numbers stand right.
const (
	leftFirst = 1
	leftAll   = math.MaxInt
)

// table writes rows below their head in columns. A head alone is not written.
func table(b *strings.Builder, rows [][]string, left int) {
	if len(rows) < 2 {
		return
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	b.WriteByte('\n')
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i < left {
				line.WriteString(cell + space + "  ")
			} else {
				line.WriteString(space + cell + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
}

// scale writes a number to three digits, with its unit scaled to it.
func scale(v float64, unit string) string {
	switch unit {
	case "seconds":
		switch a := math.Abs(v); {
		case a == 0:
			return "0 s"
		case a < 1e-3:
			return digits(v*1e6) + " µs"
		case a < 1:
			return digits(v*1e3) + " ms"
		}
		return digits(v) + " s"
	case "ratio":
		return digits(v*100) + " %"
	case "bytes":
		return step(v, 1024, "B", "KiB", "MiB", "GiB", "TiB")
	}
	if v == math.Trunc(v) && math.Abs(v) < 1e6 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strings.TrimRight(step(v, 1000, "", "k", "M", "G", "T"), " ")
}

func step(v, by float64, units ...string) string {
	i := 0
	for math.Abs(v) >= by && i < len(units)-1 {
		v /= by
		i++
	}
	return digits(v) + " " + units[i]
}

// digits writes three digits, or all those before the point.
func digits(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
