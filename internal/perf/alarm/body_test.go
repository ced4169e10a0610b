package alarm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func encoded(t *testing.T, e encoder, batch ...event) string {
	t.Helper()
	b, err := e.encode(batch, time.Date(2026, 1, 2, 3, 4, 10, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSluiceBody(t *testing.T) {
	e := encoder{FormatSluice, "1.2", "host-1", "https://gw/dashboard"}
	got := encoded(t, e, sample("slow", "raised"))
	want := `{"object":"alarm_message","version":"1.2","instance":"host-1","time":"2026-01-02T03:04:10Z","dashboard_url":"https://gw/dashboard","alarms":[` +
		`{"event":"raised","name":"slow","kind":"threshold","state":"firing","severity":"warning","figure":"wait_seconds","stat":"p99","labels":{"upstream":"a"},` +
		`"window":"5m","value":2.5,"direction":"above","threshold":1,"since":"2026-01-02T03:04:05Z","raised_at":"2026-01-02T03:04:05Z",` +
		`"message":"p99 is 2.5 s, above 1 s","advice":"Look at \u003ca\u003e \u0026 b."}]}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSlackBody(t *testing.T) {
	e := encoder{FormatSlack, "1.2", "host-1", "https://gw/dashboard"}
	got := encoded(t, e, sample("slow", "raised"), sample("fast", "cleared"))
	var plain strings.Builder // as a person reads it in the JSON
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(json.RawMessage(got)); err != nil {
		t.Fatal(err)
	}
	texts := []string{
		`:warning: *slow* raised (warning) on host-1\np99 is 2.5 s, above 1 s\nLook at \u0026lt;a\u0026gt; \u0026amp; b.`,
		`:white_check_mark: *fast* cleared (warning) on host-1\np99 is 2.5 s, above 1 s`,
		`\u003chttps://gw/dashboard|Dashboard\u003e`,
	}
	want := `{"text":"` + strings.Join(texts, `\n`) + `","blocks":[`
	for i, text := range texts {
		want += map[bool]string{true: ","}[i > 0] + `{"type":"section","text":{"type":"mrkdwn","text":"` + text + `"}}`
	}
	if want += "]}"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestSlackBounds keeps a full queue of long texts within what Slack takes.
func TestSlackBounds(t *testing.T) {
	var batch []event
	for i := range queued {
		ev := sample(fmt.Sprint("alarm", i), "raised")
		ev.Advice = strings.Repeat("é", 5000)
		batch = append(batch, ev)
	}
	var m slackMessage
	if err := json.Unmarshal([]byte(encoded(t, encoder{format: FormatSlack}, batch...)), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Blocks) > 50 || m.Blocks[len(m.Blocks)-1].Text.Text != "… and 24 more" {
		t.Errorf("%d blocks", len(m.Blocks))
	}
	for _, b := range m.Blocks {
		if len(b.Text.Text) > 3000 {
			t.Errorf("a text of %d bytes", len(b.Text.Text))
		}
	}
	for _, before := range []string{"", "a", "ab"} {
		if text := cut(before + strings.Repeat("€", 1000)); !utf8.ValidString(text) {
			t.Errorf("a character is cut: …%q", text[len(text)-6:])
		}
	}
}

// postable is postableAlert of Alertmanager's api/v2/openapi.yaml, which requires
// the labels alone.
type postable struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     *time.Time        `json:"startsAt"`
	EndsAt       *time.Time        `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// read decodes a body of FormatAlertmanager with what Alertmanager refuses
// refused: unknown fields, label names and values that are none, an end before
// the start.
func read(t *testing.T, body string) (list []postable) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, a := range list {
		if a.StartsAt == nil || a.EndsAt == nil || a.EndsAt.Before(*a.StartsAt) {
			t.Errorf("from %v to %v", a.StartsAt, a.EndsAt)
		}
		for name, value := range a.Labels {
			if !isLabelName(name) || value == "" || !utf8.ValidString(value) {
				t.Errorf("label %q=%q", name, value)
			}
		}
		if _, err := url.ParseRequestURI(a.GeneratorURL); a.GeneratorURL != "" && err != nil {
			t.Error(err)
		}
	}
	return list
}

func TestAlertmanagerBody(t *testing.T) {
	e := encoder{FormatAlertmanager, "1.2", "host-1", "https://gw/dashboard"}
	list := read(t, encoded(t, e, sample("slow", "raised"), sample("fast", "cleared")))
	got := fmt.Sprint(list[0].Labels, list[0].Annotations, list[0].StartsAt, list[0].EndsAt, list[0].GeneratorURL, list[1].Labels["alertname"], list[1].EndsAt)
	want := "map[alertname:slow figure:wait_seconds instance:host-1 severity:warning upstream:a] " +
		"map[description:Look at <a> & b. summary:p99 is 2.5 s, above 1 s value:2.5] " +
		"2026-01-02 03:04:05 +0000 UTC 2026-01-02 03:08:10 +0000 UTChttps://gw/dashboardfast2026-01-02 04:04:05 +0000 UTC"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestAlertmanagerIsReminded checks that an alarm that stays is told of every
// minute until it is cleared.
func TestAlertmanagerIsReminded(t *testing.T) {
	r := newReceiver(t, func(int, http.ResponseWriter) {})
	bubble(t, func(t *testing.T) {
		h := newHooked(r.URL, func(w *Webhook) { w.Format = FormatAlertmanager })
		if h.target != r.URL+"/api/v2/alerts" {
			t.Errorf("POST to %s", h.target)
		}
		stop := h.running(t)
		ev := sample("slow", "raised")
		ev.RaisedAt = new(time.Now())
		h.put(ev)
		time.Sleep(3*time.Minute + 5*time.Second)
		ev.Event, ev.at = "cleared", time.Now()
		h.put(ev)
		time.Sleep(5 * time.Minute)
		stop()
		if r.count() != 5 {
			t.Fatalf("%d messages", r.count())
		}
		for i, body := range r.bodies {
			list := read(t, body)
			if end := list[0].EndsAt; len(list) != 1 || end.After(time.Now().Add(-5*time.Minute)) != (i < 4) {
				t.Errorf("message %d: %v", i, list)
			}
		}
	})
}
