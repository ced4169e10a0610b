package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"sluice/internal/config"
	"sluice/internal/gateway"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // something went wrong while running
	exitUsage   = 2 // the command line or the configuration is wrong
)

// run is the whole command. It returns its exit code, and changes nothing of
// the process but for the signals that serve takes.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := unknownWord(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitOK
	}
	faulty, isConfig := errors.AsType[*config.Error](err)
	_, isFailure := errors.AsType[failure](err)
	switch {
	case isConfig:
		for _, line := range faulty.Faults {
			c.complain(line)
		}
	case isFailure:
		c.complain(err.Error())
		return exitFailure
	default: // cobra's own, of several lines where it has a suggestion
		c.complain(strings.TrimSpace(err.Error()) + "; see sluice --help")
	}
	return exitUsage
}

// unknownWord is the error of a word that is no command where one has to be, below the
// root and after help: cobra would show help, as though all were well.
func unknownWord(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err == nil && cmd.Name() == "help" {
		if cmd, rest, err = root.Find(rest); err != nil {
			return err
		}
	}
	// What is not found at all cobra tells of, which knows commands that are for shells alone.
	if err == nil && cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return cobra.NoArgs(cmd, rest)
	}
	return nil
}

// failure is an error that is not the command line's or the configuration's
// fault.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// cli is what the commands share.
type cli struct {
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// complain writes one line to stderr.
func (c *cli) complain(text string) {
	_, _ = fmt.Fprintln(c.stderr, "sluice: "+strings.Join(strings.Fields(text), " "))
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "An LLM API gateway: the APIs of OpenAI, Anthropic and Google in front, services of these and of protobuf behind",
		Long: `Sluice stands between programs that speak the APIs of OpenAI, Anthropic or Google
and the services that answer them: of any of these APIs, or of protobuf, over gRPC or
HTTP. With nothing configured it serves simulated models.`,
		Example: `  sluice serve
  OPENAI_API_KEY=sk-... sluice serve
  sluice serve --config sluice.yaml --port 8080
  sluice check --config sluice.yaml`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(c.serveCommand(), c.checkCommand(), c.healthCommand(), c.keyCommand(), c.transcodeCommand(true), c.transcodeCommand(false), c.dedupCommand(), c.mapCommand(), c.benchCommand(), c.benchChildCommand(), c.versionCommand())
	completions(root)
	return root
}

func (c *cli) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and print what is in effect, secrets redacted",
		Long: `Check reads the configuration as serve does: defaults, file, environment, flags.
It opens the files that the configuration names, changes none, and asks nobody.
It prints every fault, one line each, and exits with 2, or prints the
configuration that is in effect, with secrets redacted, and warns of what is no
fault and yet a risk.`,
		Example: `  sluice check --config sluice.yaml
  sluice check --config sluice.yaml >/dev/null && systemctl reload sluice`,
		Args: cobra.NoArgs,
	}
	options := c.configFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		o := options()
		o.Files = true
		cfg, err := config.Load(o)
		if err != nil {
			return err
		}
		for _, warning := range cfg.Warnings() {
			c.complain("warning: " + warning)
		}
		if err := cfg.Print(c.stdout); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

func (c *cli) keyCommand() *cobra.Command {
	key := &cobra.Command{Use: "key", Short: "Handle the API keys of clients"}
	key.AddCommand(&cobra.Command{
		Use:   "hash",
		Short: "Read a key from standard input and print its hash for server.api_keys",
		Long: `Hash reads one line, a client's API key, from standard input and prints what
stands for it in the configuration. The hash is not salted: use a random key.`,
		Example: `  key=$(openssl rand -hex 32)
  printf %s "$key" | sluice key hash`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			line, err := bufio.NewReader(io.LimitReader(c.stdin, 64<<10)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return failure{fmt.Errorf("read key from standard input: %w", err)}
			}
			key := strings.TrimRight(line, "\r\n")
			if key == "" || strings.TrimSpace(key) != key {
				return errors.New("standard input must hold a key, with no space around it")
			}
			if len(key) < 16 {
				c.complain("the key is short; one of 32 random characters or more cannot be guessed from its hash")
			}
			if _, err := fmt.Fprintln(c.stdout, gateway.HashKey(key)); err != nil {
				return failure{fmt.Errorf("print hash: %w", err)}
			}
			return nil
		},
	})
	return key
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(c.stdout, "sluice %s (%s %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if err != nil {
				return failure{fmt.Errorf("print version: %w", err)}
			}
			return nil
		},
	}
}

// release is the version where the linker was given one: -X main.release=v1.2.3.
var release string //nolint:gochecknoglobals // the linker sets no other kind

// version is what the linker was given, as releases and images are, or else the
// module's version, which names the commit where there is no tag, as the Go tool
// stamped it into the binary.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return "devel"
}
