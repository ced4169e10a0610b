package memory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config is the `memory` section.
type Config struct {
	// Limit is how much memory the process may use, in bytes. With 0 it is that of the
	// control group, GOMEMLIMIT, or half of the machine's.
	Limit int64 `yaml:"limit_bytes" env:"SLUICE_MEMORY_LIMIT"`

	// Threshold is the part of what may be used from which on memory is scarce: caches
	// shrink, then those of low priority are refused, then all.
	Threshold Share `yaml:"threshold" env:"SLUICE_MEMORY_THRESHOLD"`

	// CleanupInterval is the time between two clean-ups, a tenth more or less.
	CleanupInterval time.Duration `yaml:"cleanup_interval" env:"SLUICE_CLEANUP_INTERVAL"`

	// SpoolAbove is the size in bytes up to which a body that is passed on as it comes
	// is kept in memory for another attempt; what is larger is kept in a file. With 0
	// all are.
	SpoolAbove int64 `yaml:"spool_above_bytes"`

	// SpoolDir is the directory of those files. With "" it is /var/tmp, or else that
	// of the system (TMPDIR), where these are on a disk.
	SpoolDir string `yaml:"spool_dir"`

	// SpoolMax bounds all files together, in bytes. With 0 there are none, and what is
	// larger than SpoolAbove is not kept: with both 0 nothing is.
	SpoolMax int64 `yaml:"spool_max_bytes"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{Threshold: 0.8, CleanupInterval: 300 * time.Second, SpoolAbove: 256 << 10, SpoolMax: 1 << 30}
}

// leastLimit is what the process needs to do anything.
const leastLimit = 48 << 20

// Validate returns all faults, each as "key: what is wrong", the key below `memory`.
func (c Config) Validate() error {
	var faults []error
	if c.Limit != 0 && c.Limit < leastLimit {
		faults = append(faults, fmt.Errorf("limit_bytes: must be 0, which finds it, or at least %dMiB, is %d", leastLimit>>20, c.Limit))
	}
	if c.Threshold < 0.3 || c.Threshold > 0.95 {
		faults = append(faults, fmt.Errorf("threshold: %v is not between 30%% and 95%%", c.Threshold))
	}
	if c.CleanupInterval < time.Second {
		faults = append(faults, fmt.Errorf("cleanup_interval: must be at least 1s, is %v", c.CleanupInterval))
	}
	if c.SpoolAbove < 0 {
		faults = append(faults, fmt.Errorf("spool_above_bytes: must not be negative, is %d", c.SpoolAbove))
	}
	if c.SpoolMax < 0 {
		faults = append(faults, fmt.Errorf("spool_max_bytes: must not be negative, is %d", c.SpoolMax))
	}
	return errors.Join(faults...)
}

// Share is a part of a whole, from 0 to 1. As text it is a percentage, as 80%, or a
// number, as 0.8.
type Share float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		n /= 100
	}
	if err != nil || !(n >= 0 && n <= 1) {
		return fmt.Errorf("%q is not a part of a whole, as 80%% or 0.8", text)
	}
	*s = Share(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String gives the percentage.
func (s Share) String() string { return strconv.FormatFloat(float64(s)*100, 'f', -1, 64) + "%" }
