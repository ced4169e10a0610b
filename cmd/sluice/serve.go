package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice/internal/config"
	"sluice/internal/gateway"
)

func (c *cli) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Serve runs the gateway until SIGTERM or SIGINT, then lets requests under way
finish within server.drain_timeout; a second signal ends it at once. SIGHUP, or
a change of the file, reads the configuration again without dropping a request.

With no upstream configured it serves simulated models. OPENAI_API_KEY makes
OpenAI the upstream, NAME_API_KEY with NAME_BASE_URL any other service that
speaks OpenAI's API. sluice.example.yaml shows every setting.`,
		Example: `  sluice serve
  OPENAI_API_KEY=sk-... sluice serve --port 8080
  sluice serve --config sluice.yaml --log-format json`,
		Args: cobra.NoArgs,
	}
	options := c.configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context(), options()) }
	return cmd
}

// configFlags adds the flags that set keys of the configuration. The returned
// function gives what to load once they are parsed.
func (c *cli) configFlags(cmd *cobra.Command) func() config.LoadOptions {
	keys := [...]struct{ flag, path string }{
		{"host", "server.host"}, {"port", "server.port"}, {"insecure", "server.insecure"},
		{"log-level", "log.level"}, {"log-format", "log.format"},
	}
	f := cmd.Flags()
	file := f.StringP("config", "c", "", "configuration `file` (SLUICE_CONFIG)")
	f.String("host", "", "`address` to listen on (SLUICE_HOST; 127.0.0.1)")
	f.String("port", "", "`port` to listen on, 0 for any (SLUICE_PORT; 28888)")
	f.Bool("insecure", false, "serve other machines and proxies without API keys")
	f.String("log-level", "", "`level`: debug, info, warn, error (SLUICE_LOG_LEVEL; info)")
	f.String("log-format", "", "`format`: text, json (SLUICE_LOG_FORMAT; text)")
	complete(cmd, "log-level", cobra.ShellCompDirectiveNoFileComp, "debug", "info", "warn", "error")
	complete(cmd, "log-format", cobra.ShellCompDirectiveNoFileComp, "text", "json")
	return func() config.LoadOptions {
		o := config.LoadOptions{File: *file, Env: c.env}
		for _, k := range keys {
			if f.Changed(k.flag) {
				o.Flags = append(o.Flags, config.Flag{Name: "--" + k.flag, Path: k.path, Value: f.Lookup(k.flag).Value.String()})
			}
		}
		for _, pair := range c.env {
			if value, ok := strings.CutPrefix(pair, config.ConfigVariable+"="); ok && !f.Changed("config") {
				o.File = value
			}
		}
		return o
	}
}

// serve runs a gateway until ctx is done or a signal asks for the end.
func (c *cli) serve(ctx context.Context, o config.LoadOptions) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	contents := config.ContentsOf(o.File) // what changes from here on is seen
	cfg, err := config.Load(o)
	if err != nil {
		return err
	}
	s := &service{options: o, contents: contents, notify: c.notify, format: cfg.Log.Format}
	s.options.Again = true
	s.log = c.logger(cfg.Log, &s.level)
	s.warn(cfg)
	s.gateway, err = gateway.New(cfg, gateway.Options{Logger: s.log, Version: version(), Stdout: c.stdout, AccessLog: c.stderr})
	if err != nil {
		return c.explainStart(o, err)
	}
	if _, err := s.gateway.Listen(); err != nil {
		err = failure{explainListen(err, cfg.Server.Host, cfg.Server.Port)}
		return errors.Join(err, s.gateway.Close())
	}
	s.notify("READY=1") // the kernel takes connections from now on
	return s.run(ctx, signals)
}

// explainStart gives all that is wrong with what the configuration names, where a
// start failed for some of it, and the reason of the failure otherwise.
func (c *cli) explainStart(o config.LoadOptions, err error) error {
	o.Files = true
	if _, all := config.Load(o); all != nil {
		return all
	}
	return failure{err}
}

func (c *cli) logger(l config.Log, level *slog.LevelVar) *slog.Logger {
	_ = level.UnmarshalText([]byte(l.Level)) // it was checked
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(c.stderr, o))
	}
	return slog.New(slog.NewTextHandler(c.stderr, o))
}

// service is a gateway that listens.
type service struct {
	options  config.LoadOptions
	contents config.Contents // of the file, when it was read
	gateway  *gateway.Gateway
	notify   func(state string)
	log      *slog.Logger
	level    slog.LevelVar
	format   string
}

// warn logs what the configuration says and probably does not mean, or what is a
// risk.
func (s *service) warn(cfg *config.Config) {
	for _, warning := range cfg.Warnings() {
		s.log.Warn("the configuration may not say what is meant", "warning", warning)
	}
}

// loaded is a configuration that was read again, or why it cannot be used.
type loaded struct {
	cfg *config.Config
	err error
}

func (s *service) run(ctx context.Context, signals <-chan os.Signal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.gateway.Run(ctx) }()

	changed, asked := make(chan loaded), make(chan struct{}, 1)
	var reading sync.WaitGroup
	defer func() {
		stop()
		wait(&reading)
	}()
	reading.Go(func() { s.reloads(ctx, changed, asked) })
	if s.options.File != "" {
		reading.Go(func() { s.watch(ctx, changed) })
	}
	for {
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				return failure{err}
			}
			return nil
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && ctx.Err() == nil:
				select {
				case asked <- struct{}{}:
				default:
					s.log.Warn("the configuration is being read already")
				}
			case sig == syscall.SIGHUP:
			case ctx.Err() == nil:
				s.log.Info("finishing the requests under way; a second signal ends them", "signal", sig.String())
				s.notify("STOPPING=1")
				stop()
			default:
				return failure{fmt.Errorf("ended by a second signal (%v) before all requests were finished", sig)}
			}
		}
	}
}

// lastRead bounds the wait for files that are being read at the end: a disk of another
// machine may never answer.
const lastRead = time.Second

// wait waits for those who read files, and not for ever.
func wait(reading *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		reading.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(lastRead):
	}
}

// reloads puts to use what the file becomes, and what it is when somebody asks, until ctx
// is done. Signals are seen to while it reads.
func (s *service) reloads(ctx context.Context, changed <-chan loaded, asked <-chan struct{}) {
	for {
		var l loaded
		select {
		case <-ctx.Done():
			return
		case l = <-changed:
		case <-asked:
			l.cfg, l.err = config.Load(s.options)
		}
		if ctx.Err() != nil {
			return
		}
		s.reload(l)
	}
}

// watch hands on what the file becomes until ctx is done.
func (s *service) watch(ctx context.Context, changed chan<- loaded) {
	err := config.Watch(ctx, s.options, s.contents, func(cfg *config.Config, err error) {
		select {
		case changed <- loaded{cfg, err}:
		case <-ctx.Done():
		}
	})
	if err != nil {
		s.log.Warn("the configuration file is not watched; send SIGHUP after a change", "error", err)
	}
}

// reload puts a new configuration to use, or says why the old one stays.
func (s *service) reload(l loaded) {
	if l.err == nil {
		l.err = s.gateway.Reload(l.cfg)
	}
	if l.err != nil {
		faults := []string{l.err.Error()}
		if e, ok := errors.AsType[*config.Error](l.err); ok {
			faults = e.Faults
		}
		for _, fault := range faults {
			s.log.Error("configuration not reloaded, the one before stays in use", "fault", fault)
		}
		return
	}
	_ = s.level.UnmarshalText([]byte(l.cfg.Log.Level)) // it was checked
	s.warn(l.cfg)
	if l.cfg.Log.Format != s.format {
		s.log.Warn("log.format changes with the next start")
	}
}

// explainListen says what to do about an address that cannot be listened on.
func explainListen(err error, host string, port int) error {
	addr := net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
	what := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		what = "is in use by another program; stop that one, or choose another port with --port"
	case errors.Is(err, syscall.EACCES):
		what = "may not be used by this user; choose a port above 1023 with --port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		what = "is not an address of this machine; choose another one with --host"
	default:
		return err
	}
	return fmt.Errorf("address %s %s", addr, what)
}
