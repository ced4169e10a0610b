package alarm

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

var (
	stats   = []string{statValue, statRate, statCount, "mean", "p50", "p90", "p95", "p99", "max"} //nolint:gochecknoglobals // a list that nobody writes
	windows = []time.Duration{time.Minute, 5 * time.Minute, time.Hour}                            //nolint:gochecknoglobals // likewise
)

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// of reports whether a name has nothing but certain characters.
func of(name, characters string) bool { return strings.Trim(name, characters) == "" }

func isAlarmName(s string) bool {
	return 1 <= len(s) && len(s) <= 100 && of(s, upper+lower+digits+"_.-")
}

// isFigureName: what the figures' names are made of.
func isFigureName(s string) bool {
	return s != "" && of(s[:1], lower) && of(s, lower+digits+"_")
}

// isLabelName is that of the Prometheus data model.
func isLabelName(s string) bool {
	return s != "" && of(s[:1], upper+lower+"_") && of(s, upper+lower+digits+"_")
}

// faults collects what is wrong, each as "key: what is wrong".
type faults []error

func (f *faults) add(wrong bool, format string, args ...any) {
	if wrong {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// oneOf finds a value that is neither empty nor known.
func (f *faults) oneOf(key, value string, known ...string) {
	f.add(value != "" && !slices.Contains(known, value), "%s: %q is none of %s", key, value, strings.Join(known, ", "))
}

// Validate returns all faults joined, each as "key: what is wrong". Of a URL or a
// secret it shows nothing.
func (c Config) Validate() error {
	var f faults
	seen := make(map[string]bool)
	for i, r := range c.Alarms {
		key := fmt.Sprintf("alarms[%d]", i)
		f.add(!isAlarmName(r.Name), "%s.name: %q is not 1 to 100 letters, digits, _, - and .", key, r.Name)
		f.add(r.Name != "" && seen[r.Name], "%s.name: there is another alarm %q", key, r.Name)
		f.add(strings.HasPrefix(r.Name, anomalyPrefix), "%s.name: names with %s are those of anomalies", key, anomalyPrefix)
		seen[r.Name] = true
		if r.Off {
			builtIn := func(b Rule) bool { return b.Name == r.Name }
			f.add(!slices.ContainsFunc(BuiltIn(), builtIn), "%s.off: there is no built-in alarm %q", key, r.Name)
			continue
		}
		r.validate(key, &f)
	}
	for i, w := range c.Webhooks {
		w.validate(fmt.Sprintf("webhooks[%d]", i), &f)
	}
	c.Anomalies.validate(&f)
	if c.DashboardURL != "" {
		f.add(!isHTTP(c.DashboardURL), "dashboard_url: %q is not an http or https URL", c.DashboardURL)
	}
	return errors.Join(f...)
}

func (r Rule) validate(key string, f *faults) {
	validateFigure(key, r.Figure, r.Stat, r.Each, r.Labels, f)
	f.add(r.Window != 0 && !slices.Contains(windows, r.Window), "%s.window: %v is none of 1m, 5m, 1h", key, r.Window)
	f.add(r.Above.given() == r.Below.given(), "%s.above: give exactly one of above and below", key)
	u := unitOf(r.Figure, cmp.Or(r.Stat, statValue))
	for _, q := range []struct {
		name string
		Quantity
	}{{"above", r.Above}, {"below", r.Below}, {"clear", r.Clear}} {
		f.add(q.unit != number && q.unit != u, "%s.%s: %s is not of the unit of %s %s", key, q.name, q, cmp.Or(r.Stat, statValue), r.Figure)
	}
	f.add(r.Clear.given() && r.Above.given() && r.Clear.value > r.Above.value, "%s.clear: %s is more than above (%s)", key, r.Clear, r.Above)
	f.add(r.Clear.given() && r.Below.given() && r.Clear.value < r.Below.value, "%s.clear: %s is less than below (%s)", key, r.Clear, r.Below)
	for _, q := range []struct {
		name string
		Quantity
	}{{"for", r.For}, {"clear_for", r.ClearFor}} {
		wrong := q.unit != number && q.unit != inSeconds || q.value < 0 || q.value > maxHold.Seconds()
		f.add(wrong, "%s.%s: %s is not a time up to %v", key, q.name, q, maxHold)
	}
	f.add(r.MinSamples < 0, "%s.min_samples: must not be negative, is %d", key, r.MinSamples)
	f.oneOf(key+".severity", r.Severity, Warning, Critical)
}

// maxHold bounds For and ClearFor.
const maxHold = 24 * time.Hour

func validateFigure(key, figure, stat, each string, labels map[string]string, f *faults) {
	bare, prefixed := strings.CutPrefix(figure, "sluice_")
	f.add(prefixed, "%s.figure: give %s without sluice_", key, bare)
	f.add(!isFigureName(figure), "%s.figure: %q is not a figure's name, as request_duration_seconds", key, figure)
	f.oneOf(key+".stat", stat, stats...)
	// The name tells the kind of two of them.
	value := stat == "" || stat == statValue
	f.add(value && strings.HasSuffix(figure, "_total"), "%s.stat: a counter has rate and count", key)
	f.add(!value && strings.HasSuffix(figure, "_ratio"), "%s.stat: a ratio has only value", key)
	for name := range labels {
		f.add(!isLabelName(name), "%s.labels: %q is not a label's name", key, name)
	}
	f.add(each != "" && !isLabelName(each), "%s.each: %q is not a label's name", key, each)
	_, fixed := labels[each]
	f.add(fixed, "%s.each: %s has one value in labels", key, each)
}

func (w Webhook) validate(key string, f *faults) {
	f.add(!isHTTP(w.URL.Reveal()), "%s.url: is not an http or https URL", key)
	f.oneOf(key+".format", w.Format, FormatSluice, FormatSlack, FormatAlertmanager)
	f.add(w.MinInterval < 0 || w.MinInterval > time.Hour, "%s.min_interval: %v is not between 0 and 1h", key, w.MinInterval)
	for name, value := range w.Headers {
		f.add(!httpguts.ValidHeaderFieldName(name), "%s.headers: %q is not a header name", key, name)
		f.add(!httpguts.ValidHeaderFieldValue(value), "%s.headers: the value of %s holds a control character", key, name)
		ours := []string{"host", "content-length", "content-type", "transfer-encoding", "connection", strings.ToLower(signatureHeader)}
		f.add(slices.Contains(ours, strings.ToLower(name)), "%s.headers: %s is set by the message and cannot be configured", key, name)
	}
}

// isHTTP reports whether text is an absolute http or https URL.
func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func (a Anomalies) validate(f *faults) {
	seen := make(map[string]bool)
	for i, w := range a.Figures {
		key := fmt.Sprintf("anomalies.figures[%d]", i)
		validateFigure(key, w.Figure, w.Stat, w.Each, w.Labels, f)
		f.oneOf(key+".direction", w.Direction, Above, Below)
		f.add(seen[w.name()], "%s.figure: %s of %s is there already", key, cmp.Or(w.Stat, statValue), w.Figure)
		seen[w.name()] = true
	}
	f.add(a.History < time.Hour || a.History > 24*time.Hour, "anomalies.history: %v is not between 1h and 24h", a.History)
	f.add(!(a.Score >= 1 && a.Score <= 100), "anomalies.score: %v is not between 1 and 100", a.Score)
	change := a.MinChange
	f.add(!change.given() || change.unit != number && change.unit != share || change.value < 0, "anomalies.min_change: %q is not a share, as 50%%", change)
}
