package main

import (
	"github.com/spf13/cobra"

	"sluice/internal/gateway"
)

// transcodeCommand is encode or decode.
func (c *cli) transcodeCommand(encode bool) *cobra.Command {
	t := gateway.Transcoding{Encode: encode}
	cmd := &cobra.Command{
		Use:   "decode [--schema FILE] --type TYPE",
		Short: "Turn a protobuf message on standard input into JSON on standard output",
		Long: `Decode reads one binary message and writes it as JSON. With --delimited it reads
messages that each have their length before them as a varint, and writes a line
of JSON for each as it comes.`,
		Example: `  sluice decode --schema greet.proto --type demo.Greeting < ada.bin`,
		Args:    cobra.NoArgs,
	}
	if encode {
		cmd.Use = "encode [--schema FILE] --type TYPE"
		cmd.Short = "Turn JSON on standard input into a protobuf message on standard output"
		cmd.Long = `Encode reads one message as JSON and writes it in binary. With --delimited it
reads a message a line and writes each with its length before it as a varint.`
		cmd.Example = `  echo '{"name":"Ada"}' | sluice encode --schema greet.proto --type demo.Greeting > ada.bin`
	}
	f := cmd.Flags()
	f.StringArrayVar(&t.Schemas, "schema", nil, ".proto `file`, descriptor set, folder of either, or grpc://HOST:PORT; may be given several times, and left out for google.protobuf's own types")
	f.StringVar(&t.Type, "type", "", "full `name` of the message type, as in pkg.Message")
	f.BoolVar(&t.Delimited, "delimited", false, "several messages, one after the other")
	if encode {
		f.BoolVar(&t.Options.DiscardUnknown, "discard-unknown", false, "pass over members and enum names that the schema lacks")
	} else {
		f.BoolVar(&t.Options.UseProtoNames, "use-proto-names", false, "name members as the schema does, not in lowerCamelCase")
		f.BoolVar(&t.Options.EmitUnpopulated, "emit-unpopulated", false, "write fields that are not set too")
		f.BoolVar(&t.Options.UseEnumNumbers, "use-enum-numbers", false, "write enums as numbers")
	}
	if err := cmd.MarkFlagRequired("type"); err != nil {
		panic(err) // there is no such flag
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := gateway.Transcode(cmd.Context(), t, c.stdin, c.stdout); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}
