package codec

import (
	"context"
	"strings"

	"sluice/internal/llm"
)

// prefix begins the paths that the codec answers.
const prefix = "/v1/protobuf/"

// Stage makes the chain's stage in front of next.
func (c *Codec) Stage(next llm.Handler) llm.Handler { return &stage{c, next} }

type stage struct {
	codec *Codec
	next  llm.Handler
}

// Answers reports whether requests for a path, which is not decoded, are
// answered here and go no further.
func (s *stage) Answers(path string) bool { return strings.HasPrefix(path, prefix) }

// Serve implements llm.Handler.
func (s *stage) Serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	if req.Op != llm.Passthrough || !strings.HasPrefix(req.Path, prefix) {
		return s.next.Serve(ctx, req, out)
	}
	return s.codec.serve(ctx, req, out)
}

// serve answers one request and counts it.
func (c *Codec) serve(ctx context.Context, req *llm.Request, out llm.Sink) error {
	var op operation
	var err error
	switch path := req.Path[len(prefix):]; path {
	case "encode", "decode":
		if op = opEncode; path == "decode" {
			op = opDecode
		}
		if err = method(req, "POST"); err == nil {
			err = c.serveConversion(ctx, req, out, Direction(op))
		}
	case "decode/stream":
		op = opStream
		if err = method(req, "POST"); err == nil {
			err = c.serveStream(ctx, req, out)
		}
	case "schemas":
		op = opSchemas
		if err = method(req, "GET"); err == nil {
			err = c.serveSchemas(out)
		}
	default:
		return llm.Errorf(statusNotFound, "unknown_url", "Unknown request URL: %s %s. Below %s there are encode, decode, decode/stream and schemas.", req.Method, req.Path, prefix)
	}
	c.figures.calls[op][outcomeOf(err)].Add(1)
	return err
}

// method refuses all methods but the one wanted, and HEAD where that is GET.
func method(req *llm.Request, want string) error {
	if req.Method == want || req.Method == "HEAD" && want == "GET" {
		return nil
	}
	if want == "GET" {
		want = "GET, HEAD"
	}
	e := llm.Errorf(statusMethodNotAllowed, "method_not_supported", "%s is not supported by %s. It takes %s.", req.Method, req.Path, want)
	e.Allow = want
	return e
}
