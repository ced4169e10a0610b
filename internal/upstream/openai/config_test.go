package openai

import (
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
	"sluice/internal/upstream"
)

func TestValidate(t *testing.T) {
	good := Config{BaseURL: "https://h/v1", Headers: map[string]string{"api-key": "x y", "X_1": ""}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		cfg  Config
		want []string
	}{
		{Config{}, []string{"base_url: "}},
		{Config{BaseURL: "ftp://h"}, []string{"base_url: "}},
		{Config{BaseURL: "http://u:pw@h"}, []string{"base_url: it holds a user name"}},
		{Config{BaseURL: "http://h/#x"}, []string{"fragment"}},
		{Config{BaseURL: "http://pw@h:x y"}, []string{"base_url: it is not a URL"}},
		{Config{BaseURL: "http://h", APIKey: llm.NewSecret("a\r\nb")}, []string{"api_key: "}},
		{
			Config{BaseURL: "x", APIKey: llm.NewSecret("k"), Headers: map[string]string{
				"a b": "", "authorization": "x", "HOST": "x", "X-A": "a\nb", "x-a": "",
			}},
			[]string{"base_url", `"a b" is not`, "authorization and api_key", "HOST is set by", "value of X-A", "X-A and x-a are"},
		},
	}
	for i, test := range tests {
		err := test.cfg.Validate()
		if err == nil {
			t.Errorf("%d: no error", i)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%d: no %q in %v", i, want, err)
			}
		}
		if strings.Contains(err.Error(), "pw@") || strings.Contains(err.Error(), ":pw") {
			t.Errorf("%d: tells the password: %v", i, err)
		}
		if _, err := New(test.cfg, "up", nil, upstream.StreamConfig{}); err == nil {
			t.Errorf("%d: New takes it", i)
		}
	}
	for _, s := range []upstream.StreamConfig{{FlushInterval: -1}, {FlushInterval: time.Second}, {MaxEventBytes: -1}} {
		if _, err := New(good, "up", nil, s); err == nil {
			t.Errorf("New takes %+v", s)
		}
	}
}

func TestSecretsOfConfig(t *testing.T) {
	cfg := Config{BaseURL: "https://h/v1?key=in-the-query&api-version=2024", APIKey: llm.NewSecret("sk-1234"), Headers: map[string]string{
		"X-Api-Key": "in-a-header", "X-Custom-Auth": "Basic dXNlcjpwYXNz", "Api-Version": "2024-10",
	}}
	h, err := New(cfg, "up", nil, upstream.StreamConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const text = "in-the-query 2024 sk-1234 in-a-header dXNlcjpwYXNz user:pass pass 2024-10"
	if got := h.secrets.RedactField(text); got != "[redacted] 2024 [redacted] [redacted] [redacted] [redacted] [redacted] 2024-10" {
		t.Error(got)
	}
}
