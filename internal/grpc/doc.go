// Package grpc makes calls to gRPC servers: what telemetry and reflection need of
// the protocol, which is calls and streams whose messages are bytes, over HTTP/2.
//
// It follows "gRPC over HTTP2" (PROTOCOL-HTTP2.md of gRPC) and its mapping of HTTP
// status codes. There is no balancing among a name's addresses, no service
// configuration and no retry: who calls knows better what may be repeated.
package grpc
