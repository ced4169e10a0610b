package config

import (
	"strings"
	"testing"
)

// TestOwnAddress: an upstream that is the gateway itself is a fault, whichever way it is named,
// and said to be of the variable that names it.
func TestOwnAddress(t *testing.T) {
	for _, c := range []struct {
		host, url string
		back      bool
	}{
		{"127.0.0.1", "http://127.0.0.1:28888/v1", true},
		{"127.0.0.1", "http://LocalHost:28888", true},
		{"127.0.0.1", "http://[::ffff:127.0.0.1]:28888/v1", true},
		{"127.0.0.1", "http://127.0.0.1:28889/v1", false},
		{"127.0.0.1", "http://127.0.0.2:28888/v1", false},
		{"127.0.0.1", "http://[::1]:28888/v1", false},
		{"127.0.0.1", "http://127.0.0.1/v1", false},
		{"localhost", "http://127.0.0.1:28888/v1", true},
		{"localhost", "http://[::1]:28888/v1", true},
		{"LOCALHOST", "http://localhost:28888/v1", true},
		{"localhost", "http://127.0.0.2:28888/v1", false},
		{"127.0.0.2", "http://localhost:28888/v1", false},
		{"127.0.0.2", "http://127.0.0.2:28888/v1", true},
		{"0.0.0.0", "http://127.0.0.2:28888/v1", true},
		{"0.0.0.0", "http://localhost:28888/v1", true},
		{"0.0.0.0", "http://[::1]:28888/v1", false},
		{"::", "http://127.0.0.1:28888/v1", true},
		{"::", "http://[::1]:28888/v1", true},
		{"[::1]", "http://[::1]:28888/v1", true},
		{"0.0.0.0", "https://127.0.0.1:28888/v1", true},
		{"0.0.0.0", "http://192.0.2.7:28888/v1", false},
		{"127.0.0.1", "http://0.0.0.0:28888/v1", true},
		{"127.0.0.1", "http://[::]:28888/v1", false},
		{"::1", "http://[::]:28888/v1", true},
		{"192.0.2.7", "http://0.0.0.0:28888/v1", false},
		{"192.0.2.7", "http://192.0.2.7:28888/v1", true},
		{"192.0.2.7", "http://localhost:28888/v1", false},
		{"gateway.example", "http://Gateway.Example:28888/v1", true},
		{"gateway.example", "http://service.example:28888/v1", false},
	} {
		_, err := Load(LoadOptions{Env: []string{"SLUICE_HOST=" + c.host, "OPENAI_API_KEY=k", "OPENAI_BASE_URL=" + c.url}})
		back := err != nil && strings.Contains(err.Error(), "OPENAI_BASE_URL: upstreams[0].base_url: is the address that this gateway itself listens on")
		if back != c.back {
			t.Errorf("%s on %s: %v", c.url, c.host, err)
		}
	}
}
