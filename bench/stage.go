package main

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"sluice/bench/shapes"
	"sluice/internal/codec"
	"sluice/internal/llm"
	"sluice/internal/protobuf/catalog"
)

// chatType is the name of the type of chat.
const chatType = "shapes.Chat"

// newCodec makes a codec that knows the shapes.
func newCodec(change func(*codec.Config)) (*codec.Codec, error) {
	cfg := codec.Default()
	change(&cfg)
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	schemas, err := catalog.New(context.Background(), catalog.Default(), catalog.Options{})
	if err != nil {
		return nil, err
	}
	c, err := codec.New(cfg, codec.Options{Schemas: schemas})
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(shapes.File_shapes_proto)}}
	b, err := proto.Marshal(set)
	if err == nil {
		_, err = c.PutSchema("shapes", "application/x-protobuf", b)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("load schema: %w", err)
	}
	return c, nil
}

// post is a request to the codec as it comes to it from the client's side.
func post(path, query, contentType string, body []byte) *llm.Request {
	return &llm.Request{
		Op: llm.Passthrough, ID: "1", Method: "POST", Path: "/v1/protobuf/" + path, RawQuery: query,
		Header: []llm.Field{{Name: "Content-Type", Value: contentType}}, Body: body, BodyLen: int64(len(body)),
	}
}

// ask sends a request to a stage and gives the reply.
func ask(stage llm.Handler, req *llm.Request) ([]byte, error) {
	var out kept
	err := stage.Serve(context.Background(), req, &out)
	return out, err
}

// kept is a sink that keeps a whole reply, dropped one that does not.
type (
	kept    []byte
	dropped struct{}
)

func (*kept) Start(*llm.Head) error { return nil }

func (k *kept) Send(events []llm.Event) error {
	for _, e := range events {
		*k = append(*k, e.Raw...)
	}
	return nil
}

func (dropped) Start(*llm.Head) error  { return nil }
func (dropped) Send([]llm.Event) error { return nil }
