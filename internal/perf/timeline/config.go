package timeline

import (
	"errors"
	"fmt"
	"time"
)

// The bounds of Config.ReportInterval. What happened in an interval is read from
// the windows, and those go back an hour.
const (
	leastInterval = 10 * time.Second
	mostInterval  = time.Hour
)

// Config is the part of the `perf` section that is the timeline's.
type Config struct {
	// ReportInterval is the time between two lines in the log, and between two
	// points of the history: 10 s to 1 h.
	ReportInterval time.Duration `yaml:"report_interval" env:"SLUICE_REPORT_INTERVAL"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config { return Config{ReportInterval: 300 * time.Second} }

// Validate returns all faults, each as "key: what is wrong", the key below
// `perf`.
func (c Config) Validate() error {
	var faults []error
	if d := c.ReportInterval; d < leastInterval || d > mostInterval {
		faults = append(faults, fmt.Errorf("report_interval: %v is not between %v and %v", d, leastInterval, mostInterval))
	}
	return errors.Join(faults...)
}
