package redis

import (
	"fmt"
	"log/slog"
	"time"
)

// Use is how a part of the gateway comes to a server.
type Use struct {
	URL     string
	Timeout time.Duration // of a request's question, as in Options
	Prefix  string        // of all keys' names

	Servers *Servers
	Logger  *slog.Logger // nil: no logs
}

// Client makes the client of a part by its name in logs. The part's keys begin with prefix,
// behind the Prefix of all. Errors are those of the URL.
func (u *Use) Client(name, prefix string) (c *Client, keys string, err error) {
	keys = u.Prefix + prefix
	c, err = u.Servers.Client(u.URL, Options{Logger: u.Logger, Name: name, Timeout: u.Timeout, Probe: keys + "probe"})
	if err != nil {
		return nil, "", fmt.Errorf("redis_url: %w", err)
	}
	return c, keys, nil
}
