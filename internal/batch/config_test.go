package batch

import (
	"strings"
	"testing"
	"time"
)

// All faults are told at once, each with its key.
func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Strategy: "fast", MaxBatchSize: 0, MaxWaitTime: 2 * time.Minute, LatencyTarget: -1, Scope: "all", Operations: []string{"embeddings", "chat"}, MaxItems: 0, MaxTokens: -1}.Validate()
	for _, key := range []string{"strategy", "max_batch_size", "max_wait_time", "latency_target", "scope", "operations[1]", "max_items", "max_tokens"} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+key+": ") {
			t.Errorf("no fault of %s in %v", key, err)
		}
	}
	c := Default()
	c.MaxBatchSize, c.MaxItems = 20, 10
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "max_batch_size: ") {
		t.Error(err)
	}
	c = Default()
	c.Strategy = StrategyOff
	if c.On() || c.Validate() != nil {
		t.Error("off is not off")
	}
	if c = Default(); !c.On() {
		t.Error("it is off by default")
	}
	if c.Operations = nil; c.On() {
		t.Error("it is on for nothing")
	}
	if _, err := New(Config{}, nil); err == nil {
		t.Error("made of a configuration that is none")
	}
}
