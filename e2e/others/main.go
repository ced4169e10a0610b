// Command others serves gRPC services that others wrote, for the tests of e2e: that of
// grpc-go's interoperability tests, and etcd's. It is a module of its own, with the servers
// of ConnectRPC's conformance suite as tools, so that Sluice needs none of them. It writes
// its address, and then a line for each call of a stream: the method and how it ended. It
// ends with its standard input. Its arguments, if any, are the files of a certificate and
// its key: it then wants TLS, and that certificate from clients too.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // replies are compressed as their requests are
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// age is when a connection is told to go away: several times during the tests.
const age = 300 * time.Millisecond

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options := []grpc.ServerOption{grpc.StreamInterceptor(tell), grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age})}
	if len(os.Args) > 2 {
		secure, err := mutual(os.Args[1], os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		options = append(options, secure)
	}
	s := grpc.NewServer(options...)
	grpc_testing.RegisterTestServiceServer(s, interop.NewTestServer())
	etcdserverpb.RegisterKVServer(s, keys{})
	etcdserverpb.RegisterWatchServer(s, etcdserverpb.UnimplementedWatchServer{})
	etcdserverpb.RegisterLeaseServer(s, etcdserverpb.UnimplementedLeaseServer{})
	etcdserverpb.RegisterClusterServer(s, etcdserverpb.UnimplementedClusterServer{})
	etcdserverpb.RegisterMaintenanceServer(s, etcdserverpb.UnimplementedMaintenanceServer{})
	etcdserverpb.RegisterAuthServer(s, etcdserverpb.UnimplementedAuthServer{})
	reflection.Register(s)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		s.Stop()
	}()
	fmt.Println(l.Addr())
	if err := s.Serve(l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func mutual(cert, key string) (grpc.ServerOption, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AddCert(pair.Leaf)
	return grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients})), nil
}

func tell(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	err := h(srv, stream)
	fmt.Println(info.FullMethod, status.Code(err))
	return err
}

// keys has a value for every key.
type keys struct {
	etcdserverpb.UnimplementedKVServer
}

func (keys) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	kv := &mvccpb.KeyValue{Key: r.Key, Value: append([]byte("value of "), r.Key...), Version: r.Revision}
	return &etcdserverpb.RangeResponse{Kvs: []*mvccpb.KeyValue{kv}, Count: 1}, nil
}
