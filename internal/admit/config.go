package admit

import (
	"errors"
	"fmt"
	"time"
)

// Config is the `admit` section.
type Config struct {
	// Enabled has calls admitted at all.
	Enabled bool `yaml:"enabled" env:"SLUICE_ADMIT_ENABLED"`

	// MaxConcurrency is how many calls of one upstream are under way at most; 0 is
	// what its pool of connections carries. MinConcurrency is how far the limit comes
	// down.
	MaxConcurrency int `yaml:"max_concurrency"`
	MinConcurrency int `yaml:"min_concurrency"`

	// Tolerance is by how many times a first event may take longer than is usual of
	// such calls while there is little to do, and LatencyTarget within which none
	// tells of overload.
	Tolerance     float64       `yaml:"tolerance"`
	LatencyTarget time.Duration `yaml:"latency_target"`

	// QueueSize is how many calls of one upstream wait at most, and QueueTimeout how
	// long.
	QueueSize    int           `yaml:"queue_size"`
	QueueTimeout time.Duration `yaml:"queue_timeout"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{Enabled: true, MinConcurrency: 4, Tolerance: 2, LatencyTarget: time.Second, QueueSize: 1000, QueueTimeout: 10 * time.Second}
}

// maxQueue bounds QueueSize: each call that waits holds its body.
const maxQueue = 1_000_000

// Validate returns all faults, each as "key: what is wrong", the key below `admit`.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.MaxConcurrency < 0, "max_concurrency: must not be negative, is %d", c.MaxConcurrency)
	fault(c.MinConcurrency < 1, "min_concurrency: must be at least 1, is %d", c.MinConcurrency)
	fault(c.MaxConcurrency > 0 && c.MinConcurrency > c.MaxConcurrency, "min_concurrency: %d is more than max_concurrency (%d)", c.MinConcurrency, c.MaxConcurrency)
	fault(!(c.Tolerance > 1) || c.Tolerance > 100, "tolerance: %v is not above 1 and up to 100", c.Tolerance)
	fault(c.LatencyTarget < 0, "latency_target: must not be negative, is %v", c.LatencyTarget)
	fault(c.QueueSize < 0 || c.QueueSize > maxQueue, "queue_size: %d is not from 0 to %d", c.QueueSize, maxQueue)
	fault(c.QueueTimeout <= 0, "queue_timeout: %v is not a time above 0", c.QueueTimeout)
	return errors.Join(faults...)
}
