package codec

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/perf"
)

// figuresOf collects figures as "name label=value": value.
type figuresOf map[string]float64

func (f figuresOf) Counter(name, _ string, value float64, labels ...string) {
	f.Gauge(name, "", value, labels...)
}

func (f figuresOf) Gauge(name, _ string, value float64, labels ...string) {
	for i := 0; i+1 < len(labels); i += 2 {
		name += " " + labels[i] + "=" + labels[i+1]
	}
	f[name] = value
}

func (figuresOf) Ratio(string, string, float64, float64, ...string)      {}
func (f figuresOf) Histogram(string, string, *perf.Histogram, ...string) {}

func TestFigures(t *testing.T) {
	c := newCodec(t, func(c *Config) { c.Workers, c.Queue = 3, 7 })
	long := string(note(strings.Repeat("x", leastResult)))
	for range 3 {
		send(c, post("decode?type=test.Note", long, asWire))
	}
	send(c, post("decode?type=test.Note", "\xff", asWire))
	send(c, post("encode", `{"type":"test.Note","items":[{"data":{}},{"data":1}]}`, asJSON))
	send(c, streamed(streamType, cut(framed(note("hi")), 0), asWire))
	list(c)
	got := figuresOf{}
	c.Figures(got)
	want := figuresOf{
		"protobuf_requests_total operation=decode result=ok":        3,
		"protobuf_requests_total operation=decode result=invalid":   1,
		"protobuf_requests_total operation=encode result=ok":        1,
		"protobuf_requests_total operation=decode_stream result=ok": 1,
		"protobuf_requests_total operation=list_schemas result=ok":  1,
		"protobuf_messages_total direction=decode result=ok":        4,
		"protobuf_messages_total direction=decode result=invalid":   1,
		"protobuf_messages_total direction=encode result=ok":        1,
		"protobuf_messages_total direction=encode result=invalid":   1,
		"protobuf_input_bytes_total direction=decode":               float64(3*len(long) + len(note("hi"))),
		"protobuf_output_bytes_total direction=decode":              float64(3*len(`{"text":""}`) + 3*leastResult + len(`{"text":"hi"}`)),
		"protobuf_input_bytes_total direction=encode":               2,
		"protobuf_output_bytes_total direction=encode":              2,
		"protobuf_workers":                   3,
		"protobuf_workers_busy":              0,
		"protobuf_queue_length":              0,
		"protobuf_queue_full_total":          0,
		"protobuf_results_total result=hit":  1,
		"protobuf_results_total result=miss": 2,
		"protobuf_results_rejected_total":    1,
		"protobuf_results_entries":           1,
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
		delete(got, name)
	}
	for name, value := range got {
		if value != 0 && name != "protobuf_results_bytes" && !strings.HasPrefix(name, "protobuf_plan") {
			t.Errorf("%s is %v", name, fmt.Sprint(value))
		}
	}
}

// The codec is not well while more than nine tenths of its queue are taken.
func TestExamine(t *testing.T) {
	var source perf.Source = newCodec(t, func(c *Config) { c.Queue = 10 })
	c := source.(*Codec)
	state := func() (now perf.Condition) {
		source.(perf.Examined).Examine(func(c perf.Condition) { now = c })
		return now
	}
	c.pool.reserve(9)
	if now := state(); now != (perf.Condition{Component: "protobuf"}) {
		t.Errorf("nine of ten wait: %+v", now)
	}
	c.pool.reserve(1)
	if now := state(); now.State != perf.Degraded || now.Error != "10 of 10 pieces of work wait for the codec's workers" || now.Advice == "" {
		t.Errorf("ten of ten wait: %+v", now)
	}
	c.pool.room.Store(10)
	if now := state(); now.State != perf.Healthy {
		t.Errorf("none waits: %+v", now)
	}
}
