package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sluice/internal/config"
	"sluice/internal/gateway"
)

func (c *cli) dedupCommand() *cobra.Command {
	var o gateway.Deduplication
	cmd := &cobra.Command{
		Use:   "dedup [--mode off|safe|blocks]",
		Short: "Show what de-duplication makes of a request",
		Long: `Dedup reads the JSON of a request of a conversation, of any of the APIs that there are,
from standard input and writes it to standard output as it would be sent. To standard error it writes what
was changed, with - before what was taken out and + before what stands there now.
With --expand it puts back what references in a request stand for.`,
		Example: `  sluice dedup --mode blocks < request.json > shorter.json
  sluice dedup --mode blocks --explain < request.json > /dev/null
  sluice dedup --expand < shorter.json`,
		Args: cobra.NoArgs,
	}
	options := c.configFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Mode, "mode", "", "`mode`: off, safe, blocks (dedup.mode)")
	complete(cmd, "mode", cobra.ShellCompDirectiveNoFileComp, "off", "safe", "blocks")
	f.StringVar(&o.Dialect, "dialect", "", "`API` of the request: "+strings.Join(gateway.Dialects(), ", ")+" (told by its members)")
	complete(cmd, "dialect", cobra.ShellCompDirectiveNoFileComp, gateway.Dialects()...)
	cache := f.Bool("prompt-cache", true, "whether the service keeps prompts that it has read (dedup.prompt_cache)")
	f.Float64Var(&o.BytesPerToken, "bytes-per-token", 0, "`number` by which tokens are estimated, from 1 to 8 (3.8: what OpenAI's services count on average)")
	f.BoolVar(&o.Explain, "explain", false, "tell of every message, and why it is kept")
	f.BoolVar(&o.Expand, "expand", false, "put back what references stand for")
	cmd.MarkFlagsMutuallyExclusive("expand", "mode")
	cmd.MarkFlagsMutuallyExclusive("expand", "explain")
	cmd.MarkFlagsMutuallyExclusive("expand", "bytes-per-token")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := o.Check(); err != nil { // before a request is waited for
			return err
		}
		cfg, err := config.Load(options())
		if err != nil {
			return err
		}
		if f.Changed("prompt-cache") {
			cfg.Dedup.PromptCache = *cache
		}
		if err := gateway.Deduplicate(cfg, o, c.stdin, c.stdout, c.stderr); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}
