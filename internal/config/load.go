package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/internal/upstream"
)

// maxFile bounds a configuration file in bytes.
const maxFile = 1 << 20

// LoadOptions say where a configuration comes from.
type LoadOptions struct {
	File  string   // YAML; "" for none
	Env   []string // as os.Environ gives it
	Flags []Flag   // the flags that were given

	// Files has what the configuration names on disk looked at too, certificates
	// and schemas, which a start does itself. Nothing is changed, and nobody asked.
	Files bool

	// Again says that this is to replace a configuration in use. A file that says nothing
	// is a fault then: it may be a full disk's doing, or half an editor's, and not meant to
	// take away everybody's keys and upstreams.
	Again bool

	// Protocols that an upstream's entry can name, one at least; nil: those of
	// Protocols.
	Protocols []upstream.Protocol
}

// Flag is a command line flag that sets a key.
type Flag struct {
	Name  string // for messages, as "--port"
	Path  string // of the key, as "server.port"
	Value string
}

// Load reads and checks a configuration. Its error is an *Error that holds
// every fault.
func Load(o LoadOptions) (*Config, error) {
	if o.Again {
		return load(o, readRegular, readUpTo)
	}
	return load(o, readUpTo, readUpTo)
}

// load is Load with what reads its file, and those of secrets.
func load(o LoadOptions, read, readSecret func(path string, limit int64) ([]byte, error)) (*Config, error) {
	cfg, env := Default(), environment(o.Env)
	protocols := o.Protocols
	if protocols == nil {
		protocols = Protocols()
	}
	f := &faults{origins: make(map[string]origin)}
	d := &decoder{faults: f, text: expander{env, readSecret}}
	var root ast.Node
	if o.File != "" {
		cfg.File, d.file = o.File, filepath.Base(o.File)
		b, err := readConfig(o.File, read)
		if err != nil {
			return nil, err
		}
		if root = d.parse(b); root != nil && !(o.Again && isNothing(root)) {
			d.decode(root, reflect.ValueOf(&cfg).Elem(), "", "upstreams")
		} else if len(f.list) > 0 {
			return nil, f.err() // what it would have said is not known
		} else if o.Again {
			f.add(origin{name: d.file}, "", "it says nothing; write {} for a configuration of defaults")
			return nil, f.err()
		}
	}
	applyEnv(&cfg, env, f)
	applyFlags(&cfg, o.Flags, f)
	f.lowerKept(&cfg.HTTPClient, "http_client")
	d.upstreams(root, &cfg, protocols) // each begins with the final http_client
	registerFromEnv(&cfg, protocols, env, f)
	f.addChecked(cfg.Validate(), d.file)
	f.addChecked(cfg.readUpstreams(context.Background()), d.file)
	if o.Files {
		f.addChecked(cfg.checkFiles(context.Background()), d.file)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return &cfg, nil
}

func readConfig(file string, read func(string, int64) ([]byte, error)) ([]byte, error) {
	b, err := read(file, maxFile+1)
	if err != nil {
		return nil, &Error{[]string{noFile(file, err)}}
	}
	if len(b) > maxFile {
		return nil, &Error{[]string{fmt.Sprintf("%s: larger than %d bytes, so hardly a configuration", file, maxFile)}}
	}
	return b, nil
}

// lowerKept keeps the defaults that depend on max_connections below it, so
// that who lowers the one does not have to give the others.
func (f *faults) lowerKept(c *upstream.Config, path string) {
	if _, given := f.origins[path+".max_connections"]; !given || c.MaxConnections < 1 {
		return
	}
	if _, given := f.origins[path+".max_keepalive_connections"]; !given {
		c.MaxKeepaliveConnections = min(c.MaxKeepaliveConnections, c.MaxConnections)
	}
	if _, given := f.origins[path+".warm_connections"]; !given {
		c.WarmConnections = min(c.WarmConnections, c.MaxConnections)
	}
}

func noFile(file string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file + ": there is no such file; give the configuration's path with --config"
	case errors.Is(err, fs.ErrPermission):
		return file + ": may not be read by this user"
	default:
		return fmt.Sprintf("%s: cannot be read: %v", file, cause(err))
	}
}

// cause is the plain reason of a file error, without its path.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func applyFlags(cfg *Config, flags []Flag, f *faults) {
	settings(reflect.ValueOf(cfg).Elem(), "", func(path, _ string, v reflect.Value) {
		for _, flag := range flags {
			if flag.Path == path {
				f.set(flag.Name, path, v, flag.Value)
			}
		}
	})
}

// set sets a key from outside the file.
func (f *faults) set(name, path string, v reflect.Value, text string) {
	o := origin{name: name}
	f.origins[path] = o
	delete(f.spoilt, path) // what a file has there does not count
	if err := setText(v, text, sized(path)); err != nil {
		f.add(o, "", err.Error())
		f.spoil(path)
	}
}

// String gives "file:line" or the name, "" for an unknown origin.
func (o origin) String() string {
	if o.line == 0 || o.name == "" {
		return o.name
	}
	return strings.Join([]string{o.name, strconv.Itoa(o.line)}, ":")
}
