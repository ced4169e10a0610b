package protobuf

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sluice/internal/grpc"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// answer is what a code of gRPC stands for over HTTP.
type answer struct {
	status int
	unread bool // the server says that it did not act on the request
}

// answers are those by code. They are those of google.rpc.Code's comments, but that what
// is OpenAI's own follows OpenAI: a code that a client library takes for its own doing
// must not stand for the server's.
var answers = [...]answer{
	grpc.OK:                 {status: 502},
	grpc.Canceled:           {status: 502}, // by the server: nobody else has
	grpc.Unknown:            {status: 502},
	grpc.InvalidArgument:    {status: 400},
	grpc.DeadlineExceeded:   {status: 504},
	grpc.NotFound:           {status: 404},
	grpc.AlreadyExists:      {status: 409},
	grpc.PermissionDenied:   {status: 403},
	grpc.ResourceExhausted:  {status: 429, unread: true},
	grpc.FailedPrecondition: {status: 400},
	grpc.Aborted:            {status: 409},
	grpc.OutOfRange:         {status: 400},
	grpc.Unimplemented:      {status: 501},
	grpc.Internal:           {status: 500},
	grpc.Unavailable:        {status: 503, unread: true},
	grpc.DataLoss:           {status: 500},
	grpc.Unauthenticated:    {status: 401},
}

// failure makes the error that a client is told of how a call ended. What is not a
// *grpc.Status is told as it is. begun says that messages had come.
func (r *rpcs) failure(err error, begun bool) error {
	s, ok := errors.AsType[*grpc.Status](err)
	if !ok || err == io.EOF { //nolint:errorlint // it is returned so
		return err
	}
	a := answer{status: 502}
	if int(s.Code) < len(answers) {
		a = answers[s.Code]
	}
	said := *s
	said.Message = r.secrets.RedactField(s.Message) // services tell which key they did not like; before a part of one is cut off
	e := &llm.Error{
		Fault: llm.Answered, Status: a.status, Type: llm.TypeOf(a.status), Code: codeOf(s.Code), Message: upstream.Clip(said.Message, maxErrorText),
		Upstream: r.name, Unprocessed: a.unread && !begun, Final: !a.unread || begun, Err: &said,
	}
	if begun {
		e.Fault = llm.Told
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("Upstream `%s` ended the call with %s and no explanation.", r.name, s.Code)
	}
	if s.HasRetryDelay {
		e.RetryAfter = s.RetryDelay
	}
	return e
}

// codeOf is the name of a code as OpenAI writes codes.
func codeOf(c grpc.Code) string {
	name := c.String()
	b := make([]byte, 0, len(name)+4)
	for i := range len(name) {
		ch := name[i]
		if 'A' <= ch && ch <= 'Z' {
			if i > 0 {
				b = append(b, '_')
			}
			ch += 'a' - 'A'
		}
		if ch != '(' && ch != ')' {
			b = append(b, ch)
		}
	}
	return string(b)
}

// refused makes the error of a reply whose status is not 200: something in between
// answered, or the server does not speak gRPC.
func (r *rpcs) refused(status int, kind string) error {
	return r.failure(&grpc.Status{Code: grpc.OfHTTP(status), Message: fmt.Sprintf("Upstream `%s` answered with the HTTP status %d and content type %.100q, which is not gRPC.", r.name, status, kind)}, false)
}

// malformed is the error of a reply that breaks the protocol.
func (r *rpcs) malformed(code, what, cause string) error {
	var err error
	if cause != "" {
		err = errors.New(cause)
	}
	return llm.UpstreamError(r.name, llm.BadReply, 502, "upstream_"+code, "Upstream %s "+what, err)
}

// statusOf is the status of HTTP that a code stands for with which a service tells of an
// error: a status itself, a code of gRPC by its number or its name, a type of OpenAI's;
// 502 for any other.
func statusOf(code string) int {
	if n, err := strconv.Atoi(code); err == nil {
		switch {
		case n >= 400 && n <= 599:
			return n
		case n > 0 && n < len(answers):
			return answers[n].status
		}
		return 502
	}
	for _, status := range [...]int{400, 401, 403, 429} {
		if code == llm.TypeOf(status) {
			return status
		}
	}
	plain := strings.ReplaceAll(strings.ToLower(code), "_", "")
	for c := range answers {
		if c > 0 && plain == strings.ToLower(grpc.Code(c).String()) {
			return answers[c].status
		}
	}
	return 502
}

// maxErrorText bounds what is told of an error's own text, in bytes.
const maxErrorText = 4 << 10
