package protobuf

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// viaProtojson reads a message as protojson does and writes its fields.
func (e *encoder) viaProtojson(m *message) bool {
	m.encoded.Add(1)
	m.plan.fallbacks.add(m.name)
	start := e.i
	if !e.skip(e.maxNest) {
		return false
	}
	if !e.reserve(modelled * (e.i - start)) {
		return e.lacks()
	}
	msg := dynamicpb.NewMessage(m.desc)
	err := protojson.UnmarshalOptions{
		AllowPartial:   e.partial,
		DiscardUnknown: e.discard,
		Resolver:       m.plan.types,
		RecursionLimit: e.maxDepth - e.depth + 1,
	}.Unmarshal(e.in[start:e.i], msg)
	if err != nil {
		return e.fail(start, err.Error())
	}
	if n := proto.Size(msg); e.short(e.out, n) && !e.grow(n) {
		return false
	}
	e.out, err = proto.MarshalOptions{AllowPartial: true, Deterministic: true}.MarshalAppend(e.out, msg)
	if err != nil {
		return e.fail(start, err.Error())
	}
	return e.room()
}
