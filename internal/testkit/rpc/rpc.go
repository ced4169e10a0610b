// Package rpc is servers of gRPC for tests, by the implementation that everybody uses.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // the server takes and sends it
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/protobuf/schema"
)

// Call is one that a server of gRPC has received.
type Call struct {
	grpc.ServerStream
	Method   string // as package.Service/Method
	Request  string // its first message, as JSON
	Metadata metadata.MD

	output protoreflect.MessageDescriptor
}

// Reply sends a message that is given as JSON.
func (r *Call) Reply(json string) error {
	m := dynamicpb.NewMessage(r.output)
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return r.SendMsg(&b)
}

// HalfClosed waits until the client has said all that it had to say.
func (r *Call) HalfClosed() error {
	var more []byte
	err := r.RecvMsg(&more)
	if err == nil {
		return status.Error(codes.InvalidArgument, "a second message")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Serve runs a server of gRPC, of another implementation than Sluice's, for the services
// that some .proto files declare, until the test ends. It tells of itself by reflection.
func Serve(t testing.TB, serve func(*Call) error, files ...string) (addr string) {
	t.Helper()
	declared, err := schema.Load(t.Context(), schema.Source{Name: "served", Locations: files}, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	methods := make(map[string]protoreflect.MethodDescriptor)
	services := make(map[string]grpc.ServiceInfo)
	for _, s := range declared.Services() {
		services[string(s.FullName())] = grpc.ServiceInfo{}
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			methods[string(s.FullName())+"/"+string(m.Name())] = m
		}
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		path, _ := grpc.MethodFromServerStream(stream)
		r := &Call{ServerStream: stream, Method: strings.TrimPrefix(path, "/")}
		m := methods[r.Method]
		if m == nil {
			return status.Error(codes.Unimplemented, "unknown method "+r.Method)
		}
		r.output = m.Output()
		r.Metadata, _ = metadata.FromIncomingContext(stream.Context())
		var first []byte
		if err := stream.RecvMsg(&first); err != nil {
			return err
		}
		in := dynamicpb.NewMessage(m.Input())
		if err := proto.Unmarshal(first, in); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		r.Request = protojson.MarshalOptions{UseProtoNames: true}.Format(in)
		return serve(r)
	}))
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(declared.Descriptors(), set); err != nil {
		t.Fatal(err)
	}
	reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(reflection.ServerOptions{
		Services: infos(services), DescriptorResolver: resolver(t, set),
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-ended })
	return l.Addr().String()
}

// infos are the services that a server tells of.
type infos map[string]grpc.ServiceInfo

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (i infos) GetServiceInfo() map[string]grpc.ServiceInfo { return i }

// resolver finds the files of a set, and standard ones.
func resolver(t testing.TB, set *descriptorpb.FileDescriptorSet) protodesc.Resolver {
	t.Helper()
	files := new(protoregistry.Files)
	var add func(name string)
	byName := make(map[string]*descriptorpb.FileDescriptorProto)
	for _, f := range set.GetFile() {
		byName[f.GetName()] = f
	}
	add = func(name string) {
		f := byName[name]
		if _, err := files.FindFileByPath(name); err == nil {
			return
		}
		if f == nil {
			std, err := protoregistry.GlobalFiles.FindFileByPath(name)
			if err == nil {
				err = files.RegisterFile(std)
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		for _, d := range f.GetDependency() {
			add(d)
		}
		fd, err := protodesc.NewFile(f, files)
		if err == nil {
			err = files.RegisterFile(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range set.GetFile() {
		add(f.GetName())
	}
	return files
}

// rawCodec leaves messages as the bytes that they are, but for those that are of
// generated types.
type rawCodec struct{}

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *[]byte:
		return mem.BufferSlice{mem.SliceBuffer(*v)}, nil
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("a %T is no message", v)
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = data.Materialize()
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), v)
	}
	return fmt.Errorf("a %T is no message", v)
}

// Wait returns when the call is over for its client, which is when it has left.
func (r *Call) Wait() error {
	<-r.Context().Done()
	return context.Cause(r.Context())
}
