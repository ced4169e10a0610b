package gateway

import (
	"context"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"reflect"
	"sync/atomic"

	"sluice/internal/codec"
	"sluice/internal/config"
	"sluice/internal/front"
	"sluice/internal/llm"
	"sluice/internal/protobuf"
)

// transcoder is the protobuf codec. Chains share it while its configuration
// stays the same, so that a reload keeps what was uploaded and compiled.
type transcoder struct {
	cfg    codec.Config
	dir    string
	codec  *codec.Codec
	forget func()       // takes the figures out; nil while they are not in
	chains atomic.Int32 // that hold it; the last one closes it
}

// transcode gives the transcoder of a configuration, nil where it is off.
func (g *Gateway) transcode(cfg *config.Config, before *chain) (*transcoder, error) {
	if !cfg.Protobuf.Enabled {
		return nil, nil
	}
	o := codec.Options{Logger: g.log}
	if cfg.StateDir != "" {
		o.StateDir = filepath.Join(cfg.StateDir, "schemas")
	}
	if before != nil && before.codec != nil {
		t := before.codec
		if t.dir == cfg.StateDir && reflect.DeepEqual(t.cfg, cfg.Protobuf) {
			// The files that it names may have changed.
			if err := t.codec.Reload(context.Background()); err != nil {
				return nil, err
			}
			return t, nil
		}
		o.Before = t.codec
	}
	c, err := codec.New(cfg.Protobuf, o)
	if err != nil {
		return nil, err
	}
	return &transcoder{cfg: cfg.Protobuf, dir: cfg.StateDir, codec: c}, nil
}

// schemaRoutes are what administrators may do with schemas.
func (g *Gateway) schemaRoutes(maxBody int64) []front.Route {
	const below = "/v1/protobuf/schemas/"
	with := func(serve func(c *codec.Codec, name string, req *llm.Request) ([]byte, error)) llm.Handler {
		return front.JSON(func(_ context.Context, req *llm.Request) ([]byte, error) {
			t := g.live.Load().codec
			if t == nil {
				return nil, llm.Errorf(404, "protobuf_disabled", "The protobuf codec is off (protobuf.enabled).")
			}
			name, err := url.PathUnescape(path.Base(req.Path))
			if err != nil {
				return nil, llm.Errorf(400, "invalid_name", "The schema's name cannot be read: %v.", err)
			}
			return serve(t.codec, name, req)
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
