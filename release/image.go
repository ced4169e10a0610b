package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// image writes NAME.image.tar, which docker load and podman load take: what the last
// stage of the Dockerfile makes, without Docker. Certificates are those of Mozilla's
// list that Go's developers hand out, not this machine's.
func (r *release) image(file, goarch, binary string) error {
	config, err := r.dockerfile()
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	if err := r.tar(&layer, imageFiles(binary)); err != nil {
		return err
	}
	content, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	}, tarball.WithCompressionLevel(9))
	if err != nil {
		return err
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: content, History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "sluice release"}})
	if err != nil {
		return err
	}
	base, err := img.ConfigFile()
	if err != nil {
		return err
	}
	base = base.DeepCopy()
	base.OS, base.Architecture, base.Created, base.Config = "linux", goarch, v1.Time{Time: r.time}, *config
	if img, err = mutate.ConfigFile(img, base); err != nil {
		return err
	}
	// A tag has no "+", which a version may have.
	tag, err := name.NewTag("sluice:" + strings.ReplaceAll(r.version, "+", "-"))
	if err != nil {
		return err
	}
	return r.write(file+".image.tar", func(w io.Writer) error { return tarball.Write(tag, img, w) })
}

// imageFiles are what an image holds.
func imageFiles(binary string) []file {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil { // those with one are trusted only for some certificates, which a list cannot say
			_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	folder := func(name string, mode fs.FileMode) file { return file{name: name, mode: fs.ModeDir | mode} }
	return []file{
		folder("etc/", 0o755), folder("etc/ssl/", 0o755), folder("etc/ssl/certs/", 0o755),
		{name: "etc/ssl/certs/ca-certificates.crt", text: roots.Bytes(), mode: 0o644},
		{name: "sluice", from: binary, mode: 0o755},
		folder("tmp/", 0o777|fs.ModeSticky), folder("var/", 0o755), folder("var/tmp/", 0o777|fs.ModeSticky),
	}
}

// dockerfile reads how an image is run from the last stage of the Dockerfile.
func (r *release) dockerfile() (*v1.Config, error) {
	text, err := os.Open(filepath.Join(r.root, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = text.Close() }()
	parsed, err := parser.Parse(text)
	if err != nil {
		return nil, err
	}
	warnings := parsed.Warnings
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) {
		warnings = append(warnings, parser.Warning{Short: rule + ": " + message})
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		return nil, fmt.Errorf("Dockerfile: %s", w.Short)
	}
	c := &v1.Config{Env: []string{"PATH=" + path}}
	for _, command := range stages[len(stages)-1].Commands {
		switch i := command.(type) {
		case *instructions.UserCommand:
			c.User = i.User
		case *instructions.EnvCommand:
			for _, e := range i.Env {
				c.Env = append(c.Env, e.String())
			}
		case *instructions.ExposeCommand:
			c.ExposedPorts = map[string]struct{}{}
			for _, port := range i.Ports {
				c.ExposedPorts[port+"/tcp"] = struct{}{}
			}
		case *instructions.EntrypointCommand:
			c.Entrypoint = i.CmdLine
		case *instructions.CmdCommand:
			c.Cmd = i.CmdLine
		case *instructions.HealthCheckCommand:
			c.Healthcheck = &v1.HealthConfig{Test: i.Health.Test, Interval: i.Health.Interval, Timeout: i.Health.Timeout, StartPeriod: i.Health.StartPeriod, Retries: i.Health.Retries}
		case *instructions.CopyCommand: // imageFiles
		default:
			return nil, fmt.Errorf("Dockerfile: %s is not understood", command.Name())
		}
	}
	return c, nil
}

// path is what Docker sets where a Dockerfile does not.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
