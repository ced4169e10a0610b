package mapping

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestSkeleton: the beginning of a mapping loads, whatever methods it is for, and names
// every field.
func TestSkeleton(t *testing.T) {
	for _, file := range []string{"xai.proto", "invented.proto"} {
		s := schemaOf(t, file)
		for _, service := range s.Services() {
			var all []protoreflect.MethodDescriptor
			for i := range service.Methods().Len() {
				all = append(all, service.Methods().Get(i))
				text := string(Skeleton(Chosen{Methods: all[i:]}))
				if _, err := load(t, s, text); err != nil {
					t.Errorf("%s: %v\n%s", all[i].FullName(), err, text)
				}
				fields := all[i].Input().Fields()
				for k := range fields.Len() {
					if !strings.Contains(text, " "+string(fields.Get(k).Name())+": ") {
						t.Errorf("%s: no %s in\n%s", all[i].FullName(), fields.Get(k).Name(), text)
					}
				}
			}
			if text := string(Skeleton(Chosen{Methods: all})); len(all) > 1 {
				if _, err := load(t, s, text); err != nil {
					t.Errorf("%s: %v\n%s", service.FullName(), err, text)
				}
			}
		}
	}
	m := xai(t)
	text := string(Skeleton(Chosen{Methods: []protoreflect.MethodDescriptor{m.Unary.Method, m.Stream.Method}, Embed: m.Embed.Method}))
	for _, want := range []string{"\n    model: =upstream_model # string\n", "\n    # messages: # repeated xai_api.Message\n    #   $each: x in …\n", "temperature: =req.?temperature # float\n", "  embed:\n    request:",
		// What is read of each of the two replies.
		"\n    # r of call.unary is a xai_api.GetChatCompletionResponse:\n", "\n    #   message: # xai_api.CompletionMessage\n",
		"\n    # r of call.stream is a xai_api.GetChatCompletionChunk:\n", "\n    #   delta: # xai_api.Delta\n", "# - text: {unary: =r.…, stream: =r.…}\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}

	// An abort, and what could be one or embeddings.
	const service = `syntax = "proto3"; package p;
service S { rpc Ask(Q) returns (A); rpc StopIt(Id) returns (A); rpc CancelAsk(Id) returns (A); rpc EmbedMany(Q) returns (A); }
message Q { string model = 1; } message A { string text = 1; } message Id { repeated string request_ids = 1; string reason = 2; }`
	s := declared(t, service)
	methods := s.Services()[0].Methods()
	ask, stop := methods.ByName("Ask"), methods.ByName("StopIt")
	others := []protoreflect.MethodDescriptor{stop, methods.ByName("CancelAsk"), methods.ByName("EmbedMany")}
	for want, o := range map[string]Chosen{
		"\n    abort: p.S/StopIt\n    # embed: p.S/EmbedMany (p.Q) returns (p.A) # with --embed\n":          {Methods: []protoreflect.MethodDescriptor{ask}, Abort: stop, Others: others},
		"\n  abort: # p.Id\n    request_ids: =list(request_id) # repeated string\n    # reason: # string\n": {Methods: []protoreflect.MethodDescriptor{ask}, Abort: stop, Others: others},
		"\n    # abort: p.S/CancelAsk (p.Id) returns (p.A) # with --abort\n":                                {Methods: []protoreflect.MethodDescriptor{ask}, Embed: ask, Others: others},
		"s:\n  call:\n    embed: p.S/Ask\n":                                                                 {Embed: ask},
	} {
		text := string(Skeleton(o))
		if _, err := load(t, s, text); err != nil || !strings.Contains(text, want) {
			t.Errorf("%v, no %q in\n%s", err, want, text)
		}
	}
}
