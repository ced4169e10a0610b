package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"
	"syscall"

	"sluice/internal/llm"
)

// maxSecret bounds a secret's file in bytes; a whole certificate chain is less.
const maxSecret = 64 << 10

// expander replaces ${NAME} in any value, and file:PATH where a secret stands.
type expander struct {
	env      map[string]string
	readFile func(path string, limit int64) ([]byte, error)
}

// expand returns the value that text stands for. "$${" is a literal "${".
// Nothing that was replaced is in an error.
func (e expander) expand(text string, secret bool) (string, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok && secret {
		return e.secretFile(path)
	}
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var faults []error
	text = regexp.MustCompile(`\$?\$\{[^}]*\}?`).ReplaceAllStringFunc(text, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref[1:]
		}
		name, closed := strings.CutSuffix(ref[2:], "}")
		value := e.env[name]
		switch {
		case !closed || name == "":
			faults = append(faults, fmt.Errorf("%q is not ${NAME}", ref))
		case value == "":
			faults = append(faults, fmt.Errorf("environment variable %s is not set", name))
		}
		return value
	})
	return text, errors.Join(faults...)
}

func (e expander) secretFile(path string) (string, error) {
	b, err := e.readFile(path, maxSecret+1)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	text := strings.TrimSpace(string(b))
	switch {
	case len(b) > maxSecret:
		return "", fmt.Errorf("read secret: %s is larger than %d bytes", path, maxSecret)
	case text == "":
		return "", fmt.Errorf("read secret: %s is empty", path)
	}
	return text, nil
}

// readUpTo reads at most limit bytes of a file.
func readUpTo(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return readFrom(f, path, limit)
}

// readRegular is readUpTo of a regular file. In place of one in use there may be a pipe,
// which nobody writes to, for a process to wait for.
func readRegular(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // first, since whoever writes to a pipe waits for it to be opened
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errIrregular}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may have become one
	if err != nil {
		return nil, err
	}
	return readFrom(f, path, limit)
}

var errIrregular = errors.New("it is no regular file")

func readFrom(f *os.File, path string, limit int64) ([]byte, error) {
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

func isSecret(t reflect.Type) bool { return t == reflect.TypeFor[llm.Secret]() }
