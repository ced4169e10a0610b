package responses

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is the `responses` section.
type Config struct {
	// Store keeps replies of the Responses API whose service keeps none.
	Store bool `yaml:"store" env:"SLUICE_RESPONSES_STORE"`

	// TTL is how long one is kept.
	TTL time.Duration `yaml:"ttl" env:"SLUICE_RESPONSES_TTL"`

	// MaxBytes bounds what is kept in memory, MaxEntryBytes a reply with the conversation
	// up to it.
	MaxBytes      int64 `yaml:"max_bytes" env:"SLUICE_RESPONSES_MAX_BYTES"`
	MaxEntryBytes int64 `yaml:"max_entry_bytes"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{TTL: 24 * time.Hour, MaxBytes: 64 << 20, MaxEntryBytes: 4 << 20}
}

// Validate returns all faults, each as "key: what is wrong", the key below `responses`.
func (c Config) Validate() error {
	var faults []error
	if c.TTL < time.Second {
		faults = append(faults, fmt.Errorf("ttl: %v is less than a second", c.TTL))
	}
	if c.MaxEntryBytes < 16<<10 || c.MaxEntryBytes > math.MaxInt32 {
		faults = append(faults, fmt.Errorf("max_entry_bytes: %d is not between 16KiB and 2GiB", c.MaxEntryBytes))
	}
	if c.MaxBytes < c.MaxEntryBytes {
		faults = append(faults, fmt.Errorf("max_bytes: %d is less than max_entry_bytes (%d)", c.MaxBytes, c.MaxEntryBytes))
	}
	return errors.Join(faults...)
}
