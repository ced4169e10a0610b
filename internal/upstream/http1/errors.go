package http1

// ProtocolError says that a reply breaks RFC 9112, or a limit, in a way that
// leaves its meaning or its end in doubt. The connection is of no more use.
type ProtocolError struct{ Reason string }

// Error gives the reason.
func (e *ProtocolError) Error() string { return "malformed reply: " + e.Reason }

// RequestError says that a request cannot be put on the wire as it stands.
// Nothing was written, and the connection can take another request.
type RequestError struct{ Reason string }

// Error gives the reason.
func (e *RequestError) Error() string { return "malformed request: " + e.Reason }

// WriteError says that the connection took only a part of a request. The
// upstream may have answered early and closed, so ReadHead is worth a try.
type WriteError struct{ Err error }

// Error gives the cause.
func (e *WriteError) Error() string { return "write request: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// BodyError says that Request.BodyReader failed, or ended before BodyLen. The
// upstream has a request without an end: the connection must be closed.
type BodyError struct{ Err error }

// Error gives the cause.
func (e *BodyError) Error() string { return "read request body: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }
