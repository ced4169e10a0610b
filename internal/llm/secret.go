package llm

import "log/slog"

// Secret is a string that prints as "[redacted]" everywhere: in logs, errors,
// YAML and JSON. Reveal gives the text.
type Secret struct{ text string }

const redacted = "[redacted]"

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the secret text.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == "" }

// String returns "[redacted]", or "" when there is no secret.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// GoString is String, so that %#v tells nothing either.
func (s Secret) GoString() string { return s.String() }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as the secret.
func (s *Secret) UnmarshalText(b []byte) error {
	s.text = string(b)
	return nil
}
