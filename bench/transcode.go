package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/protobuf"
)

// transcoder turns messages of one type into JSON and back. It appends to memory
// that is there.
type transcoder struct {
	name           string
	decode, encode func(dst, input []byte) ([]byte, error)
}

// transcoders are Sluice's and those that it is compared with. They make a
// message object, whose type is known when the program starts or when it is
// built.
func transcoders(m proto.Message) ([]transcoder, error) {
	md := m.ProtoReflect().Descriptor()
	plan, err := protobuf.Compile(md, protoregistry.GlobalTypes)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", md.FullName(), err)
	}
	return []transcoder{
		{
			name: "sluice",
			decode: func(dst, wire []byte) ([]byte, error) {
				return plan.AppendJSON(dst, wire, protobuf.Options{}, protobuf.Limits{})
			},
			encode: func(dst, json []byte) ([]byte, error) {
				return plan.AppendWire(dst, json, protobuf.Options{}, protobuf.Limits{})
			},
		},
		throughObject("dynamicpb + protojson", dynamicpb.NewMessageType(md)),
		throughObject("generated + protojson", m.ProtoReflect().Type()),
	}, nil
}

func throughObject(name string, mt protoreflect.MessageType) transcoder {
	return transcoder{
		name: name,
		decode: func(dst, wire []byte) ([]byte, error) {
			m := mt.New().Interface()
			if err := proto.Unmarshal(wire, m); err != nil {
				return dst, err
			}
			return protojson.MarshalOptions{}.MarshalAppend(dst, m)
		},
		encode: func(dst, json []byte) ([]byte, error) {
			m := mt.New().Interface()
			if err := protojson.Unmarshal(json, m); err != nil {
				return dst, err
			}
			return proto.MarshalOptions{}.MarshalAppend(dst, m)
		},
	}
}

// forms gives a message's wire form and its JSON without spaces.
func forms(m proto.Message) (wire, text []byte, err error) {
	if wire, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
		return nil, nil, err
	}
	spaced, err := protojson.Marshal(m)
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, spaced) // protojson puts spaces at random
	return wire, b.Bytes(), err
}

// agrees makes sure that a transcoder does what it is measured at.
func (t *transcoder) agrees(m proto.Message, wire, text []byte) error {
	out, err := t.decode(nil, wire)
	if err != nil {
		return fmt.Errorf("%s: decode: %w", t.name, err)
	}
	if !sameJSON(out, text) {
		return fmt.Errorf("%s decodes another message: %s", t.name, out[:min(len(out), 400)])
	}
	if out, err = t.encode(nil, text); err != nil {
		return fmt.Errorf("%s: encode: %w", t.name, err)
	}
	back := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(out, back); err != nil || !proto.Equal(back, m) {
		return fmt.Errorf("%s encodes another message: %w", t.name, err)
	}
	return nil
}

// sameJSON reports whether two texts are JSON and mean the same.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func geometricMean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += math.Log(x)
	}
	return math.Exp(sum / float64(len(v)))
}
