package schema

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The reflection service has two names for one protocol: the messages of
// v1alpha are those of v1.
const (
	reflectionV1      = "grpc.reflection.v1.ServerReflection"
	reflectionV1Alpha = "grpc.reflection.v1alpha.ServerReflection"
)

// credentialsFor gives those of a scheme, grpc or grpcs.
func credentialsFor(scheme string, c *tls.Config) credentials.TransportCredentials {
	if scheme == "grpc" {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(c)
}

// reflected is what a server has told of its files. They are kept as it sent
// them, so that the digest is that of the files they were made of.
type reflected struct {
	stream  grpc.ClientStream
	decoder *decoder
	files   []*descriptorpb.FileDescriptorProto
	have    map[string]bool // paths
	asked   int             // extensions
}

// fromServer asks a server for the files of all its services, but those of
// reflection itself.
func fromServer(ctx context.Context, target string, c credentials.TransportCredentials, d *decoder) ([]*descriptorpb.FileDescriptorProto, error) {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(c), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(d.limits.MaxBytes)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	r := &reflected{decoder: d, have: map[string]bool{}}
	services, err := r.open(ctx, conn)
	for i := 0; i < len(services) && err == nil; i++ {
		if name := services[i].GetName(); !strings.HasPrefix(name, "grpc.reflection.") {
			err = r.ask(&pb.ServerReflectionRequest{MessageRequest: &pb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
		}
	}
	if err == nil {
		err = r.rest()
	}
	if err != nil {
		return nil, explain(ctx, err)
	}
	return r.files, nil
}

// explain makes a status an error that says when it is the time that is up.
func explain(ctx context.Context, err error) error {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.Code() == codes.Unimplemented:
		return errors.New("the server offers no reflection: load its .proto files or a descriptor set")
	}
	return fmt.Errorf("reflection: %s: %.200s", s.Code(), s.Message())
}

// open begins a stream of the version that the server speaks, and lists the
// services.
func (r *reflected) open(ctx context.Context, conn *grpc.ClientConn) ([]*pb.ServiceResponse, error) {
	list := &pb.ServerReflectionRequest{MessageRequest: &pb.ServerReflectionRequest_ListServices{ListServices: "*"}}
	var first error
	for _, version := range []string{reflectionV1, reflectionV1Alpha} {
		both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		stream, err := conn.NewStream(ctx, both, "/"+version+"/ServerReflectionInfo")
		if err != nil {
			return nil, err
		}
		r.stream = stream
		reply, err := r.call(list)
		if err == nil {
			services := reply.GetListServicesResponse().GetService()
			if len(services) > r.decoder.limits.MaxMessages {
				return nil, over("services", r.decoder.limits.MaxMessages)
			}
			return services, nil
		}
		if first = cmp.Or(first, err); status.Code(err) != codes.Unimplemented {
			return nil, err
		}
	}
	return nil, first
}

// call asks one question.
func (r *reflected) call(q *pb.ServerReflectionRequest) (*pb.ServerReflectionResponse, error) {
	// Where sending fails, receiving says why.
	if err := r.stream.SendMsg(q); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	reply := &pb.ServerReflectionResponse{}
	if err := r.stream.RecvMsg(reply); err != nil {
		return nil, err
	}
	if e := reply.GetErrorResponse(); e != nil {
		return nil, &refusal{q, codes.Code(e.GetErrorCode()), e.GetErrorMessage()}
	}
	return reply, nil
}

// refusal is a question that the server has no answer to.
type refusal struct {
	question *pb.ServerReflectionRequest
	code     codes.Code
	message  string
}

func (e *refusal) Error() string {
	what := cmp.Or(e.question.GetFileContainingSymbol(), e.question.GetFileByFilename(), "its services")
	return fmt.Sprintf("the server does not describe %.200q: %s: %.200s", what, e.code, e.message)
}

// ask asks for files, and keeps those that are new.
func (r *reflected) ask(q *pb.ServerReflectionRequest) error {
	reply, err := r.call(q)
	if err != nil {
		return err
	}
	for _, b := range reply.GetFileDescriptorResponse().GetFileDescriptorProto() {
		name := pathOf(b)
		if _, ok := standard(name); ok || r.have[name] {
			continue
		}
		f, err := r.decoder.file(b)
		if err != nil {
			return fmt.Errorf("%.200s: %w", name, err)
		}
		r.have[name] = true
		r.files = append(r.files, f)
	}
	return nil
}

// pathOf reads the path of a FileDescriptorProto and nothing else.
func pathOf(b []byte) (path string) {
	const nameField = 1
	_ = eachField(b, func(number protowire.Number, _, content []byte) error {
		if number == nameField {
			path = string(content)
		}
		return nil
	})
	return path
}

// rest asks for imports that did not come along, and for extensions.
func (r *reflected) rest() error {
	for i := 0; i < len(r.files); i++ { // it grows
		for _, path := range r.files[i].GetDependency() {
			if _, ok := standard(path); ok || r.have[path] {
				continue
			}
			err := r.ask(&pb.ServerReflectionRequest{MessageRequest: &pb.ServerReflectionRequest_FileByFilename{FileByFilename: path}})
			if err != nil {
				return err
			}
			if !r.have[path] {
				return fmt.Errorf("the server sent another file for %.200q", path)
			}
		}
		if err := r.extensions(r.files[i].GetMessageType(), r.files[i].GetPackage()); err != nil {
			return err
		}
	}
	return nil
}

// extensions asks for the files that extend those messages. No service refers
// to them.
func (r *reflected) extensions(list []*descriptorpb.DescriptorProto, in string) error {
	for _, m := range list {
		name := strings.TrimPrefix(in+"."+m.GetName(), ".")
		if len(m.GetExtensionRange()) > 0 {
			if err := r.extending(name); err != nil {
				return err
			}
		}
		if err := r.extensions(m.GetNestedType(), name); err != nil {
			return err
		}
	}
	return nil
}

func (r *reflected) extending(name string) error {
	reply, err := r.call(&pb.ServerReflectionRequest{MessageRequest: &pb.ServerReflectionRequest_AllExtensionNumbersOfType{AllExtensionNumbersOfType: name}})
	var none *refusal
	if errors.As(err, &none) {
		return nil // not every server can tell
	}
	if err != nil {
		return err
	}
	numbers := reply.GetAllExtensionNumbersResponse().GetExtensionNumber()
	if r.asked += len(numbers); r.asked > r.decoder.limits.MaxFields {
		return over("extensions", r.decoder.limits.MaxFields)
	}
	for _, number := range numbers {
		err := r.ask(&pb.ServerReflectionRequest{MessageRequest: &pb.ServerReflectionRequest_FileContainingExtension{
			FileContainingExtension: &pb.ExtensionRequest{ContainingType: name, ExtensionNumber: number},
		}})
		if err != nil && !errors.As(err, &none) {
			return err
		}
	}
	return nil
}
