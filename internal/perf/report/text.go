package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/internal/perf/timeline"
)

// text writes the report for people: a summary, and tables, in which rows without
// anything but zeros are left out unless all are asked for.
func (r *Report) text(windows []timeline.Window, all bool) ([]byte, error) {
	d := r.build(windows)
	var b strings.Builder
	fmt.Fprintf(&b, "Sluice %s · %s · up %v · %s\n", d.Version, d.Status, time.Duration(d.Uptime*float64(time.Second)).Round(time.Second), d.Time.Format(time.RFC3339))
	alarms, raised, err := alarmRows(d.Alarms, all)
	if err != nil {
		return nil, err
	}
	digest(&b, &d.Summary, windows, raised)
	components := [][]string{{"COMPONENT", "STATUS", "SINCE", "LAST ERROR"}}
	for _, c := range d.Components {
		components = append(components, []string{c.Name, c.Status, c.Since.Format(time.RFC3339), c.LastError})
	}
	table(&b, components, leftAll)
	table(&b, alarms, leftAll)
	large := [][]string{{"LARGE OBJECT", "REQUEST", "SIZE", "SINCE"}}
	for _, l := range d.Large {
		large = append(large, []string{l.Part, l.ID, scale(float64(l.Bytes), "bytes"), l.Since.Format(time.RFC3339)})
	}
	table(&b, large, leftAll)
	for _, system := range slices.Sorted(maps.Keys(d.Systems)) {
		numbers, spreads := rows(d.Systems[system], windows, all)
		if len(numbers)+len(spreads) > 2 { // more than their heads
			fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(system))
		}
		table(&b, numbers, leftFirst)
		table(&b, spreads, leftFirst)
	}
	if !all {
		b.WriteString("\nRows that are all zero are left out: ?format=text&all=1 shows them.\n")
	}
	return []byte(b.String()), nil
}

// alarmRows reads of the alarms what all of them have: a table of those that are
// not inactive, or of all, and a line for each that is raised.
func alarmRows(alarms any, all bool) (rows [][]string, raised []string, err error) {
	var list []struct{ Name, State, Message string }
	b, err := json.Marshal(alarms)
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read alarms: %w", err)
	}
	rows = [][]string{{"ALARM", "STATE", "MESSAGE"}}
	for _, a := range list {
		if all || a.State != "inactive" {
			rows = append(rows, []string{a.Name, a.State, a.Message})
		}
		if a.State == "firing" || a.State == "clearing" {
			raised = append(raised, cmp.Or(a.Message, a.Name))
		}
	}
	return rows, raised, nil
}

// rows gives the tables of a system: of what is one number, and of histograms.
func rows(figures map[string]figure, windows []timeline.Window, all bool) (numbers, spreads [][]string) {
	head := []string{"FIGURE", "NOW"}
	for _, w := range windows {
		head = append(head, w.Name)
	}
	numbers = append(numbers, head)
	spreads = append(spreads, []string{"FIGURE", "WINDOW", "COUNT", "RATE", "MEAN", "P50", "P90", "P95", "P99", "MAX"})
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		f := figures[name]
		for _, s := range f.Series {
			if !all && s.zero() {
				continue
			}
			row := []string{name + labelText(s.Labels), now(&s, f.Unit)}
			for _, w := range windows {
				switch v := s.Windows[w.Name].(type) {
				case rate:
					row = append(row, scale(v.PerSecond, f.Unit)+"/s")
				case share:
					row = append(row, scale(v.Value, "ratio"))
				case spread:
					u := f.Unit
					spreads = append(spreads, []string{
						row[0], w.Name, scale(float64(v.Count), ""), scale(v.PerSecond, "") + "/s",
						scale(v.Mean, u), scale(v.P50, u), scale(v.P90, u), scale(v.P95, u), scale(v.P99, u), scale(v.Max, u),
					})
				default:
					row = append(row, "")
				}
			}
			if f.Kind != timeline.Histogram.String() {
				numbers = append(numbers, row)
			}
		}
	}
	return numbers, spreads
}

// zero reports whether all that is known of a series is zero. A histogram without
// values has no window.
func (s *series) zero() bool {
	for _, w := range s.Windows {
		switch w := w.(type) {
		case rate:
			if w.Count != 0 {
				return false
			}
		case share:
			if w.Value != 0 {
				return false
			}
		default:
			return false
		}
	}
	return (s.Value == nil || *s.Value == 0) && (s.Total == nil || *s.Total == 0)
}

func now(s *series, unit string) string {
	switch {
	case s.Value != nil:
		return scale(*s.Value, unit)
	case s.Total != nil:
		return scale(*s.Total, unit)
	}
	return ""
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{" + strings.Join(list, ",") + "}"
}
