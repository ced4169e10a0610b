package catalog

import (
	"errors"
	"fmt"
	"math"
)

// Config is the part of the `protobuf` section that says what schemas there are.
type Config struct {
	// Schemas are loaded at the start, each under a name: paths of .proto files, of
	// descriptor sets or of folders, and grpc://host:port (with TLS grpcs) of
	// servers that reflect. "name=path" gives the name, which otherwise is that of
	// the file without its ending.
	Schemas []string `yaml:"schemas"`

	// MaxSchemaBytes bounds one schema, MaxSchemas how many there are.
	MaxSchemaBytes int `yaml:"max_schema_bytes"`
	MaxSchemas     int `yaml:"max_schemas"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Config { return Config{MaxSchemaBytes: 8 << 20, MaxSchemas: 64} }

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
	}{{"max_schema_bytes", c.MaxSchemaBytes, 1 << 10}, {"max_schemas", c.MaxSchemas, 1}} {
		fault(n.value < n.least, "%s: must be at least %d, is %d", n.key, n.least, n.value)
		fault(n.value > math.MaxInt32, "%s: must be below 2GiB, is %d", n.key, n.value)
	}
	for i, s := range c.Schemas {
		fault(s == "", "schemas[%d]: is empty", i)
	}
	return errors.Join(faults...)
}
