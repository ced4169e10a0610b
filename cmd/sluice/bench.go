package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice/internal/bench"
	"sluice/internal/config"
	"sluice/internal/gateway"
)

// How long sluice bench takes, by default and with --quick.
const (
	benchRounds = 6 // fewer have no interval of 95 %
	benchSlice  = 3 * time.Second
	quickSlice  = 250 * time.Millisecond
)

// Variables that stand for flags which may hold secrets.
const benchKeyVariable = "SLUICE_BENCH_KEY"

func (c *cli) benchCommand() *cobra.Command {
	o := bench.Options{Executable: "", Env: c.env, HashKey: gateway.HashKey, Version: version()}
	var quick, check bool
	var only, jsonFile, htmlFile string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure on this machine what each optimisation is worth",
		Long: `Bench starts the simulator and gateways on loopback, measures each optimisation
off and on, in turn, and holds the result against what the design claims. It
prints a table and writes all samples to sluice-bench.json and a page with plots
to sluice-bench.html, in the current directory. It takes some five minutes, with
--quick less than one. docs/bench.md says what each row means.

With --upstream it asks a real service, which costs money: it says how many
requests it will send. Most rows need the simulator; the page says which, and why.`,
		Example: `  sluice bench
  sluice bench --quick --check
  sluice bench --only 'hit|batch' --html ""
  ` + benchKeyVariable + `=sk-... sluice bench --upstream https://api.openai.com/v1 --model gpt-4o-mini`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&quick, "quick", false, fmt.Sprintf("slices of %v: less than a minute, wider intervals", quickSlice))
	f.BoolVar(&check, "check", false, "exit with 1 where a row falls short of its claim")
	f.IntVar(&o.Rounds, "rounds", benchRounds, "`number` of times that each side is measured; fewer than 6 give no interval of 95 %")
	f.DurationVar(&o.Slice, "duration", benchSlice, "`time` that a side is measured in a round")
	f.StringVar(&only, "only", "", "regular `expression` of the rows to measure: "+strings.Join(bench.RowIDs(), ", "))
	f.StringVar(&jsonFile, "json", "sluice-bench.json", "`file` for all samples; empty for none")
	f.StringVar(&htmlFile, "html", "sluice-bench.html", "`file` for the page; empty for none")
	f.Uint64Var(&o.Seed, "seed", 1, "`number` by which all is drawn that is random")
	f.StringVar(&o.Upstream, "upstream", "", "base `URL` of a real service, as https://api.openai.com/v1; the simulator where it is empty")
	f.StringVar(&o.Key, "key", "", "the service's API `key`; better in "+benchKeyVariable+", which no other user sees")
	f.StringVar(&o.Model, "model", "", "`name` of the model that is asked there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if quick && !f.Changed("duration") {
			o.Slice = quickSlice
		}
		if only != "" {
			expression, err := regexp.Compile(only)
			if err != nil {
				return fmt.Errorf("--only: %w", err)
			}
			o.Only = expression
		}
		if jsonFile != "" && jsonFile == htmlFile {
			return errors.New("--json and --html name the same file")
		}
		if !f.Changed("key") {
			for _, pair := range c.env {
				if value, ok := strings.CutPrefix(pair, benchKeyVariable+"="); ok {
					o.Key = value
				}
			}
		}
		if err := o.Check(); err != nil {
			return err
		}
		o.Command = benchLine(o, quick)
		return c.bench(cmd.Context(), o, []output{{jsonFile, (*bench.Report).WriteJSON}, {htmlFile, (*bench.Report).WriteHTML}}, check)
	}
	return cmd
}

// benchLine is the command without what is secret.
func benchLine(o bench.Options, quick bool) string {
	line := fmt.Sprintf("sluice bench --rounds %d --duration %v --seed %d", o.Rounds, o.Slice, o.Seed)
	if quick {
		line += " --quick"
	}
	if o.Only != nil {
		line += " --only '" + o.Only.String() + "'"
	}
	if o.Upstream != "" {
		line += " --upstream " + o.Service() + " --model " + o.Model
	}
	return line
}

// output is a file of the report.
type output struct {
	path  string
	write func(*bench.Report, io.Writer) error
}

// bench runs it. Its files are opened first: whether they can be written shows at once.
func (c *cli) bench(ctx context.Context, o bench.Options, outputs []output, check bool) error {
	ends := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	if signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = ends[:2]
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	defer stop()
	for _, out := range outputs {
		if err := writable(out.path); err != nil {
			return failure{err}
		}
	}
	var err error
	if o.Executable, err = os.Executable(); err != nil {
		return failure{fmt.Errorf("find this program: %w", err)}
	}
	o.Progress, o.Terminal = c.stderr, terminal(c.stderr)
	if o.Upstream != "" {
		_, _ = fmt.Fprintf(c.stderr, "%s will be asked up to %d times, for a token each\n", o.Service(), o.Requests())
	}
	report, failed := bench.Run(ctx, o)
	if err := failed; report == nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted; nothing was written, and no process is left")
		}
		return failure{err}
	}
	// Files first: minutes were spent on them, and a pipe may have nobody at its end.
	var errs []error
	written := ""
	for _, out := range outputs {
		if out.path == "" {
			continue
		}
		if err := writeFile(out, report); err != nil {
			errs = append(errs, err)
			continue
		}
		written += "written: " + out.path + "\n"
	}
	errs = append(errs, report.WriteTable(c.stdout))
	_, _ = io.WriteString(c.stdout, written)
	if err := errors.Join(append(errs, failed)...); err != nil {
		return failure{err}
	}
	if short := report.FallsShort(); check && len(short) > 0 {
		return failure{fmt.Errorf("falls short: %s", strings.Join(short, ", "))}
	}
	return nil
}

// writable says what is in the way of writing a file, and leaves what is there.
func writable(path string) error {
	if path == "" {
		return nil
	}
	_, missing := os.Lstat(path) // a link is not taken away either
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	err = f.Close()
	if missing != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func writeFile(out output, report *bench.Report) error {
	f, err := os.Create(out.path)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(out.write(report, f), f.Close())
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// benchChildCommand is what sluice bench starts this binary as. It ends with its
// standard input.
func (c *cli) benchChildCommand() *cobra.Command {
	cmd := &cobra.Command{Use: bench.ChildCommand, Hidden: true, Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := bench.UntilEOF(cmd.Context(), c.stdin)
		defer stop()
		switch {
		case args[0] == bench.ChildGateway && len(args) == 2:
			return c.serve(ctx, config.LoadOptions{File: args[1], Env: c.env})
		case args[0] == bench.ChildSimulator:
			return c.child(bench.Simulate(ctx, c.listens))
		case args[0] == bench.ChildBefore:
			return c.child(bench.Before(ctx, args[1:], slog.New(slog.NewTextHandler(c.stderr, nil)), c.listens))
		}
		return fmt.Errorf("there is no child %q", args[0])
	}
	return cmd
}

func (c *cli) child(err error) error {
	if err != nil {
		return failure{err}
	}
	return nil
}

// listens says where a child does, as serve says it.
func (c *cli) listens(addr net.Addr) { _, _ = fmt.Fprintf(c.stdout, "listens on http://%s\n", addr) }
