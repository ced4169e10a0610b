package redis

import (
	"errors"
	"fmt"
	"time"

	"sluice/internal/llm"
	"sluice/internal/redis"
)

// Config is the second level's part of the `cache` section.
type Config struct {
	// URL says where Redis is; empty is nowhere. With more than one host it is a
	// cluster, as with ?cluster=true:
	//
	//	redis://user:password@host:6379/0
	//	redis://host1:6379,host2:6379?cluster=true
	//	unix://user:password@/run/redis.sock?db=0
	//	redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0
	//
	// rediss and rediss+sentinel are TLS, with the parameters ca_file, cert_file,
	// key_file, server_name (else each host's own) and skip_verify. The sentinels
	// themselves are asked as sentinel_username with sentinel_password. A user
	// or password with other than letters and digits is percent-encoded.
	URL llm.Secret `yaml:"redis_url" env:"SLUICE_REDIS_URL"`

	// Timeout bounds how long a request waits for Redis, all told: 1ms to 1s.
	Timeout time.Duration `yaml:"redis_timeout"`

	// Prefix begins the name of every key, since the server may have other users.
	Prefix string `yaml:"redis_prefix"`
}

// maxPrefix bounds Prefix, in bytes: it is in every key and command.
const maxPrefix = 64

// Default returns the configuration that holds where nothing is said.
func Default() Config {
	return Config{Timeout: 50 * time.Millisecond, Prefix: "sluice:"}
}

// Validate returns all faults, each as "key: what is wrong", the key below
// `cache`. It reads the files that the URL names, and shows nothing of it.
func (c Config) Validate() error {
	var faults []error
	if !c.URL.IsZero() {
		if err := redis.Check(c.URL.Reveal()); err != nil {
			faults = append(faults, fmt.Errorf("redis_url: %w", err))
		}
	}
	if c.Timeout < time.Millisecond || c.Timeout > redis.Patience {
		faults = append(faults, fmt.Errorf("redis_timeout: %v is not between 1ms and %v", c.Timeout, redis.Patience))
	}
	if c.Prefix == "" || len(c.Prefix) > maxPrefix {
		faults = append(faults, fmt.Errorf("redis_prefix: must have 1 to %d bytes, has %d", maxPrefix, len(c.Prefix)))
	}
	return errors.Join(faults...)
}
