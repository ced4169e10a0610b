package grpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const codingGzip = "gzip"

// ContentType is that of calls and of their replies, which may have a suffix for what
// their messages are.
const ContentType = "application/grpc"

// IsContentType reports whether a reply's content type is gRPC's.
func IsContentType(kind string) bool {
	return kind == ContentType || strings.HasPrefix(kind, ContentType+"+") || strings.HasPrefix(kind, ContentType+";")
}

// Call makes a call that has one request and one reply. method is as
// "/package.Service/Method". Its error is a *Status.
func (c *Client) Call(ctx context.Context, method string, request []byte) ([]byte, error) {
	body, err := c.frame(request)
	if err != nil {
		return nil, &Status{Code: Internal, Message: err.Error()}
	}
	r, err := c.begin(ctx, method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer r.close()
	reply, err := r.next()
	if err == io.EOF { //nolint:errorlint // next returns it so
		return nil, &Status{Code: Internal, Message: "the server sent no reply"}
	} else if err != nil {
		return nil, err
	}
	switch _, err := r.next(); {
	case err == nil:
		return nil, &Status{Code: Internal, Message: "the server sent more than one reply"}
	case err != io.EOF: //nolint:errorlint // the same
		return nil, err
	}
	return reply, nil
}

// Stream is a call in which both sides send messages. It is used by one goroutine.
type Stream struct {
	client   *Client
	cancel   context.CancelFunc
	requests *io.PipeWriter

	begun   chan struct{} // closed when what follows is there
	replies *replies
	err     error
}

// Stream begins a call. Close has to be called in the end.
func (c *Client) Stream(ctx context.Context, method string) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	body, requests := io.Pipe()
	s := &Stream{client: c, cancel: cancel, requests: requests, begun: make(chan struct{})}
	go func() { // A server may say nothing before it has a message.
		defer close(s.begun)
		if s.replies, s.err = c.begin(ctx, method, body); s.err != nil {
			_ = body.CloseWithError(s.err)
		}
	}()
	return s
}

// Send sends a message. Where that fails Receive says why.
func (s *Stream) Send(message []byte) error {
	body, err := s.client.frame(message)
	if err != nil {
		return err
	}
	_, err = s.requests.Write(body)
	return err
}

// Receive gives the next message of the server: io.EOF after the last one, else
// errors are a *Status.
func (s *Stream) Receive() ([]byte, error) {
	if <-s.begun; s.err != nil {
		return nil, s.err
	}
	return s.replies.next()
}

// Close ends the call, whatever there still was to come.
func (s *Stream) Close() {
	s.cancel()
	_ = s.requests.Close()
	if <-s.begun; s.err == nil {
		s.replies.close()
	}
}

// begin sends a request and waits for the head of the reply.
func (c *Client) begin(ctx context.Context, method string, body io.Reader) (*replies, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+method, body)
	if err != nil {
		return nil, &Status{Code: Internal, Message: err.Error()}
	}
	req.Header = c.header.Clone()
	if d, ok := ctx.Deadline(); ok {
		req.Header.Set("Grpc-Timeout", Timeout(time.Until(d)))
	}
	resp, err := c.transport.RoundTrip(req) //nolint:bodyclose // replies.close does
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	r := &replies{client: c, ctx: ctx, resp: resp}
	if s := refusal(resp); s != nil {
		r.close()
		return nil, s
	}
	return r, nil
}

// refusal says of a reply that is none of gRPC's what it stands for.
func refusal(resp *http.Response) error {
	kind := resp.Header.Get("Content-Type")
	switch {
	case resp.ProtoMajor < 2:
		return &Status{Code: Unavailable, Message: "the server does not speak HTTP/2"}
	case resp.Header.Get(StatusField) != "": // a reply that is over with its head
		return nil
	case resp.StatusCode != http.StatusOK:
		return &Status{Code: OfHTTP(resp.StatusCode), Message: fmt.Sprintf("HTTP status %d with content type %.100q", resp.StatusCode, kind)}
	case !IsContentType(kind):
		return &Status{Code: Unknown, Message: fmt.Sprintf("content type %.100q is not that of gRPC", kind)}
	}
	return nil
}

// failed makes a status of what HTTP says. A connection on which a call was in
// vain is not used again: its other end may be gone.
func (c *Client) failed(ctx context.Context, err error) error {
	cause := ctx.Err()
	switch {
	case cause == nil:
		return &Status{Code: Unavailable, Message: err.Error()}
	case errors.Is(cause, context.DeadlineExceeded):
		c.transport.CloseIdleConnections()
		return &Status{Code: DeadlineExceeded, Message: cause.Error()}
	default:
		return &Status{Code: Canceled, Message: cause.Error()}
	}
}

// Timeout is a time as the field Grpc-Timeout has it: at most eight digits and a unit.
func Timeout(d time.Duration) string {
	d = max(d, 0)
	const most = 99_999_999
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Nanosecond, "n"}, {time.Microsecond, "u"}, {time.Millisecond, "m"}, {time.Second, "S"}} {
		if n := (d + u.unit - 1) / u.unit; n <= most {
			return strconv.FormatInt(int64(n), 10) + u.name
		}
	}
	return strconv.FormatInt(min(int64(d/time.Hour)+1, most), 10) + "H"
}
