package alarm

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// encoder makes the bodies of messages.
type encoder struct {
	format, version, instance, link string
}

func (e encoder) encode(batch []event, now time.Time) ([]byte, error) {
	var body any
	switch e.format {
	case FormatSlack:
		body = e.slack(batch)
	case FormatAlertmanager:
		body = e.alertmanager(batch, now)
	default:
		body = message{"alarm_message", e.version, e.instance, now.UTC(), e.link, batch}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write message: %w", err)
	}
	return b, nil
}

// message is a body of FormatSluice.
type message struct {
	Object       string    `json:"object"`
	Version      string    `json:"version"`
	Instance     string    `json:"instance,omitempty"`
	Time         time.Time `json:"time"`
	DashboardURL string    `json:"dashboard_url,omitempty"`
	Alarms       []event   `json:"alarms"`
}

// slackMessage is what Slack's incoming webhooks take: blocks, and text for where
// they cannot be shown.
type slackMessage struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

const (
	// slackBlocks and slackChars are below Slack's bounds of 50 blocks and 3000
	// characters in each.
	slackBlocks = 40
	slackChars  = 2500
)

func (e encoder) slack(batch []event) slackMessage {
	var m slackMessage
	for i, ev := range batch {
		if i == slackBlocks {
			m.add(fmt.Sprintf("… and %d more", len(batch)-i))
			break
		}
		mark := map[bool]string{true: ":red_circle:", false: ":warning:"}[ev.Severity == Critical]
		if ev.Event == "cleared" {
			mark = ":white_check_mark:"
		}
		text := fmt.Sprintf("%s *%s* %s (%s)", mark, escape(ev.Name), ev.Event, ev.Severity)
		if e.instance != "" {
			text += " on " + escape(e.instance)
		}
		text += "\n" + escape(ev.Message)
		if ev.Event == "raised" && ev.Advice != "" {
			text += "\n" + escape(ev.Advice)
		}
		m.add(text)
	}
	if e.link != "" {
		m.add("<" + escape(e.link) + "|Dashboard>")
	}
	m.Text = cut(m.Text)
	return m
}

func (m *slackMessage) add(text string) {
	text = cut(text)
	m.Blocks = append(m.Blocks, slackBlock{"section", slackText{"mrkdwn", text}})
	if m.Text != "" {
		m.Text += "\n"
	}
	m.Text += text
}

// cut bounds a text without breaking a character.
func cut(text string) string {
	if len(text) <= slackChars {
		return text
	}
	n := slackChars
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// escape writes the three characters that mean something to Slack.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// alert is a postableAlert of Alertmanager's API v2.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

func (e encoder) alertmanager(batch []event, now time.Time) []alert {
	list := make([]alert, len(batch))
	for i, ev := range batch {
		labels := maps.Clone(ev.Labels)
		labels["alertname"], labels["severity"], labels["figure"] = ev.Name, ev.Severity, ev.Figure
		if e.instance != "" {
			labels["instance"] = e.instance
		}
		notes := map[string]string{"summary": ev.Message}
		if ev.Advice != "" {
			notes["description"] = ev.Advice
		}
		if ev.Value != nil {
			notes["value"] = strconv.FormatFloat(*ev.Value, 'g', -1, 64)
		}
		// Nothing more will come when this process dies: the alert then ends by
		// itself after four reminders, as one of Prometheus does.
		ends := now.Add(4 * remindEvery)
		if ev.Event == "cleared" {
			ends = ev.at
		}
		list[i] = alert{labels, notes, *ev.RaisedAt, ends.UTC(), e.link}
	}
	return list
}
