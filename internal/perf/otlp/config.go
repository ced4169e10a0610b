package otlp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Protocol is how a signal travels.
type Protocol string

const (
	HTTP Protocol = "http/protobuf"
	GRPC Protocol = "grpc"
)

// Signal says whether, and how, traces or metrics are sent.
type Signal struct {
	On       bool
	Protocol Protocol
	Connection
}

// Config is what the environment says of telemetry.
type Config struct {
	Traces, Metrics Signal
	Sampler         Sampler
	Resource        map[string]string // what it says of the process

	BatchDelay   time.Duration // between two exports of spans
	BatchTimeout time.Duration // of an export of spans, with all tries
	Queue        int           // spans that wait at most
	Batch        int           // spans in one export at most

	MetricInterval time.Duration // between two exports of metrics
	MetricTimeout  time.Duration // of an export of metrics, with all tries

	// Warnings say what was set and has no effect. The specification wants a bad
	// value to be told and else taken for unset.
	Warnings []string
}

// environment reads variables. Empty ones are unset, as the specification says.
type environment struct {
	get      func(string) string
	warnings []string
}

// FromEnv reads the variables of the OpenTelemetry specification ("Environment
// Variable Specification" and "OpenTelemetry Protocol Exporter"). The second
// result is false where nothing is to be sent: no endpoint is set, or
// OTEL_SDK_DISABLED is true. An endpoint that is no URL is an error, since
// without it the data would go somewhere else.
func FromEnv(getenv func(string) string) (Config, bool, error) {
	e := &environment{get: getenv}
	if strings.EqualFold(e.text("OTEL_SDK_DISABLED"), "true") {
		return Config{}, false, nil
	}
	var c Config
	var err error
	if c.Traces, err = e.signal("TRACES"); err != nil {
		return Config{}, false, err
	}
	if c.Metrics, err = e.signal("METRICS"); err != nil {
		return Config{}, false, err
	}
	if !c.Traces.On && !c.Metrics.On {
		return Config{}, false, nil
	}
	c.Resource = e.resource()
	c.Sampler = e.sampler()
	c.BatchDelay = e.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5*time.Second)
	c.BatchTimeout = e.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30*time.Second)
	c.Queue = e.count("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
	c.Batch = e.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)
	if c.Batch > c.Queue {
		e.warn("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "more than OTEL_BSP_MAX_QUEUE_SIZE, which is used instead")
		c.Batch = c.Queue
	}
	c.MetricInterval = e.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", time.Minute)
	c.MetricTimeout = e.milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", 30*time.Second)
	if t := e.text("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"); t != "" && !strings.EqualFold(t, "cumulative") {
		e.warn("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "only cumulative is supported")
	}
	c.Warnings = e.warnings
	return c, true, nil
}

func (e *environment) text(name string) string { return strings.TrimSpace(e.get(name)) }

func (e *environment) warn(name, why string) { e.warnings = append(e.warnings, name+": "+why) }

// signal reads what is set for TRACES or METRICS, or for both.
func (e *environment) signal(kind string) (Signal, error) {
	_, endpoint := e.setting(kind, "ENDPOINT")
	s := Signal{On: endpoint != "", Protocol: HTTP}
	switch exporter := strings.ToLower(e.text("OTEL_" + kind + "_EXPORTER")); exporter {
	case "":
	case "otlp": // asked for by name, it goes to the default endpoint
		s.On = true
	case "none":
		s.On = false
	default:
		e.warn("OTEL_"+kind+"_EXPORTER", fmt.Sprintf("%q is not supported: otlp and none are", exporter))
		s.On = false
	}
	if !s.On {
		return s, nil
	}
	name, protocol := e.setting(kind, "PROTOCOL")
	switch Protocol(protocol) {
	case "", HTTP:
	case GRPC:
		s.Protocol = GRPC
	default:
		e.warn(name, fmt.Sprintf("%q is not supported: http/protobuf, which is used, and grpc are", protocol))
	}
	var err error
	s.Connection, err = e.connection(kind, s.Protocol)
	return s, err
}

func (e *environment) milliseconds(name string, unset time.Duration) time.Duration {
	return time.Duration(e.count(name, int(unset/time.Millisecond))) * time.Millisecond
}

// count reads a whole number above zero.
func (e *environment) count(name string, unset int) int {
	t := e.text(name)
	if t == "" {
		return unset
	}
	n, err := strconv.ParseInt(t, 10, 32)
	if err != nil || n <= 0 {
		e.warn(name, fmt.Sprintf("%q is not a whole number above zero; %d is used", t, unset))
		return unset
	}
	return int(n)
}

func (e *environment) sampler() Sampler {
	s := Sampler{ParentBased: true, bound: always}
	switch name := strings.ToLower(e.text("OTEL_TRACES_SAMPLER")); name {
	case "", "parentbased_always_on":
	case "parentbased_always_off":
		s.bound = 0
	case "parentbased_traceidratio":
		s.bound = e.ratio()
	case "always_on":
		s.ParentBased = false
	case "always_off":
		s = Sampler{}
	case "traceidratio":
		s = Sampler{bound: e.ratio()}
	default:
		e.warn("OTEL_TRACES_SAMPLER", fmt.Sprintf("%q is not supported; parentbased_always_on is used", name))
	}
	return s
}

// ratio reads the part of all traces that is to be sampled.
func (e *environment) ratio() uint64 {
	t := e.text("OTEL_TRACES_SAMPLER_ARG")
	if t == "" {
		return always
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v > 1 {
		e.warn("OTEL_TRACES_SAMPLER_ARG", fmt.Sprintf("%q is not a number from 0 to 1; 1 is used", t))
		return always
	}
	return uint64(v * always)
}
