// Package protobuf turns protobuf messages into ProtoJSON and back without
// building a message: tables that are compiled from a descriptor drive one pass
// over the bytes.
//
// It promises what protojson of google.golang.org/protobuf does: the same
// inputs are taken and refused, and the JSON means the same. It has no spaces,
// and members stand in the order of the wire. Bounds that protojson lacks keep
// a small input from asking for much work; see Limits.
//
// A plain message, one whose fields come once and whose list elements stand
// together, costs no allocation. Others take a second, careful pass, and the
// few parts that no table describes go to protojson itself, which a Plan counts.
package protobuf
