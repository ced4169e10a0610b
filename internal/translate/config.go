package translate

import (
	"errors"
	"fmt"
)

// Config is how requests are translated between dialects.
type Config struct {
	// Strict refuses a request of which something would be lost, with status 400; else a
	// header of the reply names it.
	Strict bool `yaml:"strict" env:"SLUICE_TRANSLATE_STRICT"`

	// MaxTokens is the limit of a reply that a request gets for a service that requires one
	// (Messages), where the client set none.
	MaxTokens int `yaml:"max_tokens"`
}

// Default is the configuration where nothing is said.
func Default() Config { return Config{MaxTokens: 4096} }

// Validate reports every fault at once, each as "key: what is wrong".
func (c Config) Validate() error {
	var faults []error
	if c.MaxTokens < 1 {
		faults = append(faults, fmt.Errorf("max_tokens: %d is below 1", c.MaxTokens))
	}
	return errors.Join(faults...)
}
