package access

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/internal/perf"
)

// FuzzLine: a line is what the handlers of log/slog would have made, whatever a
// client called things.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"gpt-4o", "a b", `a"b`, "a=b", `a\b`, "é", "\u2028", "\u00a0", "\xff", "\x7f", "\x1b[31m", "\u200b", "\ufffd", "e\u0301", "日本", "\x00", "\r\n", "🙂"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, model, tenant string) {
		zone := time.FixedZone("", 900*(len(model)%90-45))
		at := time.Date(2026, 1, 2, 3, 4, 5, len(tenant)%4*1_020_300, zone)
		id := perf.TraceID{0xab, 15: 1}
		attrs := []slog.Attr{}
		add := func(key, value string) {
			if value != "" {
				attrs = append(attrs, slog.String(key, value))
			}
		}
		add("tenant", tenant)
		add("trace_id", id.String())
		add("model", perf.Label(model))
		attrs = append(attrs, slog.Bool("stream", true), slog.Int64("status", -200))
		for _, asJSON := range []bool{false, true} {
			n := line{json: asJSON}
			n.begin(at.Add(-time.Duration(len(model))*time.Second), slog.LevelDebug) // a line before
			n.begin(at, slog.LevelDebug)
			n.text("tenant", tenant)
			n.trace(id)
			n.name("model", model)
			n.word("stream", "true")
			n.int("status", -200)
			got := n.end()

			var want bytes.Buffer
			var h slog.Handler = slog.NewTextHandler(&want, &slog.HandlerOptions{Level: slog.LevelDebug})
			if asJSON {
				h = slog.NewJSONHandler(&want, &slog.HandlerOptions{Level: slog.LevelDebug})
			}
			r := slog.NewRecord(at, slog.LevelDebug, "request", 0)
			r.AddAttrs(attrs...)
			if err := h.Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			if !asJSON {
				if string(got) != want.String() {
					t.Errorf("got  %swant %s", got, want.String())
				}
				continue
			}
			var a, b map[string]any
			if err := json.Unmarshal(got, &a); err != nil || strings.Count(string(got), "\n") != 1 {
				t.Fatalf("%q: %v", got, err)
			}
			if err := json.Unmarshal(want.Bytes(), &b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(a, b) {
				t.Errorf("got  %swant %s", got, want.String())
			}
		}
	})
}
