package schema

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"

	"sluice/internal/grpc"
)

// Source is where a schema is loaded from.
type Source struct {
	Name string
	// Locations are read together: .proto files, folders (all .proto files in
	// them and below), files with a FileDescriptorSet, and gRPC servers with a
	// reflection service, as grpc://host:port or, with TLS, grpcs://host:port.
	Locations []string
	// ImportPaths are folders from which imports are found and files get their
	// paths. A folder among Locations is one too, and so is the folder of a
	// file, unless an import path is above it.
	ImportPaths []string
	// TLS is for grpcs. Nil trusts the system's authorities.
	TLS *tls.Config
	// Header goes with what servers are asked.
	Header map[string]string
}

// Remote reports whether a server has to be asked.
func (src Source) Remote() bool { return slices.ContainsFunc(src.Locations, reflects) }

// reflects reports whether a location is a server with a reflection service.
func reflects(location string) bool {
	scheme, _, ok := strings.Cut(location, "://")
	return ok && (scheme == "grpc" || scheme == "grpcs")
}

// Load loads a schema, in Limits.Timeout and as long as ctx lasts.
func Load(ctx context.Context, src Source, l Limits) (*Schema, error) {
	if err := CheckName(src.Name); err != nil {
		return nil, err
	}
	l = l.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, l.Timeout, errTimeout)
	defer cancel()
	files, err := src.files(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("load schema %q: %w", src.Name, cause(ctx, err))
	}
	s, err := build(ctx, src.Name, files, l)
	if err != nil {
		return nil, fmt.Errorf("load schema %q: %w", src.Name, err)
	}
	return s, nil
}

// files collects what the locations hold.
func (src Source) files(ctx context.Context, l Limits) ([]*descriptorpb.FileDescriptorProto, error) {
	if len(src.Locations) == 0 {
		return nil, errors.New("no location is given")
	}
	var files []*descriptorpb.FileDescriptorProto
	var texts []string
	d := decoder{limits: l}
	for _, location := range src.Locations {
		var more []*descriptorpb.FileDescriptorProto
		var err error
		scheme, target, isURL := strings.Cut(location, "://")
		switch {
		case reflects(location):
			more, err = fromServer(ctx, target, grpc.Options{TLS: credentialsFor(scheme, src.TLS), Header: src.Header}, &d)
		case isURL:
			err = fmt.Errorf("unknown scheme %q: grpc and grpcs are known", scheme)
		case isText(location):
			texts = append(texts, location)
		default:
			more, err = readSet(location, &d)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", location, err)
		}
		files = append(files, more...)
	}
	if len(texts) == 0 {
		return files, nil
	}
	more, err := compileFolders(ctx, texts, src.ImportPaths, l)
	return append(files, more...), err
}

// isText reports whether a location is a folder or a .proto file.
func isText(location string) bool {
	info, err := os.Stat(location)
	return strings.HasSuffix(location, ".proto") || err == nil && info.IsDir()
}

// readSet reads a file with a FileDescriptorSet.
func readSet(name string, d *decoder) ([]*descriptorpb.FileDescriptorProto, error) {
	b, err := readLimited(os.Open, name, d.limits.MaxBytes)
	if err != nil {
		return nil, err
	}
	return d.set(b)
}

// readLimited reads a file that has no more than limit bytes.
func readLimited(open func(string) (*os.File, error), name string, limit int) ([]byte, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = over("bytes", limit)
	}
	return b, err
}
