//go:build !race

package known

import (
	"testing"

	"sluice/internal/dialect"
	"sluice/internal/llm"
)

// TestShapes: each dialect of conversations says where its texts stand, and what it says can be
// read.
func TestShapes(t *testing.T) {
	for op := range llm.Operations {
		s := ShapeOf(op)
		if (s != nil) != (Of(op) != nil) {
			t.Errorf("%v has a dialect or a shape, and not both", op)
		}
		if s == nil {
			continue
		}
		if s.Noun == "" || s.Name(dialect.ListMember) == "" || (s.Name(dialect.PromptMember) == "") != (s.Prompt == "") {
			t.Errorf("%v does not say what its messages are called", op)
		}
		for _, want := range []dialect.Word{dialect.ByUser, dialect.ByModel, dialect.BySystem} {
			found := false
			for _, role := range []string{`"user"`, `"assistant"`, `"model"`, `"system"`} {
				found = found || s.IsText(dialect.Roles, []byte(role)) == want
			}
			if !found {
				t.Errorf("%v has no role of the %v's", op, want)
			}
		}
		if s.IsText(dialect.MessageTypes, nil) != dialect.SaidElement || s.Is(dialect.InPart, []byte("text")) != dialect.TextMember || s.Typed() != (s.IsText(dialect.PartTypes, []byte(`"text"`)) == dialect.TextMember) {
			t.Errorf("%v does not say where a text stands", op)
		}
		for _, odd := range []string{`1`, `null`, `["user"]`, `""x`, `"`, `"tex"`} {
			if s.IsText(dialect.PartTypes, []byte(odd)) != 0 || s.IsText(dialect.Roles, []byte(odd)) != 0 {
				t.Errorf("%v knows what %s is", op, odd)
			}
		}
	}
	for _, odd := range []string{"message text=hologram", "room text=text"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is read", odd)
				}
			}()
			new(dialect.Shape).Described(odd)
		}()
	}
}
