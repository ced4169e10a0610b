package alarm

import (
	"time"

	"sluice/internal/llm"
)

// Config is the keys of alarms: `alarms`, `webhooks`, `anomalies` and
// `dashboard_url`.
type Config struct {
	// Alarms are rules beside the built-in ones; one with the name of a built-in
	// rule takes its place.
	Alarms []Rule `yaml:"alarms"`
	// Webhooks are told of each alarm that is raised or cleared.
	Webhooks []Webhook `yaml:"webhooks"`
	// Anomalies compares figures with their own past.
	Anomalies Anomalies `yaml:"anomalies"`
	// DashboardURL is where a person who got a message can see more; messages
	// link to it. Empty for no link.
	DashboardURL string `yaml:"dashboard_url"`
}

// Rule says when an alarm is raised. What is not given has the default that
// stands with it.
type Rule struct {
	// Name of the alarm: letters, digits, "_", "-" and ".".
	Name string `yaml:"name"`
	// Off switches the built-in rule of this name off.
	Off bool `yaml:"off"`

	// Figure as in /metrics, without "sluice_". Labels choose among its series;
	// those that match are taken together. Each has a rule of its own for each
	// value of a label, at most MaxEach.
	Figure string            `yaml:"figure"`
	Labels map[string]string `yaml:"labels"`
	Each   string            `yaml:"each"`
	// Stat is count, mean, p50, p90, p95, p99, max or rate of a histogram; rate or
	// count of a counter; value (the default) of a gauge or ratio.
	Stat string `yaml:"stat"`
	// Window that Stat is of: 1m, 5m (the default) or 1h.
	Window time.Duration `yaml:"window"`

	// Above or Below is the threshold, exactly one of them. Clear is the value at
	// which the alarm clears; the default lies 10 % inside.
	Above Quantity `yaml:"above"`
	Below Quantity `yaml:"below"`
	Clear Quantity `yaml:"clear"`
	// For is how long the threshold must be crossed until the alarm is raised
	// (30s), ClearFor how long Clear must be kept until it clears (60s).
	For      Quantity `yaml:"for"`
	ClearFor Quantity `yaml:"clear_for"`
	// MinSamples is how many observations a quantile, mean, max or ratio must rest
	// on (20). With fewer nothing is known.
	MinSamples int `yaml:"min_samples"`

	Severity string `yaml:"severity"` // warning (the default) or critical
	Advice   string `yaml:"advice"`   // what a person can do
}

// Webhook is a server that is told of alarms.
type Webhook struct {
	// URL is a secret because those of chat services hold a token.
	URL llm.Secret `yaml:"url"`
	// Format of the body: sluice (the default), slack or alertmanager.
	Format string `yaml:"format"`
	// Secret signs each message. Empty sends no signature.
	Secret llm.Secret `yaml:"secret"`
	// MinInterval is the least time between two messages (1s). What happens in
	// between is told in one.
	MinInterval time.Duration `yaml:"min_interval"`
	// Headers are sent with each message.
	Headers map[string]string `yaml:"headers"`
}

// Anomalies is the `anomalies` section: figures that are compared with their own
// recent past.
type Anomalies struct {
	Enabled bool      `yaml:"enabled"`
	Figures []Watched `yaml:"figures"`
	// History is how far back the past goes: 1h to 24h.
	History time.Duration `yaml:"history"`
	// Score is the least modified z-score that is unusual.
	Score float64 `yaml:"score"`
	// MinChange is the least change from the median that is of interest.
	MinChange Quantity `yaml:"min_change"`
}

// Watched is a figure that is compared with its past. Its keys are those of Rule.
type Watched struct {
	Figure    string            `yaml:"figure"`
	Labels    map[string]string `yaml:"labels"`
	Each      string            `yaml:"each"`
	Stat      string            `yaml:"stat"`
	Direction string            `yaml:"direction"` // above (the default) or below what is usual
}

// The values of Severity, Format and Direction.
const (
	Warning  = "warning"
	Critical = "critical"

	FormatSluice       = "sluice"
	FormatSlack        = "slack"
	FormatAlertmanager = "alertmanager"

	Above = "above"
	Below = "below"
)

const (
	statValue = "value"
	statRate  = "rate"
	statCount = "count"
)

// MaxEach bounds the values of a label for which a rule with Each is followed.
const MaxEach = 100

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{Anomalies: Anomalies{
		Figures: []Watched{
			{Figure: "request_duration_seconds", Stat: "p95"},
			{Figure: "request_error_ratio", Stat: statValue},
			{Figure: "upstream_wait_seconds", Each: "upstream", Stat: "p95"},
		},
		History: 6 * time.Hour, Score: 3.5, MinChange: quantity("50%"),
	}}
}

// BuiltIn returns the rules that hold where the configuration does not replace
// them or switch them off.
func BuiltIn() []Rule {
	return []Rule{
		{
			Name: "upstream_errors", Figure: "route_failure_ratio", Each: "upstream", Window: 5 * time.Minute, Above: quantity("5%"),
			Advice: "The upstream answers with server errors or not at all. See its entry in GET /v1/health/detailed, and its operator's status page.",
		},
		{
			Name: "gateway_overhead", Figure: "request_overhead_seconds", Stat: "p99", Window: 5 * time.Minute, Above: quantity("50ms"), MinSamples: 100,
			Advice: "The gateway itself is slow. Look at the process's CPU time, and at whether its machine or control group is short of it.",
		},
		{
			Name: "memory", Figure: "process_memory_used_ratio", Window: time.Minute, Above: quantity("90%"), MinSamples: 1, Severity: Critical,
			Advice: "The process is near its memory limit. Lower cache.max_bytes or stream.buffer_bytes, or give it more memory.",
		},
		{
			// 1 is a suspicion, 2 a leak; it comes after half a minute of tests, and goes by itself.
			Name: "leak", Figure: "leak_verdict", Each: "quantity", Window: time.Minute, Above: quantity("1.5"),
			Advice: "Something is not given back, which is a fault of Sluice. process/leaks in GET /v1/health/detailed says where; report that.",
		},
	}
}

// quantity is ParseQuantity of a text in the code.
func quantity(text string) Quantity {
	q, err := ParseQuantity(text)
	if err != nil {
		panic(err)
	}
	return q
}

// rules are the rules that hold: the built-in ones and the configuration's.
func (c Config) rules() (list []Rule) {
	own := make(map[string]bool, len(c.Alarms))
	for _, r := range c.Alarms {
		own[r.Name] = true
	}
	for _, r := range BuiltIn() {
		if !own[r.Name] {
			list = append(list, r)
		}
	}
	for _, r := range c.Alarms {
		if !r.Off {
			list = append(list, r)
		}
	}
	return list
}
