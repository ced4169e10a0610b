package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/internal/config"
)

func (c *cli) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the gateway that runs with a configuration whether it is well",
		Long: `Health reads the configuration as serve does, and asks the gateway that listens
where it says for /healthz, or with --ready for /readyz. It exits with 0 where the
answer is 200, and with 1 otherwise: for containers and scripts that have no other
HTTP client.`,
		Example: `  sluice health --config sluice.yaml
  until sluice health --ready --timeout 1s; do sleep 1; done`,
		Args: cobra.NoArgs,
	}
	options := c.configFlags(cmd)
	ready := cmd.Flags().Bool("ready", false, "ask whether it takes requests, not only whether it runs")
	timeout := cmd.Flags().Duration("timeout", 3*time.Second, "how `long` to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *timeout <= 0 {
			return fmt.Errorf("--timeout: %s is not a time above 0", *timeout)
		}
		cfg, err := config.Load(options())
		if err != nil {
			return err
		}
		path := "/healthz"
		if *ready {
			path = "/readyz"
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *timeout)
		defer cancel()
		if err := askHealth(ctx, cfg, path); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

// askHealth asks the gateway that cfg describes for a path, on this machine.
func askHealth(ctx context.Context, cfg *config.Config, path string) error {
	s := &cfg.Server
	host := strings.Trim(s.Host, "[]")
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "::1"
		}
	}
	scheme := "http"
	// The certificate is for the names that clients use, and not for this one.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	if s.TLS.Cert != "" {
		scheme = "https"
	}
	url := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(s.Port)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // the status says enough
		return fmt.Errorf("%s: status %d: %s", url, resp.StatusCode, text)
	}
	return nil
}
