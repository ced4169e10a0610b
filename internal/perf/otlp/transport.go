package otlp

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

const (
	// SchemaURL is the version of the semantic conventions that names of spans and
	// metrics are of: the last one with GenAI in it, which has moved out since. The
	// resource has the version of the SDK that finds it out.
	SchemaURL = "https://opentelemetry.io/schemas/1.41.0"

	// scope is the instrumentation scope of all that is sent.
	scope = "sluice"
)

func traceClient(p Protocol) otlptrace.Client {
	if p == GRPC {
		return otlptracegrpc.NewClient()
	}
	// Spans are written as protobuf right away, so that JSON is no choice.
	return otlptracehttp.NewClient(otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf))
}

func metricExporter(p Protocol) (metric.Exporter, error) {
	if p == GRPC {
		return otlpmetricgrpc.New(context.Background())
	}
	return otlpmetrichttp.New(context.Background())
}

// describe says what sends: this process, and what OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME say, which win. The instance's id is random, so that the
// counters of several gateways are not taken for one's. With an error the resource
// has what could be found.
func describe(version string) (*resource.Resource, error) {
	r, err := resource.New(context.Background(),
		resource.WithService(),
		resource.WithAttributes(attribute.String("service.name", "sluice"), attribute.String("service.version", version)),
		resource.WithHost(),
		resource.WithProcessPID(),
		resource.WithFromEnv(),
	)
	if r == nil {
		r = resource.Empty()
	}
	return r, err
}

// resourceProto gives a resource as spans have it.
func resourceProto(r *resource.Resource) *resourcepb.Resource {
	out := &resourcepb.Resource{}
	for i := r.Iter(); i.Next(); {
		kv := i.Attribute()
		v := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: kv.Value.String()}}
		if kv.Value.Type() == attribute.INT64 {
			v.Value = &commonpb.AnyValue_IntValue{IntValue: kv.Value.AsInt64()}
		}
		out.Attributes = append(out.Attributes, &commonpb.KeyValue{Key: string(kv.Key), Value: v})
	}
	return out
}
