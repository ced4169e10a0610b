package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completions says what a shell may complete: files where a flag takes one, and
// nothing else that a command or flag does not name.
func completions(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, cmd := range root.Commands() {
		completeFiles(cmd)
	}
}

func completeFiles(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		completeFiles(sub)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if kind, _ := pflag.UnquoteUsage(f); kind == "file" {
			complete(cmd, f.Name, cobra.ShellCompDirectiveDefault)
		}
	})
}

// complete says what the values of a flag may be.
func complete(cmd *cobra.Command, flag string, directive cobra.ShellCompDirective, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, directive)); err != nil {
		panic(err) // there is no such flag, or it has one
	}
}
