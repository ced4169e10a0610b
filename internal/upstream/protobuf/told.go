package protobuf

import (
	"errors"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// told gives the fields of a reply that the client may see, after those of dst: what
// stands before its messages and, where they have come, behind them. gRPC calls them
// metadata. Those about the body are about another one than the client gets.
func (c *rpc) told(dst []llm.Field) []llm.Field {
	for _, list := range [...][]llm.Field{c.reply.Header, c.reply.Trailer} {
		for _, f := range list {
			if forClient(f.Name) && !c.of.secrets.In(f.Name) {
				dst = append(dst, llm.Field{Name: f.Name, Value: c.of.secrets.RedactField(f.Value)})
			}
		}
	}
	return dst
}

func forClient(name string) bool {
	switch name {
	case "Accept-Ranges", "Age", "Cache-Control", "Digest", "Etag", "Expires", "Last-Modified", "Location", "Pragma", "Repr-Digest", "Vary", "Want-Content-Digest":
		return false
	}
	return llm.ForClient(name, 200) && !strings.HasPrefix(name, "Grpc-") && !strings.HasPrefix(name, "Content-") && !strings.HasSuffix(name, "-Bin")
}

// withFields gives an error with which a service answered, with what stands beside it.
func (c *rpc) withFields(err error) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Fault != llm.Answered && e.Fault != llm.Told {
		return err
	}
	e.Header = c.told(nil)
	if e.RetryAfter == 0 && e.Fault == llm.Answered {
		e.RetryAfter = upstream.RetryAfter(e.Header, time.Now())
	}
	return e
}
