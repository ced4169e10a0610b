package batch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/internal/batch/gather"
)

// Config is the `batch` section.
type Config struct {
	// Strategy says when items that gather leave: one of the Strategy constants.
	Strategy string `yaml:"strategy" env:"SLUICE_BATCH_STRATEGY"`

	// MaxBatchSize is how many items of several callers one call has at most, and
	// MaxWaitTime how long an item gathers at most.
	MaxBatchSize int           `yaml:"max_batch_size" env:"SLUICE_MAX_BATCH_SIZE"`
	MaxWaitTime  time.Duration `yaml:"max_wait_time" env:"SLUICE_MAX_WAIT_TIME"`

	// LatencyTarget is within which StrategyAdaptive wants an item that gathers to be
	// answered; 0 for none.
	LatencyTarget time.Duration `yaml:"latency_target"`

	// Scope says whose items share calls: ScopeKey or ScopeGlobal.
	Scope string `yaml:"scope"`

	// Operations are those whose items share calls, by the names that Operations
	// gives.
	Operations []string `yaml:"operations"`

	// MaxItems and MaxTokens are what upstreams take in one call. A call that has
	// more is split. Tokens are estimated; 0 is no bound.
	MaxItems  int `yaml:"max_items"`
	MaxTokens int `yaml:"max_tokens"`
}

// The values of Strategy and Scope.
const (
	StrategyAdaptive = "adaptive"
	StrategySize     = "size"
	StrategyTime     = "time"
	StrategyOff      = "off"

	ScopeKey    = "key"    // those who use the same API key
	ScopeGlobal = "global" // all
)

// Operations gives the names of the operations whose items can share calls.
func Operations() []string {
	names := make([]string, 0, kinds)
	for i := range all {
		names = append(names, all[i].name)
	}
	return names
}

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{
		Strategy: StrategyAdaptive, MaxBatchSize: 10, MaxWaitTime: 100 * time.Millisecond, LatencyTarget: time.Second,
		Scope: ScopeKey, Operations: Operations(), MaxItems: 2048, MaxTokens: 250_000,
	}
}

// On reports whether items share calls at all.
func (c Config) On() bool { return c.Strategy != StrategyOff && len(c.Operations) > 0 }

// strategy gives the strategy; ok is false for none.
func (c Config) strategy() (s gather.Strategy, ok bool) {
	switch c.Strategy {
	case StrategyAdaptive:
		return gather.Adaptive, true
	case StrategySize:
		return gather.Size, true
	case StrategyTime:
		return gather.Time, true
	default:
		return 0, false
	}
}

// maxSize bounds MaxBatchSize, and what MaxItems may be.
const maxSize = 2048

// Validate returns all faults, each as "key: what is wrong", the key below `batch`.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	_, known := c.strategy()
	fault(!known && c.Strategy != StrategyOff, "strategy: %q is none of %s, %s, %s, %s", c.Strategy, StrategyAdaptive, StrategySize, StrategyTime, StrategyOff)
	fault(c.MaxBatchSize < 1 || c.MaxBatchSize > maxSize, "max_batch_size: %d is not from 1 to %d", c.MaxBatchSize, maxSize)
	fault(c.MaxWaitTime <= 0 || c.MaxWaitTime > time.Minute, "max_wait_time: %v is not above 0 and up to a minute", c.MaxWaitTime)
	fault(c.LatencyTarget < 0, "latency_target: must not be negative, is %v", c.LatencyTarget)
	fault(c.Scope != ScopeKey && c.Scope != ScopeGlobal, "scope: %q is none of %s, %s", c.Scope, ScopeKey, ScopeGlobal)
	for i, name := range c.Operations {
		fault(!slices.Contains(Operations(), name), "operations[%d]: %q is none of %s", i, name, strings.Join(Operations(), ", "))
	}
	fault(c.MaxItems < 1 || c.MaxItems > maxSize, "max_items: %d is not from 1 to %d", c.MaxItems, maxSize)
	fault(c.MaxItems > 0 && c.MaxBatchSize > c.MaxItems, "max_batch_size: %d is more than max_items (%d)", c.MaxBatchSize, c.MaxItems)
	fault(c.MaxTokens < 0, "max_tokens: must not be negative, is %d", c.MaxTokens)
	return errors.Join(faults...)
}
