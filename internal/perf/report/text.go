package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/internal/perf/timeline"
)

// text writes the report as tables.
func (r *Report) text(windows []timeline.Window) ([]byte, error) {
	d := r.build(windows)
	var b strings.Builder
	fmt.Fprintf(&b, "Sluice %s · %s · up %v · %s\n", d.Version, d.Status, time.Duration(d.Uptime*float64(time.Second)).Round(time.Second), d.Time.Format(time.RFC3339))
	components := [][]string{{"COMPONENT", "STATUS", "SINCE", "LAST ERROR"}}
	for _, c := range d.Components {
		components = append(components, []string{c.Name, c.Status, c.Since.Format(time.RFC3339), c.LastError})
	}
	table(&b, components, leftAll)
	alarms, err := alarmRows(d.Alarms)
	if err != nil {
		return nil, err
	}
	table(&b, alarms, leftAll)
	for _, system := range slices.Sorted(maps.Keys(d.Systems)) {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(system))
		numbers, spreads := rows(d.Systems[system], windows)
		table(&b, numbers, leftFirst)
		table(&b, spreads, leftFirst)
	}
	return []byte(b.String()), nil
}

// alarmRows reads of the alarms what all of them have.
func alarmRows(alarms any) ([][]string, error) {
	var list []struct{ Name, State, Message string }
	b, err := json.Marshal(alarms)
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read alarms: %w", err)
	}
	out := [][]string{{"ALARM", "STATE", "MESSAGE"}}
	for _, a := range list {
		out = append(out, []string{a.Name, a.State, a.Message})
	}
	return out, nil
}

// rows gives the tables of a system: of what is one number, and of histograms.
func rows(figures map[string]figure, windows []timeline.Window) (numbers, spreads [][]string) {
	head := []string{"FIGURE", "NOW"}
	for _, w := range windows {
		head = append(head, w.Name)
	}
	numbers = append(numbers, head)
	spreads = append(spreads, []string{"FIGURE", "WINDOW", "COUNT", "RATE", "MEAN", "P50", "P90", "P95", "P99", "MAX"})
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		f := figures[name]
		for _, s := range f.Series {
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
