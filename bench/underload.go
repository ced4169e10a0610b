package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// workload is a command that compares Sluices with each other, which differ by their
// configuration.
type workload struct {
	measure  func(context.Context, io.Writer, plan) error
	rounds   int
	duration time.Duration
	of       string // what the duration is of
}

func workloads() map[string]workload {
	return map[string]workload{
		"batch":     {batching, 3, time.Second, "one load"},
		"overload":  {overload, 1, time.Minute, "the overload"},
		"admission": {admission, 15, time.Second, "one load"},
		"balance":   {balancing, 1, 20 * time.Second, "one load"},
		"memory":    {memoryWorth, 3, 8 * time.Second, "one load"},
	}
}

func (o workload) run(ctx context.Context, command string, args []string) error {
	p := plan{mockKind: mockLean, engines: []string{""}, conns: 32, calls: 1}
	flags := flag.NewFlagSet("bench "+command, flag.ExitOnError)
	flags.Func("sluice", "binary to measure; built from the tree when empty", func(s string) error {
		p.binaries = []string{s}
		return nil
	})
	flags.Func("engine", "what speaks HTTP in Sluice: nethttp or lean; what the binary chooses when empty", func(s string) error {
		p.engines = []string{s}
		return nil
	})
	flags.IntVar(&p.rounds, "rounds", o.rounds, "rounds")
	flags.DurationVar(&p.duration, "d", o.duration, "duration of "+o.of)
	flags.Parse(args)
	if err := p.check(); err != nil {
		return err
	}
	return o.measure(ctx, os.Stdout, p)
}

// row prints a row of a table in Markdown.
func row(w io.Writer, cells ...any) {
	var b strings.Builder
	for _, c := range cells {
		if f, ok := c.(float64); ok {
			c = threeDigits(f)
		}
		fmt.Fprintf(&b, "| %v ", c)
	}
	fmt.Fprintln(w, b.String()+"|")
}

// head prints the first rows of a table, with all columns but some at the right.
func head(w io.Writer, left int, cells ...string) {
	var all, rules []any
	for i, c := range cells {
		all = append(all, c)
		rule := "---:"
		if i < left {
			rule = "---"
		}
		rules = append(rules, rule)
	}
	row(w, all...)
	row(w, rules...)
}

// threeDigits prints a figure with three of them at least.
func threeDigits(f float64) string {
	switch a := max(f, -f); {
	case a >= 100:
		return fmt.Sprintf("%.0f", f)
	case a >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
