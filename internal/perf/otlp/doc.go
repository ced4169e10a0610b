// Package otlp sends traces and metrics to an OpenTelemetry collector, when
// OpenTelemetry's environment variables name one.
//
// It promises that the collector costs requests nothing, whatever it does: a
// request's spans are written to a bounded buffer, without an allocation and in
// less than a microsecond, and what does not fit is dropped and counted. Spans say
// how a request went and never what was in it.
//
// The variables mean what they mean to OpenTelemetry's own exporters, without
// which this does: docs/decisions/0027-what-the-binary-carries.md says why. Names
// are those of OpenTelemetry's semantic conventions, as of SchemaURL, where these
// have one.
package otlp
