package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// installCaddy builds Caddy into a folder, once, and gives the program. It is no
// requirement of this module's: its own say which versions it is built of.
func installCaddy(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "caddy-"+caddyVersion)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "caddy")
	install := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags", "-s -w", "github.com/caddyserver/caddy/v2/cmd/caddy@"+caddyVersion)
	install.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	return binary, installed(binary, install)
}

// portkeyStart is what Node.js is to run, below the folder of installPortkey.
const portkeyStart = "node_modules/@portkey-ai/gateway/build/start-server.js"

// installPortkey installs Portkey into a folder, once, and gives the folder.
func installPortkey(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "portkey-"+portkeyVersion+"-"+honoVersion)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	packages := fmt.Appendf(nil, `{"private": true, "dependencies": {"@portkey-ai/gateway": %q}, "overrides": {"@hono/node-server": %q}}`, portkeyVersion, honoVersion)
	if err := os.WriteFile(filepath.Join(dir, "package.json"), packages, 0o644); err != nil {
		return "", err
	}
	install := exec.CommandContext(ctx, "npm", "install", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	install.Dir = dir
	return dir, installed(filepath.Join(dir, portkeyStart), install)
}

// installed runs a command unless the file is there that it is to make.
func installed(file string, install *exec.Cmd) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(install.Path), err, out[max(0, len(out)-1000):])
	}
	_, err := os.Stat(file)
	return err
}
