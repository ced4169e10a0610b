package ratelimit

import (
	"errors"
	"fmt"
	"time"
)

// Config is the `rate_limit` section.
type Config struct {
	// RequestsPerMinute and TokensPerMinute hold for the keys that say nothing of
	// their own, and, where there are no keys, for all clients together; 0 is no
	// limit.
	RequestsPerMinute int64 `yaml:"requests_per_minute"`
	TokensPerMinute   int64 `yaml:"tokens_per_minute"`

	// Burst is how much may be used at once: what a limit gives in that time, and one
	// request and one token at least.
	Burst time.Duration `yaml:"burst"`

	// MaxOutputEstimate is how many tokens of a reply are counted in advance at most,
	// whatever a request allows it.
	MaxOutputEstimate int64 `yaml:"max_output_estimate"`

	// RedisFailure says what becomes of calls that Redis does not answer for in time:
	// FailOpen or FailClosed.
	RedisFailure string `yaml:"redis_failure"`
}

// The values of Config.RedisFailure.
const (
	FailOpen   = "open"   // each machine counts by itself
	FailClosed = "closed" // they are refused
)

// maxPerMinute bounds a limit, far below where sums of what is used were not exact.
const maxPerMinute = 1_000_000_000

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{Burst: time.Minute, MaxOutputEstimate: 4096, RedisFailure: FailOpen}
}

// Validate returns all faults, each as "key: what is wrong", the key below
// `rate_limit`.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.RequestsPerMinute < 0 || c.RequestsPerMinute > maxPerMinute, "requests_per_minute: %d is not from 0 to %d", c.RequestsPerMinute, maxPerMinute)
	fault(c.TokensPerMinute < 0 || c.TokensPerMinute > maxPerMinute, "tokens_per_minute: %d is not from 0 to %d", c.TokensPerMinute, maxPerMinute)
	fault(c.Burst < time.Second || c.Burst > time.Hour, "burst: %v is not from 1s to 1h", c.Burst)
	fault(c.MaxOutputEstimate < 0 || c.MaxOutputEstimate > maxPerMinute, "max_output_estimate: %d is not from 0 to %d", c.MaxOutputEstimate, maxPerMinute)
	fault(c.RedisFailure != FailOpen && c.RedisFailure != FailClosed, "redis_failure: %q is none of %s, %s", c.RedisFailure, FailOpen, FailClosed)
	return errors.Join(faults...)
}
