// Package schema keeps the protobuf schemas that the gateway speaks: message
// types and services, loaded while it runs and without generated code.
//
// A schema comes from .proto files and folders, from a FileDescriptorSet, from
// the reflection service of a gRPC server, or from an upload. Whatever it comes
// from, it becomes one canonical descriptor set, whose SHA-256 is its digest:
// schemas that mean the same have the same digest, and a cache that has the
// digest in its keys never mixes up two versions of a type.
//
// A schema may come from anyone. So it is measured before it is compiled, its
// imports lead nowhere outside of it, and what a compiler does with hostile
// text (deep nesting, names that multiply, a panic) ends in an error.
//
// The files that come with protoc (google/protobuf/*.proto) are the gateway's
// own everywhere: a schema that brings copies of them has the copies left out.
package schema
