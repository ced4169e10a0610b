package codec

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is the part of the `protobuf` section that is the codec's own.
type Config struct {
	// Enabled puts the codec into the chain.
	Enabled bool `yaml:"enabled" env:"SLUICE_PROTOBUF_ENABLED"`

	// MaxInputBytes bounds a request's body, and a message of a stream or of the
	// command line. MaxOutputBytes bounds what a message becomes, and what a
	// batch's messages become together.
	MaxInputBytes  int `yaml:"max_input_bytes"`
	MaxOutputBytes int `yaml:"max_output_bytes"`

	// MaxDepth bounds how deep messages nest, MaxFields how many fields a message
	// has with all inside it, MaxItems the messages of a batch.
	MaxDepth  int `yaml:"max_depth"`
	MaxFields int `yaml:"max_fields"`
	MaxItems  int `yaml:"max_items"`

	// Workers run batches and calls of more than InlineBytes; 0 is one for each
	// CPU. Queue is how many pieces of work may wait for them; one more is told
	// 503.
	Workers     int `yaml:"workers"`
	Queue       int `yaml:"queue"`
	InlineBytes int `yaml:"inline_bytes"`

	// ResultCacheBytes bounds the results that are kept, 0 for none, and ResultTTL
	// how long.
	ResultCacheBytes int64         `yaml:"result_cache_bytes"`
	ResultTTL        time.Duration `yaml:"result_ttl"`

	// SSEEncoding says how binary messages stand in events where the request does
	// not: Base64 or Hex.
	SSEEncoding string `yaml:"sse_encoding"`
}

// The values of SSEEncoding.
const (
	Base64 = "base64"
	Hex    = "hex"
)

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{
		Enabled:       true,
		MaxInputBytes: 8 << 20, MaxOutputBytes: 64 << 20,
		MaxDepth: 100, MaxFields: 1_000_000, MaxItems: 1000,
		Queue: 256, InlineBytes: 16 << 10,
		ResultCacheBytes: 32 << 20, ResultTTL: 300 * time.Second,
		SSEEncoding: Base64,
	}
}

// Validate returns all faults, each as "key: what is wrong", the key below
// `protobuf`.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	for _, n := range []struct {
		key   string
		value int
		least int
	}{
		{"max_input_bytes", c.MaxInputBytes, 1 << 10}, {"max_output_bytes", c.MaxOutputBytes, 1 << 10},
		{"max_depth", c.MaxDepth, 1}, {"max_fields", c.MaxFields, 1}, {"max_items", c.MaxItems, 1},
		{"workers", c.Workers, 0}, {"queue", c.Queue, 1}, {"inline_bytes", c.InlineBytes, 0},
	} {
		fault(n.value < n.least, "%s: must be at least %d, is %d", n.key, n.least, n.value)
		fault(n.value > math.MaxInt32, "%s: must be below 2GiB, is %d", n.key, n.value)
	}
	fault(c.MaxDepth > 10_000, "max_depth: must be at most 10000, is %d", c.MaxDepth)
	fault(c.ResultCacheBytes != 0 && c.ResultCacheBytes < 64<<10, "result_cache_bytes: must be 0 or at least 64KiB, is %d", c.ResultCacheBytes)
	fault(c.ResultTTL <= 0, "result_ttl: %v is not a time above 0", c.ResultTTL)
	fault(c.SSEEncoding != Base64 && c.SSEEncoding != Hex, "sse_encoding: %q is none of %s, %s", c.SSEEncoding, Base64, Hex)
	return errors.Join(faults...)
}
