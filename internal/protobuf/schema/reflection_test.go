package schema

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/testkit"
)

// serve starts a gRPC server and gives its address.
func serve(t *testing.T, register func(*grpc.Server), o ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(o...)
	register(s)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

type services map[string]grpc.ServiceInfo

func (s services) GetServiceInfo() map[string]grpc.ServiceInfo { return s }

// shop is what grpc-go's reflection needs to describe the service of testdata.
func shop(t *testing.T) reflection.ServerOptions {
	t.Helper()
	b, err := os.ReadFile("testdata/protoc-3.21.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	var types protoregistry.Types
	files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Extensions().Len() {
			if err := types.RegisterExtension(dynamicpb.NewExtensionType(fd.Extensions().Get(i))); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	return reflection.ServerOptions{
		Services:           services{"shop.v1.Shop": {}, reflectionV1: {}},
		DescriptorResolver: files,
		ExtensionResolver:  &types,
	}
}

func registerV1(o reflection.ServerOptions) func(*grpc.Server) {
	return func(s *grpc.Server) { v1.RegisterServerReflectionServer(s, reflection.NewServerV1(o)) }
}

func registerV1Alpha(o reflection.ServerOptions) func(*grpc.Server) {
	return func(s *grpc.Server) {
		grpc_reflection_v1alpha.RegisterServerReflectionServer(s, reflection.NewServer(o))
	}
}

// What a server tells is what its files say, extensions included, to which no
// service leads.
func TestReflection(t *testing.T) {
	want := load(t, "testdata/protoc-3.21.binpb").Digest
	for name, register := range map[string]func(*grpc.Server){"v1": registerV1(shop(t)), "v1alpha": registerV1Alpha(shop(t))} {
		s := load(t, "grpc://"+serve(t, register))
		if s.Digest != want || len(s.Services()) != 1 {
			t.Errorf("%s: another schema: %s", name, format(t, s))
		}
	}
}

func TestReflectionOverTLS(t *testing.T) {
	cert, pool := certificate(t)
	addr := serve(t, registerV1(shop(t)), grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	src := Source{Name: "s", Locations: []string{"grpcs://" + addr}, TLS: &tls.Config{RootCAs: pool}}
	if _, err := Load(context.Background(), src, Limits{}); err != nil {
		t.Error(err)
	}
	src.TLS = nil
	_, err := Load(context.Background(), src, Limits{})
	refused(t, err, nil, "certificate signed by unknown authority")
	_, err = Load(context.Background(), Source{Name: "s", Locations: []string{"grpc://" + addr}}, Limits{})
	refused(t, err, nil, "Unavailable")
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestReflectionIsAbsent(t *testing.T) {
	_, err := Load(context.Background(), Source{Name: "s", Locations: []string{"grpc://" + serve(t, func(*grpc.Server) {})}}, Limits{})
	refused(t, err, nil, "offers no reflection", "descriptor set")

	_, err = Load(context.Background(), Source{Name: "s", Locations: []string{"grpc://" + testkit.Vacant(t)}}, Limits{})
	refused(t, err, nil, "grpc://127.0.0.1:", "Unavailable", "connection refused")

	o := shop(t)
	o.Services = services{"no.Such": {}}
	_, err = Load(context.Background(), Source{Name: "s", Locations: []string{"grpc://" + serve(t, registerV1(o))}}, Limits{})
	refused(t, err, nil, `does not describe "no.Such"`, "NotFound")
}

// answering is a server whose reflection answers by a function.
func answering(t *testing.T, answer func(*v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error)) Source {
	addr := serve(t, func(*grpc.Server) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		for {
			var q v1.ServerReflectionRequest
			if err := s.RecvMsg(&q); err != nil {
				return err
			}
			reply, err := answer(&q)
			if err != nil {
				return err
			}
			if err := s.SendMsg(reply); err != nil {
				return err
			}
		}
	}))
	return Source{Name: "s", Locations: []string{"grpc://" + addr}}
}

func oneService() *v1.ServerReflectionResponse {
	list := &v1.ListServiceResponse{Service: []*v1.ServiceResponse{{Name: "a.B"}}}
	return &v1.ServerReflectionResponse{MessageResponse: &v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}}
}

func oneFile(path string, imports ...string) *v1.ServerReflectionResponse {
	b, err := proto.Marshal(in(path, "", imports...))
	if err != nil {
		panic(err)
	}
	files := &v1.FileDescriptorResponse{FileDescriptorProto: [][]byte{b}}
	return &v1.ServerReflectionResponse{MessageResponse: &v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: files}}
}

// A server that goes on and on, or lies, ends in an error.
func TestReflectionIsBounded(t *testing.T) {
	var n atomic.Int64
	endless := answering(t, func(q *v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
		if q.GetListServices() != "" {
			return oneService(), nil
		}
		i := n.Add(1)
		return oneFile(fmt.Sprint(i, ".proto"), fmt.Sprint(i+1, ".proto")), nil
	})
	_, err := Load(context.Background(), endless, Limits{MaxFiles: 20})
	refused(t, err, ErrLimit, "files: over a limit of 20")
	n.Store(0)
	_, err = Load(context.Background(), endless, Limits{MaxBytes: 500})
	refused(t, err, ErrLimit, "bytes: over a limit of 500")

	other := answering(t, func(q *v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
		if q.GetListServices() != "" {
			return oneService(), nil
		}
		return oneFile("a.proto", "b.proto"), nil
	})
	_, err = Load(context.Background(), other, Limits{})
	refused(t, err, nil, `another file for "b.proto"`)

	big := answering(t, func(*v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
		return oneFile(string(make([]byte, 10_000))), nil
	})
	_, err = Load(context.Background(), big, Limits{MaxBytes: 5000})
	refused(t, err, nil, "ResourceExhausted", "larger than max")

	long := answering(t, func(*v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
		return nil, status.Error(codes.PermissionDenied, string(make([]byte, 1000))+"end")
	})
	if _, err = Load(context.Background(), long, Limits{}); err == nil || len(err.Error()) > 1000 {
		t.Errorf("%v", err)
	}
}

// A server that does not answer is left when the caller has had enough.
func TestReflectionHangs(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	release := make(chan struct{})
	hang := answering(t, func(*v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
		cancel(enough)
		<-release
		return oneService(), nil
	})
	defer close(release)
	_, err := Load(ctx, hang, Limits{})
	refused(t, err, enough)

	// One that accepts and says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Load(context.Background(), Source{Name: "s", Locations: []string{"grpc://" + l.Addr().String()}}, Limits{Timeout: time.Millisecond})
	refused(t, err, errTimeout)
}
