package otlp

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/perf"
)

// naming is what a figure is called by OpenTelemetry's conventions for GenAI.
type naming struct{ name, unit string }

// convention gives the conventions' name of a figure that they know. Where there
// is one it stands in place of ours: the same numbers under two names cost twice.
func convention(figure string) (n naming, ok bool) {
	switch figure {
	case "model_request_duration_seconds":
		return naming{"gen_ai.server.request.duration", "s"}, true
	case "model_first_event_seconds":
		return naming{"gen_ai.server.time_to_first_token", "s"}, true
	case "model_tokens":
		return naming{"gen_ai.client.token.usage", "{token}"}, true
	default:
		return naming{}, false
	}
}

// own gives the name of any other figure. The unit stays in the name, so that a
// collector that hands it on to Prometheus ends up with the name that it has in
// /metrics: there "_total" is added, and a unit that is not there yet. Plain
// numbers have no unit, since a gauge of unit "1" would be named a ratio.
func own(figure string) naming {
	n := naming{name: scope + "." + strings.TrimSuffix(figure, "_total")}
	switch {
	case strings.HasSuffix(n.name, "_seconds"):
		n.unit = "s"
	case strings.HasSuffix(n.name, "_bytes"):
		n.unit = "By"
	case strings.HasSuffix(n.name, "_ratio"):
		n.unit = "1"
	}
	return n
}

// attributes gives labels as attributes, each as a field of that number: by their
// names, or those of the conventions. The order is that of the names.
func attributes(field protowire.Number, labels []string, conventional bool) []byte {
	names := make(map[string]string, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		name := labels[i]
		if conventional {
			name = genAI(name)
		}
		names[name] = perf.Label(labels[i+1])
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b = appendStringAttribute(b, field, name, names[name])
	}
	return b
}

func genAI(label string) string {
	switch label {
	case "operation":
		return "gen_ai.operation.name"
	case "model":
		return "gen_ai.request.model"
	case "type":
		return "gen_ai.token.type"
	default:
		return label
	}
}
