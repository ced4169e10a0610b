package main

import (
	"github.com/spf13/cobra"

	"sluice/internal/config"
	"sluice/internal/gateway"
)

func (c *cli) mapCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "map", Short: "Write and try mappings for services that speak protobuf"}
	cmd.AddCommand(c.mapTestCommand(), c.mapNewCommand())
	return cmd
}

func (c *cli) mapTestCommand() *cobra.Command {
	var o gateway.MapTest
	cmd := &cobra.Command{
		Use:   "test --config FILE [--upstream NAME] [--reply FILE]",
		Short: "Show what a mapping makes of a request, or of a reply to it",
		Long: `Test reads the JSON of a chat completion, a completion or embeddings from standard
input and writes the message that the upstream would be sent, as JSON. With --reply
it reads the service's messages from a file, as JSON one after the other, and writes
what the client would get. The upstream is asked for nothing but its schema, where
it has schema: reflection.`,
		Example: `  sluice map test --config sluice.yaml --upstream grok < request.json
  sluice map test --config sluice.yaml --upstream grok --reply chunks.json < request.json`,
		Args: cobra.NoArgs,
	}
	options := c.configFlags(cmd)
	cmd.Flags().StringVar(&o.Upstream, "upstream", "", "`name` of the upstream; the only one with a mapping where it is left out")
	cmd.Flags().StringVar(&o.Reply, "reply", "", "`file` with the messages of the reply")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(options())
		if err != nil {
			return err
		}
		if err := gateway.TestMapping(cmd.Context(), cfg, o, c.stdin, c.stdout, c.stderr); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

func (c *cli) mapNewCommand() *cobra.Command {
	var o gateway.MapNew
	cmd := &cobra.Command{
		Use:   "new --schema FILE | --reflect HOST:PORT [--method METHOD]",
		Short: "List the methods of a service, or write the beginning of a mapping for some",
		Long: `New lists the methods that a schema declares. With --method, once for each call, it
writes a mapping that loads, in which each field of the messages stands as a comment
with its type; --embed and --abort add the calls for embeddings and for stopping the
work for a request.`,
		Example: `  sluice map new --reflect 127.0.0.1:50051
  sluice map new --reflect https://grpc.example.com --ca ca.pem --header "authorization: Bearer KEY"
  sluice map new --schema chat.proto --method Chat/GetCompletion --method Chat/GetCompletionChunk > xai.yaml`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Schemas, "schema", nil, ".proto `file`, descriptor set or folder; may be given several times")
	f.StringVar(&o.Reflect, "reflect", "", "`address` of a server that reflects, as HOST:PORT or http://HOST:PORT; with https:// for TLS")
	f.StringArrayVar(&o.Methods, "method", nil, "`method` as package.Service/Method, or the end of that; may be given several times")
	f.StringVar(&o.Embed, "embed", "", "`method` for embeddings")
	f.StringVar(&o.Abort, "abort", "", "`method` that stops the work for a request")
	f.StringVar(&o.TLS.CA, "ca", "", "`file` with the authorities that the server's certificate may be from; the system's where it is left out")
	f.StringVar(&o.TLS.Cert, "cert", "", "`file` with a certificate, for a server that asks for one")
	f.StringVar(&o.TLS.Key, "key", "", "`file` with its key")
	f.StringArrayVar(&o.Headers, "header", nil, "`field` that goes with what the server is asked, as \"name: value\"; may be given several times")
	cmd.MarkFlagsMutuallyExclusive("schema", "reflect")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := gateway.NewMapping(cmd.Context(), o, c.stdout); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}
