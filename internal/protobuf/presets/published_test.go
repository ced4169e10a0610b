package presets

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// published is what the owners of gemini, vertex and yandex publish as generated Go code. It
// is read and not compiled, which would take longer than all tests of the package.
var published = sync.OnceValues(func() (*protoregistry.Files, error) {
	all := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(structpb.File_google_protobuf_struct_proto),
		protodesc.ToFileDescriptorProto(wrapperspb.File_google_protobuf_wrappers_proto),
	}}
	const yandex = "yandex/cloud/ai/foundation_models/v1"
	for module, folders := range map[string][]string{ // fixed versions: what a newer one has changed should not fail a build
		"cloud.google.com/go/ai@v0.13.0":               {"generativelanguage/apiv1beta/generativelanguagepb"},
		"cloud.google.com/go/aiplatform@v1.127.1":      {"apiv1/aiplatformpb"},
		"github.com/yandex-cloud/go-genproto@v0.138.0": {yandex, yandex + "/embedding", yandex + "/text_generation"},
	} {
		download := exec.Command("go", "mod", "download", "-json", module)
		download.Dir = os.TempDir() // outside of a module, so that none comes to require it
		out, err := download.Output()
		var at struct{ Dir, Error string }
		if jsonErr := json.Unmarshal(out, &at); err != nil || jsonErr != nil || at.Dir == "" {
			return nil, fmt.Errorf("%s: %v %v %s", module, err, jsonErr, at.Error)
		}
		for _, folder := range folders {
			files, err := filepath.Glob(filepath.Join(at.Dir, folder, "*.pb.go"))
			if err != nil || len(files) == 0 {
				return nil, fmt.Errorf("%s: no files in %s: %v", module, folder, err)
			}
			for _, file := range files {
				d, err := descriptor(file)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				if d != nil {
					all.File = append(all.File, d)
				}
			}
		}
	}
	// What no preset has, as annotations, is known by its name.
	return protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(all)
})

// descriptor reads what a generated file has as file_…_rawDesc, a string or a list of bytes.
// It is nil where there is none.
func descriptor(file string) (*descriptorpb.FileDescriptorProto, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, value, ok := strings.Cut(string(text), "_rawDesc = ")
	if !ok {
		return nil, nil
	}
	value, _, _ = strings.Cut(value, "\n\n") // it has no empty line, and one follows it
	e, err := parser.ParseExpr(value)
	if err != nil {
		return nil, err
	}
	var raw []byte
	ast.Inspect(e, func(n ast.Node) bool { // in the order of the text
		l, ok := n.(*ast.BasicLit)
		if !ok {
			return true
		}
		if s, err := strconv.Unquote(l.Value); err == nil {
			raw = append(raw, s...)
		} else if b, err := strconv.ParseUint(l.Value, 0, 8); err == nil {
			raw = append(raw, byte(b))
		}
		return true
	})
	d := new(descriptorpb.FileDescriptorProto)
	return d, proto.Unmarshal(raw, d)
}
