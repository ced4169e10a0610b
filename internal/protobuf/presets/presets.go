// Package presets holds mappings for services that many use, each with the part of the
// service's schema that it needs; docs/presets.md says what each can do.
//
// It promises that every preset loads, and that the names and numbers of its schema are
// those of the service, as its test compares them with what the service's owner
// publishes where a Go module does.
package presets

import (
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strings"

	"sluice/internal/nearest"
	"sluice/internal/protobuf/mapping"
	"sluice/internal/protobuf/schema"
)

// Each preset is NAME.yaml and NAME.proto, or the file that sharing names. They are written
// for Sluice: of a service they have what the mapping uses and what stands near it.
//
//go:embed files/*.yaml files/*.proto
var files embed.FS

// Names are the names of all presets, sorted.
func Names() []string {
	list, _ := files.ReadDir("files")
	var names []string
	for _, f := range list {
		if name, ok := strings.CutSuffix(f.Name(), ".yaml"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// sharing are presets of one service, and the name of its schema.
var sharing = map[string]string{"open-inference": "inference", "triton-vllm": "inference"} //nolint:gochecknoglobals // a table that nobody writes

// tokensOnly are services that people look for here, whose messages have the ids of
// tokens and no text.
var tokensOnly = map[string]string{ //nolint:gochecknoglobals // a table that nobody writes
	"vllm-engine":      "vllm.grpc.engine.VllmEngine; vllm has vLLM's service with text",
	"sglang-scheduler": "sglang.grpc.scheduler.SglangScheduler; sglang has SGLang's service with text",
	"trtllm":           "trtllm.TrtllmService; triton-vllm shows how a model behind Triton is asked with text",
}

// Preset is a mapping with its schema, as texts.
type Preset struct {
	Name    string
	Mapping []byte // YAML, of one mapping that has the preset's name
	Schema  []byte // a .proto file that imports standard files only
}

// Get finds a preset. The error for an unknown name names the nearest, and that for a
// service whose messages have ids of tokens alone says why there can be none.
func Get(name string) (*Preset, error) {
	if of, ok := tokensOnly[name]; ok {
		return nil, fmt.Errorf("there is no preset %q: that service takes and gives ids of tokens, which only the model's own tokenizer can make of text (%s)", name, of)
	}
	names := Names()
	if !slices.Contains(names, name) {
		if near := nearest.Name(name, names); near != "" {
			return nil, fmt.Errorf("there is no preset %.200q; did you mean %q?", name, near)
		}
		return nil, fmt.Errorf("there is no preset %.200q; known are %s", name, strings.Join(names, ", "))
	}
	p := &Preset{Name: name}
	var err error
	if p.Mapping, err = files.ReadFile("files/" + name + ".yaml"); err == nil {
		p.Schema, err = files.ReadFile("files/" + cmp.Or(sharing[name], name) + ".proto")
	}
	if err != nil {
		return nil, fmt.Errorf("preset %s: %w", name, err)
	}
	return p, nil
}

// Load compiles a preset: some milliseconds, and nothing is kept.
func Load(name string) (*mapping.Mapping, *schema.Schema, error) {
	p, err := Get(name)
	if err != nil {
		return nil, nil, err
	}
	s, err := schema.Parse(name, "text/plain", p.Schema, schema.Limits{})
	if err != nil {
		return nil, nil, fmt.Errorf("preset %s: %w", name, err)
	}
	list, err := mapping.Load(name+".yaml", p.Mapping, func(string) (mapping.Schema, error) { return s, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("preset %s: %w", name, err)
	}
	return list[0], s, nil
}
