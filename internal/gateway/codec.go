package gateway

import (
	"context"
	"io"
	"net/url"
	"path"
	"path/filepath"

	"sluice/internal/codec"
	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/protobuf"
	"sluice/internal/protobuf/catalog"
)

// schemasStage makes no stage but what stages look messages up in. It is one for as
// long as the state directory is, where uploads are kept: another configuration is
// taken over by renewing it.
func schemasStage() stage {
	return stage{
		name: "schemas",
		key: func(cfg *config.Config) any {
			if !cfg.Protobuf.Enabled {
				return nil
			}
			return cfg.StateDir
		},
		build: func(a *assembly) (*part, error) {
			o := catalog.Options{Logger: a.log}
			if a.cfg.StateDir != "" {
				o.StateDir = filepath.Join(a.cfg.StateDir, "schemas")
			}
			c, err := catalog.New(context.Background(), a.cfg.Protobuf.Catalog, o)
			if err != nil {
				return nil, err
			}
			return &part{
				is: c, figures: []figures{{"codec", c}},
				tidy: []memory.Task{{Name: "plans", Do: func(context.Context) (int, int64) { return c.Tidy(), 0 }}},
				// The files that the configuration names may have changed.
				renew: func(cfg *config.Config) (func(), error) { return c.Prepare(context.Background(), cfg.Protobuf.Catalog) },
				commit: func(before any) {
					c.Begin()
					if before, ok := before.(*catalog.Catalog); ok {
						c.TakeOver(before)
					}
				},
			}, nil
		},
	}
}

// What comes of streams of messages may take a share of the memory budget: their clients
// may take their time, and the others have to go on.
const (
	streamsAccount = "codec_streams"
	streamsShare   = 0.25
)

// codecStage answers below /v1/protobuf/.
func codecStage() stage {
	return stage{
		name: "codec",
		key: func(cfg *config.Config) any {
			if !cfg.Protobuf.Enabled {
				return nil
			}
			return cfg.Protobuf.Config
		},
		build: func(a *assembly) (*part, error) {
			c, err := codec.New(a.cfg.Protobuf.Config, codec.Options{Logger: a.log, Buffers: &a.memory.Buffers, Account: a.memory.Budget.Account("codec"), Streams: a.memory.Budget.Account(streamsAccount),
				Results: a.memory.Budget.Account("results"), Schemas: use[*catalog.Catalog](a, "schemas")})
			if err != nil {
				return nil, err
			}
			return &part{
				is: c, figures: []figures{{"codec", c}}, close: c.Close,
				stage: func(_ *chain, next llm.Handler) llm.Handler { return c.Stage(next) },
				tidy:  []memory.Task{{Name: "results", Do: func(context.Context) (int, int64) { return c.Tidy() }}},
			}, nil
		},
	}
}

// schemaRoutes are what administrators may do with schemas.
func (g *Gateway) schemaRoutes(maxBody int64) []front.Route {
	const below = "/v1/protobuf/schemas/"
	with := func(serve func(c *codec.Codec, name string, req *llm.Request) ([]byte, error)) llm.Handler {
		return front.JSON(func(_ context.Context, req *llm.Request) ([]byte, error) {
			c := held[*codec.Codec](g.live.Load(), "codec")
			if c == nil {
				return nil, llm.Errorf(404, "protobuf_disabled", "The protobuf codec is off (protobuf.enabled).")
			}
			name, err := url.PathUnescape(path.Base(req.Path))
			if err != nil {
				return nil, llm.Errorf(400, "invalid_name", "The schema's name cannot be read: %v.", err)
			}
			return serve(c, name, req)
		})
	}
	return []front.Route{
		{Method: "PUT", Path: below, MaxBody: maxBody, Handler: with(func(c *codec.Codec, name string, req *llm.Request) ([]byte, error) {
			body, err := io.ReadAll(req.BodyReader)
			if err != nil {
				return nil, err
			}
			return c.PutSchema(name, req.Get("Content-Type"), body)
		})},
		{Method: "DELETE", Path: below, Handler: with(func(c *codec.Codec, name string, _ *llm.Request) ([]byte, error) {
			return c.DeleteSchema(name)
		})},
	}
}

// Transcoding is one run of the command line's encode or decode.
type Transcoding struct {
	Encode    bool     // JSON to protobuf; else the other way
	Schemas   []string // files and folders, read together
	Type      string   // of the messages
	Delimited bool     // several messages: each with its length before it, or a line of JSON
	Options   TranscodingOptions
}

// TranscodingOptions choose among the forms of JSON.
type TranscodingOptions = protobuf.Options

// Transcode turns what is in in into out.
func Transcode(ctx context.Context, t Transcoding, in io.Reader, out io.Writer) error {
	direction := codec.Decode
	if t.Encode {
		direction = codec.Encode
	}
	return codec.Run(ctx, direction, t.Schemas, t.Type, t.Delimited, in, out, codec.RunOptions{Config: codec.Default(), Options: t.Options})
}
