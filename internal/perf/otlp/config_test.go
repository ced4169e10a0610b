package otlp

import (
	"strings"
	"testing"
	"time"
)

// fromEnv reads "NAME=value" words, whose names are without "OTEL_".
func fromEnv(words string) (Config, bool, error) {
	env := make(map[string]string)
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		env["OTEL_"+name] = value
	}
	return FromEnv(func(name string) string { return env[name] })
}

func TestSignals(t *testing.T) {
	for env, want := range map[string]string{ // how traces and metrics travel, or the error
		"":                                     "",
		"EXPORTER_OTLP_ENDPOINT=":              "",
		"EXPORTER_OTLP_ENDPOINT=http://c:4318": "http/protobuf http/protobuf",
		"EXPORTER_OTLP_ENDPOINT=http://c:4318 SDK_DISABLED=TRUE":                     "",
		"EXPORTER_OTLP_ENDPOINT=http://c:4318 SDK_DISABLED=no":                       "http/protobuf http/protobuf",
		"EXPORTER_OTLP_ENDPOINT=http://c:4317 EXPORTER_OTLP_PROTOCOL=grpc":           "grpc grpc",
		"EXPORTER_OTLP_ENDPOINT=c:4317 EXPORTER_OTLP_PROTOCOL=grpc":                  "grpc grpc",
		"EXPORTER_OTLP_ENDPOINT=http://c EXPORTER_OTLP_METRICS_PROTOCOL=grpc":        "http/protobuf grpc",
		"EXPORTER_OTLP_TRACES_ENDPOINT=https://c/x":                                  "http/protobuf off",
		"EXPORTER_OTLP_METRICS_ENDPOINT=https://c/x":                                 "off http/protobuf",
		"EXPORTER_OTLP_ENDPOINT=http://c TRACES_EXPORTER=none":                       "off http/protobuf",
		"EXPORTER_OTLP_ENDPOINT=http://c TRACES_EXPORTER=none METRICS_EXPORTER=none": "",
		"TRACES_EXPORTER=otlp": "http/protobuf off",
		"EXPORTER_OTLP_ENDPOINT=http://c METRICS_EXPORTER=prometheus":                                "http/protobuf off; OTEL_METRICS_EXPORTER",
		"EXPORTER_OTLP_ENDPOINT=http://c EXPORTER_OTLP_PROTOCOL=http/json METRICS_EXPORTER=none":     "http/protobuf off; OTEL_EXPORTER_OTLP_PROTOCOL",
		"EXPORTER_OTLP_ENDPOINT=c:4318":                                                              "error OTEL_EXPORTER_OTLP_ENDPOINT",
		"EXPORTER_OTLP_ENDPOINT=c":                                                                   "error OTEL_EXPORTER_OTLP_ENDPOINT",
		"EXPORTER_OTLP_ENDPOINT=http://c EXPORTER_OTLP_TRACES_ENDPOINT=ftp://c":                      "error OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"EXPORTER_OTLP_ENDPOINT=127.0.0.1:4317 EXPORTER_OTLP_PROTOCOL=grpc":                          "error OTEL_EXPORTER_OTLP_ENDPOINT",
		"EXPORTER_OTLP_ENDPOINT=http://c TRACES_SAMPLER=xray":                                        "http/protobuf http/protobuf; OTEL_TRACES_SAMPLER",
		"EXPORTER_OTLP_ENDPOINT=http://c TRACES_SAMPLER=traceidratio TRACES_SAMPLER_ARG=NaN":         "http/protobuf http/protobuf; OTEL_TRACES_SAMPLER_ARG",
		"EXPORTER_OTLP_ENDPOINT=http://c EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta":         "http/protobuf http/protobuf; OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
		"EXPORTER_OTLP_ENDPOINT=http://c BSP_MAX_QUEUE_SIZE=-1":                                      "http/protobuf http/protobuf; OTEL_BSP_MAX_QUEUE_SIZE",
		"EXPORTER_OTLP_ENDPOINT=http://c BSP_MAX_QUEUE_SIZE=100":                                     "http/protobuf http/protobuf; OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
		"EXPORTER_OTLP_ENDPOINT=http://c BSP_SCHEDULE_DELAY=9999999999999999999":                     "http/protobuf http/protobuf; OTEL_BSP_SCHEDULE_DELAY",
		"EXPORTER_OTLP_ENDPOINT=http://c METRIC_EXPORT_INTERVAL=soon EXPORTER_OTLP_PROTOCOL=carrier": "http/protobuf http/protobuf; OTEL_EXPORTER_OTLP_PROTOCOL OTEL_EXPORTER_OTLP_PROTOCOL OTEL_METRIC_EXPORT_INTERVAL",
	} {
		if got := summary(fromEnv(env)); got != want {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}

func summary(c Config, on bool, err error) string {
	if err != nil {
		name, _, _ := strings.Cut(err.Error(), ":")
		return "error " + name
	}
	if !on {
		return ""
	}
	way := func(s Signal) string {
		if !s.On {
			return "off"
		}
		return string(s.Protocol)
	}
	out := way(c.Traces) + " " + way(c.Metrics)
	for i, w := range c.Warnings {
		name, _, _ := strings.Cut(w, ":")
		if i == 0 {
			out += ";"
		}
		out += " " + name
	}
	return out
}

func TestTimesAndSizes(t *testing.T) {
	c, _, err := fromEnv("EXPORTER_OTLP_ENDPOINT=http://c")
	if err != nil || c.BatchDelay != 5*time.Second || c.BatchTimeout != 30*time.Second || c.Queue != 2048 || c.Batch != 512 ||
		c.MetricInterval != time.Minute || c.MetricTimeout != 30*time.Second {
		t.Errorf("unset: %+v, %v", c, err)
	}
	c, _, err = fromEnv("EXPORTER_OTLP_ENDPOINT=http://c BSP_SCHEDULE_DELAY=1 BSP_EXPORT_TIMEOUT=2 BSP_MAX_QUEUE_SIZE=30 BSP_MAX_EXPORT_BATCH_SIZE=4 " +
		"METRIC_EXPORT_INTERVAL=5 METRIC_EXPORT_TIMEOUT=6")
	if err != nil || c.BatchDelay != time.Millisecond || c.BatchTimeout != 2*time.Millisecond || c.Queue != 30 || c.Batch != 4 ||
		c.MetricInterval != 5*time.Millisecond || c.MetricTimeout != 6*time.Millisecond || len(c.Warnings) > 0 {
		t.Errorf("set: %+v, %v", c, err)
	}
}
