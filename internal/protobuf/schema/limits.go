package schema

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What errors.Is finds in the errors of this package, so that an edge can give
// each its status.
var (
	ErrLimit       = errors.New("over a limit")             // a schema is too large
	ErrFull        = errors.New("no room for more schemas") // a registry is
	ErrUnknown     = errors.New("unknown")                  // no such schema or message
	ErrAmbiguous   = errors.New("ambiguous")                // a message is in several schemas
	ErrConfigured  = errors.New("is configured")            // an upload must not replace it
	ErrContentType = errors.New("unsupported content type") // of an upload
)

// Limits bound one schema. Zero means the default, which is in brackets.
type Limits struct {
	MaxBytes       int // of its texts or descriptors [4 MiB]
	MaxFiles       int // without the standard ones [1000]
	MaxMessages    int // messages, enums and services [10,000]
	MaxFields      int // fields, extensions, enum values and methods [50,000]
	MaxImportDepth int // files in the longest chain of imports [64]
	// Timeout is for loading and compiling [10 s]. A text being parsed when it
	// ends is parsed to its end unwatched, which its size bounds.
	Timeout time.Duration
}

func (l Limits) withDefaults() Limits {
	return Limits{
		MaxBytes:       cmp.Or(l.MaxBytes, 4<<20),
		MaxFiles:       cmp.Or(l.MaxFiles, 1000),
		MaxMessages:    cmp.Or(l.MaxMessages, 10_000),
		MaxFields:      cmp.Or(l.MaxFields, 50_000),
		MaxImportDepth: cmp.Or(l.MaxImportDepth, 64),
		Timeout:        cmp.Or(l.Timeout, 10*time.Second),
	}
}

// maxSet is what a schema's descriptors may have: a text grows when its names
// become full.
func (l Limits) maxSet() int { return 4 * l.MaxBytes }

// Bounds that no setting moves. They keep what small inputs could multiply.
const (
	// maxNesting is how deep braces and brackets nest in a text, and messages in
	// a descriptor: compilers recurse there, and a stack that overflows cannot
	// be recovered from. Messages nest up to 32 deep by protoc's own rule.
	maxNesting = 64
	// maxTokens is of one text: the parser keeps some hundred bytes for each.
	// Texts that people write have 5 bytes a token, so this is 1 MB or more.
	maxTokens = 250_000
	// maxLine is in bytes. The parser finds the column of a token by going
	// along its line, which takes minutes where one line is all of the text.
	maxLine = 8 << 10
	// maxFullName is in bytes. Full names repeat the names around them.
	maxFullName = 2048
	// maxNames is what the full names of one schema may add up to, in bytes.
	maxNames = 32 << 20
	// maxPublicPaths is how many ways public imports may lead: protobuf-go goes
	// them all, and a lattice of n files has 2^(n/2).
	maxPublicPaths = 100_000
)

func over(what string, limit int) error {
	return fmt.Errorf("%s: %w of %d", what, ErrLimit, limit)
}

// CheckName refuses what cannot be the name of a schema. A name is 1 to 64
// letters, digits, dots, underscores and hyphens; no dot is first, since names
// are file names too.
func CheckName(name string) error {
	bad := name == "" || len(name) > 64 || name[0] == '.' || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
	if bad {
		return fmt.Errorf("schema name %.80q must be 1 to 64 of A-Z a-z 0-9 . _ - and not begin with a dot", name)
	}
	return nil
}
