package grpc

import (
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice/internal/protobuf/fields"
)

// Code says how a call ended. The values are gRPC's ("Status codes and their use in
// gRPC").
type Code uint32

// The codes that there are.
const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

// String gives the code's name, or its number.
func (c Code) String() string {
	names := [...]string{
		"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
		"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss",
		"Unauthenticated",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("Code(%d)", uint32(c))
}

// Status is how a call ended that did not end well: as the server said, or as it
// looked from here.
type Status struct {
	Code    Code
	Message string

	// RetryDelay is how long the server wants to be left alone before the call is
	// repeated (google.rpc.RetryInfo), where it said so.
	RetryDelay    time.Duration
	HasRetryDelay bool
}

func (s *Status) Error() string { return fmt.Sprintf("%s: %s", s.Code, s.Message) }

// StatusField is the field that says how a call ended. A head that has it is the whole
// reply.
const StatusField = "Grpc-Status"

const (
	messageField = "Grpc-Message"
	detailsField = "Grpc-Status-Details-Bin"
)

// ended gives io.EOF where a call ended well.
func ended(resp *http.Response) error {
	end := resp.Trailer
	if end.Get(StatusField) == "" {
		end = resp.Header // a reply that is over with its head
	}
	return Ended(end.Get)
}

// Ended reads how a call ended from the trailers, or the head of a reply that has nothing
// else: io.EOF where that was well, else a *Status. get gives the value of a field, by
// its canonical name, "" for none.
func Ended(get func(name string) string) error {
	code, err := strconv.ParseUint(get(StatusField), 10, 32)
	if err != nil {
		return &Status{Code: Internal, Message: "the reply ends without a status"}
	}
	if Code(code) == OK {
		return io.EOF
	}
	s := &Status{Code: Code(code), Message: unescape(get(messageField))}
	if details, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(get(detailsField), "=")); err == nil {
		s.RetryDelay, s.HasRetryDelay = retryDelay(details)
	}
	return s
}

// unescape decodes a percent-encoded message. What is no code stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

// retryDelay finds a RetryInfo among the details of a google.rpc.Status.
func retryDelay(status []byte) (d time.Duration, ok bool) {
	const details, anyType, anyValue, delay = 3, 1, 2, 1
	_ = fields.Each(status, func(number protowire.Number, _, detail []byte) error {
		if number != details {
			return nil
		}
		var name, value []byte
		_ = fields.Each(detail, func(number protowire.Number, _, b []byte) error {
			switch number {
			case anyType:
				name = b
			case anyValue:
				value = b
			}
			return nil
		})
		if !strings.HasSuffix(string(name), "/google.rpc.RetryInfo") {
			return nil
		}
		ok = true
		return fields.Each(value, func(number protowire.Number, _, b []byte) error {
			if number == delay {
				d = duration(b)
			}
			return nil
		})
	})
	return d, ok
}

// duration reads a google.protobuf.Duration; one that is below zero is none.
func duration(b []byte) time.Duration {
	const seconds, nanos = 1, 2
	var s, n int64
	_ = fields.Each(b, func(number protowire.Number, field, _ []byte) error {
		switch v, ok := fields.Varint(field); {
		case number == seconds && ok:
			s = int64(v)
		case number == nanos && ok:
			n = int64(v)
		}
		return nil
	})
	s = min(max(s, 0), math.MaxInt64/int64(time.Second)-1)
	return time.Duration(s)*time.Second + time.Duration(min(max(n, 0), int64(time.Second)-1))
}

// OfHTTP gives the code that a status of HTTP stands for where there is none of
// gRPC ("HTTP to gRPC Status Code Mapping").
func OfHTTP(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return Internal
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return PermissionDenied
	case http.StatusNotFound:
		return Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unavailable
	default:
		return Unknown
	}
}

// ParseStatus reads a google.rpc.Status, which services send as the body of an error. It
// is false for what has no code.
func ParseStatus(b []byte) (s *Status, ok bool) {
	const codeField, messageText = 1, 2
	s = new(Status)
	err := fields.Each(b, func(number protowire.Number, field, content []byte) error {
		switch number {
		case codeField:
			if v, is := fields.Varint(field); is {
				s.Code = Code(min(v, math.MaxInt32))
			}
		case messageText:
			s.Message = strings.ToValidUTF8(string(content), "\ufffd")
		}
		return nil
	})
	if err != nil || s.Code == OK {
		return nil, false
	}
	s.RetryDelay, s.HasRetryDelay = retryDelay(b)
	return s, true
}
