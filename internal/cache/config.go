package cache

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is the `cache` section, without the second level's keys.
type Config struct {
	// Enabled puts the cache into the chain.
	Enabled bool `yaml:"enabled" env:"SLUICE_CACHE_ENABLED"`

	// MaxSize and MaxBytes bound what is kept in memory, MaxEntryBytes one reply.
	MaxSize       int   `yaml:"max_size" env:"SLUICE_CACHE_MAX_SIZE"`
	MaxBytes      int64 `yaml:"max_bytes" env:"SLUICE_CACHE_MAX_BYTES"`
	MaxEntryBytes int64 `yaml:"max_entry_bytes"`

	// ModelsTTL is how long model lists are fresh, ResponseTTL replies of models,
	// DefaultTTL anything else, such as embeddings.
	ModelsTTL   time.Duration `yaml:"models_ttl" env:"SLUICE_CACHE_MODELS_TTL"`
	ResponseTTL time.Duration `yaml:"response_ttl" env:"SLUICE_CACHE_RESPONSE_TTL"`
	DefaultTTL  time.Duration `yaml:"default_ttl" env:"SLUICE_CACHE_DEFAULT_TTL"`

	// Scope says who shares replies: ScopeKey or ScopeGlobal. When says which
	// calls are answered from memory: WhenAll or WhenDeterministic.
	Scope string `yaml:"scope"`
	When  string `yaml:"when"`

	// Streams has streamed calls answered from memory too, and their replies kept.
	Streams bool `yaml:"streams"`

	// Stored has calls answered from memory too whose reply the upstream keeps
	// under its id, so that several callers have one.
	Stored bool `yaml:"stored"`

	// Coalesce has equal calls that are under way share one upstream call.
	Coalesce bool `yaml:"coalesce"`

	Preload PreloadConfig `yaml:"preload"`
}

// PreloadConfig says what is loaded before it is asked for.
type PreloadConfig struct {
	// Completions lets replies of models, which cost money, be asked for ahead.
	Completions bool `yaml:"completions"`
	// Budget bounds the calls ahead to upstreams, a minute.
	Budget int `yaml:"budget"`
	// HotSetBytes bounds the file that a restart begins with.
	HotSetBytes int64 `yaml:"hot_set_bytes"`

	// HotSetInterval is the time between two writings of it.
	HotSetInterval time.Duration `yaml:"hot_set_interval"`
}

// The values of Scope and When.
const (
	ScopeKey    = "key"    // those who use the same API key
	ScopeGlobal = "global" // all

	WhenAll           = "all"
	WhenDeterministic = "deterministic" // temperature 0, or a seed; embeddings
)

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{
		Enabled: true,
		MaxSize: 2000, MaxBytes: 128 << 20, MaxEntryBytes: 1 << 20,
		ModelsTTL: 300 * time.Second, ResponseTTL: 120 * time.Second, DefaultTTL: 600 * time.Second,
		Scope: ScopeKey, When: WhenAll,
		Coalesce: true,
		Preload:  PreloadConfig{Budget: 60, HotSetBytes: 32 << 20, HotSetInterval: 300 * time.Second},
	}
}

// Validate returns all faults, each as "key: what is wrong", the key below
// `cache`.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.MaxSize < 1, "max_size: must be at least 1, is %d", c.MaxSize)
	fault(c.MaxBytes < 64<<10, "max_bytes: must be at least 64KiB, is %d", c.MaxBytes)
	fault(c.MaxEntryBytes < 1<<10 || c.MaxEntryBytes > math.MaxInt32, "max_entry_bytes: %d is not between 1KiB and 2GiB", c.MaxEntryBytes)
	fault(c.MaxEntryBytes > c.MaxBytes, "max_entry_bytes: %d is more than max_bytes (%d)", c.MaxEntryBytes, c.MaxBytes)
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"models_ttl", c.ModelsTTL}, {"response_ttl", c.ResponseTTL}, {"default_ttl", c.DefaultTTL},
		{"preload.hot_set_interval", c.Preload.HotSetInterval},
	} {
		fault(d.value <= 0, "%s: %v is not a time above 0", d.key, d.value)
	}
	fault(c.Scope != ScopeKey && c.Scope != ScopeGlobal, "scope: %q is none of %s, %s", c.Scope, ScopeKey, ScopeGlobal)
	fault(c.When != WhenAll && c.When != WhenDeterministic, "when: %q is none of %s, %s", c.When, WhenAll, WhenDeterministic)
	fault(c.Preload.Budget < 0, "preload.budget: must not be negative, is %d", c.Preload.Budget)
	fault(c.Preload.HotSetBytes < 0, "preload.hot_set_bytes: must not be negative, is %d", c.Preload.HotSetBytes)
	return errors.Join(faults...)
}
